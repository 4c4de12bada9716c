"""Import the package's case studies, each by its module `collapsar.cases.NAME.plugin`.

The module adds its parts on import (`metric_keys.add_metric`, `report.sections.add_section`).
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
