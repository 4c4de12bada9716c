"""The table of metrics, `metrics.yaml`: each key's title, family, bounds and better direction, by group.

A recorded key is a name with an optional prefix and suffix. The prefix is the feature space (`pca/recall`; none for the
first space), `fitted` (a parameter of an analytic model) or a part of a table (`column/age/column_shape`,
`group/male/..`). The suffix is `_floor` (real samples in place of synthetic ones), `_low` or `_high` (of an interval).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Literal

import yaml

from collapsar.foundations.settings import QUICK_LOADER

ANY = (-math.inf, math.inf)
NOT_NEGATIVE = (0.0, math.inf)
SHARE = (0.0, 1.0)

DISTANCES, DOWNSTREAM, COVERAGE = "Distances", "Downstream", "Coverage of the real data"
DIVERSITY, MEMORISATION, CLASSES = "Diversity", "Memorisation", "Classes and modes"
COLUMNS, FITTED, OTHER = "Columns of the table", "Fitted parameters", "Other"
FAMILIES = (FITTED, DISTANCES, DOWNSTREAM, COLUMNS, COVERAGE, DIVERSITY, MEMORISATION, CLASSES, OTHER)  # page order
SUFFIXES = ("_floor", "_low", "_high")
FITTED_SPACE = "fitted"
COLUMN_SPACE = "column/"  # followed by the column's name


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

    @property
    def worst(self) -> float | None:
        """The worst possible value; None if neither direction is worse."""
        return None if self.better is None else self.bounds[self.better == "lower"]


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
            key: MetricKey(family=family, **row | {"bounds": tuple(map(float, row.get("bounds", ANY)))})
            for key, row in rows.items()
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


@dataclass(frozen=True)
class KeyParts:
    """The parts of a key; space and suffix may be empty."""

    space: str
    name: str
    suffix: str


def split_key(key: str) -> KeyParts:
    """Split a key into space, name and suffix."""
    space, _, name = key.rpartition("/")
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return KeyParts(space=space, name=name.removesuffix(suffix), suffix=suffix)


def split_class(key: str) -> tuple[str, int] | None:
    """(`pca/recall`, 3) for `pca/recall_class_3`; None for keys of no single class and for keys with a suffix."""
    found = re.fullmatch(r"(.+)_class_(\d+)", key)
    return (found[1], int(found[2])) if found else None


def split_column(key: str) -> tuple[str, str] | None:
    """(`column_shape`, `age`) for `column/age/column_shape`; None for other keys and for keys with a suffix."""
    parts = split_key(key)
    is_of_column = parts.space.startswith(COLUMN_SPACE) and not parts.suffix
    return (parts.name, parts.space.removeprefix(COLUMN_SPACE)) if is_of_column else None


def find_metric(key: str) -> MetricKey | None:
    """The table's entry for a key with any space and suffix; None for a key that is not in the table."""
    name, keys = _name_in_table(key), metric_keys()
    if name in keys:
        return keys[name]
    for entry, metric in keys.items():
        if "{" in entry and (found := _pattern(entry).fullmatch(name)):
            return replace(metric, title=metric.title.format(**found.groupdict()))
    return None


def groups_of(key: str, *, among: Iterable[str]) -> list[str]:
    """Those of the groups `among` that may measure a key with any space and suffix."""
    name, known = _name_in_table(key), [group for group in among if group in METRICS]
    return [group for group in known if any(_pattern(entry).fullmatch(name) for entry in keys_of(group))]


def keys_of(group: str) -> tuple[str, ...]:
    """The names in the table that a group may measure."""
    return (*METRICS[group].keys, *METRICS[group].also)


def title_of(key: str) -> str:
    """FID for `fid`, Class entropy for `class_entropy`, Recall (pca) for `pca/recall`."""
    parts, metric = split_key(key), find_metric(key)
    title = metric.title if metric else parts.name.replace("_", " ").capitalize()
    return title if parts.space in ("", FITTED_SPACE) else f"{title} ({parts.space})"


def bounds_of(key: str) -> tuple[float, float]:
    """The lowest and highest possible value; an interval can be cut there without loss of coverage."""
    metric = find_metric(key)
    return metric.bounds if metric else ANY


def family_of(key: str) -> str:
    """The family of a key, one of FAMILIES."""
    metric = find_metric(key)
    return metric.family if metric else OTHER


def _name_in_table(key: str) -> str:
    parts = split_key(key)
    return f"{FITTED_SPACE}/{parts.name}" if parts.space == FITTED_SPACE else parts.name


@cache
def _pattern(entry: str) -> re.Pattern[str]:
    pattern = re.escape(entry).replace(re.escape("{index}"), r"(?P<index>\d+)")
    return re.compile(pattern.replace(re.escape("{name}"), r"(?P<name>\w+)"))
