"""What the table of metrics says of a recorded key: a name with an optional prefix and suffix.

The prefix is the feature space (`pca/recall`; none for the first space), `fitted` (a parameter of an analytic model) or
a part of a table (`column/age/column_shape`, `group/male/..`). The suffix is `_floor` (real samples in place of
synthetic ones), `_low` or `_high` (the ends of an interval).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from collapsar.judging.metric_keys import ANY, METRICS, OTHER, MetricKey, metric_keys

SUFFIXES = ("_floor", "_low", "_high")
FITTED_SPACE = "fitted"
COLUMN_SPACE = "column/"  # followed by the column's name


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
