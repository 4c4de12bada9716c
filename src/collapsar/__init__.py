"""collapsar: what happens to a generative model trained on what the last one made, and what stops it.

Read `chain/loop.py` first: it is the loop, and everything else is a part of it. The names below are the front door from
Python; each is imported when it is first used, so that `import collapsar` takes no time.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from collapsar.foundations import __version__ as __version__

STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
HOMES = {name: home for home, name in re.findall(r"^from collapsar\.(\S+) import (\w+)", STUB, flags=re.MULTILINE)}
"""The module of each public name, as `__init__.pyi` tells it to type checkers."""

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'collapsar' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"collapsar.{HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
