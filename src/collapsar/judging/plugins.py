"""Import modules that add metrics and page sections: the package's case studies, and a user's plug-ins.

A module adds its parts on import (`metric_keys.add_metric`, `report.sections.add_section`). Each case study has one
such module, `collapsar.cases.NAME.plugin`; no other part of the package imports a case.
"""

import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec

from collapsar.errors import UsageError

CASES = "collapsar.cases"


@cache
def load_cases() -> None:
    """Import all case studies once; the import needs neither torch nor pandas."""
    spec = find_spec(CASES)
    for found in pkgutil.iter_modules(spec.submodule_search_locations if spec else ()):
        if find_spec(f"{CASES}.{found.name}.plugin"):
            import_module(f"{CASES}.{found.name}.plugin")


def load_plugins(names: Sequence[str]) -> None:
    """Import a user's modules.

    Raises:
        UsageError: A module cannot be imported.
    """
    for name in names:
        try:
            import_module(name)
        except Exception as error:
            raise UsageError(
                f"plugins names {name!r}, which cannot be imported ({type(error).__name__}: {error}): "
                "set PYTHONPATH to its folder, or leave it out"
            ) from error
