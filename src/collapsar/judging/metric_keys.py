"""What the table of metrics holds: each key's title, family, bounds and better direction, by group.

`metrics.yaml` is the table. `metric_lookup` says what may stand before and after a name in a recorded key.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Literal

import yaml

from collapsar.records.settings import QUICK_LOADER

ANY = (-math.inf, math.inf)
NOT_NEGATIVE = (0.0, math.inf)
AT_LEAST_ONE = (1.0, math.inf)
SHARE = (0.0, 1.0)
BOUNDS = {
    None: ANY,
    "not negative": NOT_NEGATIVE,
    "at least one": AT_LEAST_ONE,
    "share": SHARE,
    "Jensen-Shannon": (0.0, math.log(2.0)),  # in nats
}
"""The bounds of a key by their names in `metrics.yaml`."""

DISTANCES, DOWNSTREAM, COVERAGE = "Distances", "Downstream", "Coverage of the real data"
DIVERSITY, MEMORISATION, CLASSES = "Diversity", "Memorisation", "Classes and modes"
COLUMNS, FITTED, OTHER = "Columns of the table", "Fitted parameters", "Other"
FAMILIES = (FITTED, DISTANCES, DOWNSTREAM, COLUMNS, COVERAGE, DIVERSITY, MEMORISATION, CLASSES, OTHER)  # page order


@dataclass(frozen=True)
class MetricKey:
    """Description of one metric key."""

    title: str  # for readers
    family: str  # the section of the page that shows it, one of FAMILIES
    bounds: tuple[float, float] = ANY  # lowest and highest possible value
    better: Literal["higher", "lower"] | None = None  # where a better generator moves it
    is_main: bool = False  # whether tables, progress lines and W&B's summary show it, and the page before all families
    is_headline: bool = False  # whether the page shows it before all families, even if it is not main
    without_samples: float | None = None  # value for a chain that broke down before its first record, if there is one


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A group of keys that one function measures.

    `measure` names it as `module:function`, which is imported late, so that this table needs no torch; None if the
    values come from elsewhere. The function takes a `Comparison` and its `settings`, and returns the values.
    """

    keys: Mapping[str, MetricKey]  # by their names in the records; {index} is a class's number, {name} a level's name
    measure: str | None = None
    of_factors: str | None = None  # the function for data drawn from known factors, if it differs
    settings: Mapping[str, str] = field(default_factory=dict)  # its further arguments, by their names in `evaluation`
    version: int = 1  # raise it if the numbers change, so that stored floors are measured anew
    also: Sequence[str] = ()  # keys of other groups that the function may return too
    of_first_space: bool = False  # whether it is measured in the first feature space only
    needs: Literal["classes", "known modes"] | None = None  # of the data; known factors stand for both
    floor: Literal["unseen", "held out"] | None = "unseen"  # by real samples that no stick has seen, or held-out ones


METRICS: dict[str, Metric] = {}
"""All groups by their names in `conf/evaluation`, of `metrics.yaml`; case studies and plug-ins add to them."""


def add_metric(name: str, metric: Metric) -> None:
    """Add a group of a case study or a plug-in; `evaluation.metrics` takes its name."""
    METRICS[name] = metric


def add_metrics(path: Path) -> None:
    """Add the groups of a YAML file that is laid out as `metrics.yaml`: all keys of a group are of one family."""
    for name, group in yaml.load(path.read_text("utf-8"), QUICK_LOADER).items():
        family, rows = group.pop("family"), group.pop("keys")
        keys = {
            key: MetricKey(family=family, **row | {"bounds": BOUNDS[row.get("bounds")]}) for key, row in rows.items()
        }
        add_metric(name, Metric(keys=keys, **group))


add_metrics(Path(__file__).with_name("metrics.yaml"))
_KEYS = {name: key for metric in METRICS.values() for name, key in metric.keys.items()}
MAIN = tuple(name for name, key in _KEYS.items() if key.is_main)
WITHOUT_SAMPLES = {name: key.without_samples for name, key in _KEYS.items() if key.without_samples is not None}


@cache
def load_cases() -> None:
    """Import the module `plugin` of each case study, which adds metrics and sections of the page; needs no torch."""
    spec = find_spec("collapsar.cases")
    for found in iter_modules(spec.submodule_search_locations, "collapsar.cases.") if spec else ():
        if find_spec(f"{found.name}.plugin"):
            import_module(f"{found.name}.plugin")


def metric_keys() -> dict[str, MetricKey]:
    """All keys, those of case studies and plug-ins included."""
    load_cases()
    return {name: key for metric in METRICS.values() for name, key in metric.keys.items()}


def headline() -> tuple[str, ...]:
    """The keys that the page shows before all families."""
    return tuple(name for name, key in metric_keys().items() if key.is_main or key.is_headline)
