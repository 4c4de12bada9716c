"""Import the package's case studies, each of which adds metrics and page sections when it is imported.

A module adds its parts by `metric_keys.add_metric` and `report.sections.add_section`, and a user's plug-in does the
same. Each case study has one such module, `collapsar.cases.NAME.plugin`; no other part of the package imports a case.
"""

import pkgutil
from functools import cache
from importlib import import_module
from importlib.util import find_spec

CASES = "collapsar.cases"


@cache
def load_cases() -> None:
    """Import all case studies once; the import needs neither torch nor pandas."""
    spec = find_spec(CASES)
    for found in pkgutil.iter_modules(spec.submodule_search_locations if spec else ()):
        if find_spec(f"{CASES}.{found.name}.plugin"):
            import_module(f"{CASES}.{found.name}.plugin")
