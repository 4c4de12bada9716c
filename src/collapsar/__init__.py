"""collapsar: what happens to a generative model trained on what the last one made, and what stops it.

Read `chain/loop.py` first: it is the loop, and everything else is a part of it. The names below are the front door from
Python; each is imported when it is first used, so that `import collapsar` takes no time.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

HOMES = {
    "Coverage": "judging.metric_modules",
    "Density": "judging.metric_modules",
    "Flow": "models.flow.flow",
    "GAN": "models.gan.gan",
    "ImprovedPrecision": "judging.metric_modules",
    "ImprovedRecall": "judging.metric_modules",
    "NeighbourMetric": "judging.metric_modules",
    "Plan": "models.plan",
    "PoolDataModule": "library.pools",
    "Samples": "samples",
    "Study": "study.study",
    "UsageError": "errors",
    "VAE": "models.vae.vae",
    "make_model": "library.making",
    "read_study": "study.study",
    "run": "library.running",
    "score": "scoring.measure",
}
"""The module of each public name; `__init__.pyi` tells type checkers the same."""

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'collapsar' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"collapsar.{HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *HOMES])
