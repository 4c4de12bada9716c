"""The table of metrics: the function that measures each, and each key's title, family, bounds and better direction.

A key is a name with an optional prefix and suffix. The prefix is the feature space (`pca/recall`; none for the first
space), `fitted` (a parameter of an analytic model) or a part of a table (`column/age/column_shape`, `group/male/..`).
The suffix is `_floor` (real samples in place of synthetic ones), `_low` or `_high` (the ends of an interval). In this
table, `{index}` stands for the number of a class and `{name}` for the name of a factor's level.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from typing import Literal

from collapsar.judging.plugins import load_cases

SUFFIXES = ("_floor", "_low", "_high")
FITTED_SPACE = "fitted"
COLUMN_SPACE = "column/"  # followed by the column's name

ANY = (-math.inf, math.inf)
NOT_NEGATIVE = (0.0, math.inf)
AT_LEAST_ONE = (1.0, math.inf)
SHARE = (0.0, 1.0)
JENSEN_SHANNON = (0.0, math.log(2.0))  # in nats

DISTANCES, DOWNSTREAM, COVERAGE = "Distances", "Downstream", "Coverage of the real data"
DIVERSITY, MEMORISATION, CLASSES = "Diversity", "Memorisation", "Classes and modes"
COLUMNS = "Columns of the table"
FITTED, OTHER = "Fitted parameters", "Other"
FAMILIES = (FITTED, DISTANCES, DOWNSTREAM, COLUMNS, COVERAGE, DIVERSITY, MEMORISATION, CLASSES, OTHER)  # page order


@dataclass(frozen=True)
class MetricKey:
    """Description of one metric key.

    Attributes:
        title: Its name for readers.
        family: The section of the page that shows it, one of FAMILIES.
        bounds: Lowest and highest possible value.
        better: The direction in which a better generator moves it; None if there is none.
        is_main: Whether tables, progress lines and the summary of a W&B run show it.
        is_headline: Whether the page shows it before all families; true for main metrics.
    """

    title: str
    family: str
    bounds: tuple[float, float] = ANY
    better: Literal["higher", "lower"] | None = None
    is_main: bool = False
    is_headline: bool = False


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A group of keys that one function measures.

    Attributes:
        keys: Description of each value, by its name in the records.
        measure: `module:function` that takes a `Comparison` and returns the values; imported late, so that this table
            needs no torch. None if the values come from elsewhere.
        of_factors: The function for data drawn from known factors, if it differs.
        version: Raise it if the numbers change, so that stored floors are measured anew.
        also: Keys of other groups that the function may return too.
        of_first_space: Whether it is measured in the first feature space only.
    """

    keys: Mapping[str, MetricKey]
    measure: str | None = None
    of_factors: str | None = None
    version: int = 1
    also: tuple[str, ...] = ()
    of_first_space: bool = False


@dataclass(frozen=True)
class KeyParts:
    """The parts of a key; space and suffix may be empty."""

    space: str
    name: str
    suffix: str


METRICS: dict[str, Metric] = {
    "frechet": Metric(
        measure="collapsar.judging.suite:frechet",
        version=2,
        keys={
            "fid": MetricKey("FID", DISTANCES, NOT_NEGATIVE, "lower", is_main=True, is_headline=True),
        },
    ),
    "frechet_debiased": Metric(
        measure="collapsar.judging.suite:frechet_debiased",
        keys={
            "fid_debiased": MetricKey("FID, debiased", DISTANCES, ANY, "lower"),
        },
    ),
    "frechet_relative": Metric(
        measure="collapsar.judging.suite:frechet_relative",
        version=2,
        keys={
            "fid_relative": MetricKey("FID, relative", DISTANCES, NOT_NEGATIVE, "lower"),
        },
    ),
    "frechet_infinity": Metric(
        measure="collapsar.judging.suite:frechet_infinity",
        keys={
            "fid_infinity": MetricKey("FID, infinity", DISTANCES, ANY, "lower"),
        },
    ),
    "kernel": Metric(
        measure="collapsar.judging.suite:kernel",
        keys={
            "kid": MetricKey("KID", DISTANCES, ANY, "lower"),
        },
    ),
    "support": Metric(
        measure="collapsar.judging.suite:support",
        keys={
            "precision": MetricKey("Precision", COVERAGE, SHARE, "higher", is_main=True, is_headline=True),
            "recall": MetricKey("Recall", COVERAGE, SHARE, "higher", is_main=True, is_headline=True),
            "density": MetricKey("Density", COVERAGE, NOT_NEGATIVE, "higher", is_headline=True),
            "coverage": MetricKey("Coverage", COVERAGE, SHARE, "higher", is_headline=True),
        },
    ),
    "support_clipped": Metric(
        measure="collapsar.judging.suite:support_clipped",
        keys={
            "clipped_density": MetricKey("Clipped density", COVERAGE, SHARE, "higher"),
            "clipped_coverage": MetricKey("Clipped coverage", COVERAGE, SHARE, "higher"),
        },
    ),
    "support_symmetric": Metric(
        measure="collapsar.judging.suite:support_symmetric",
        keys={
            "symmetric_precision": MetricKey("Symmetric precision", COVERAGE, SHARE, "higher"),
            "symmetric_recall": MetricKey("Symmetric recall", COVERAGE, SHARE, "higher"),
        },
    ),
    "support_tail": Metric(
        measure="collapsar.judging.suite:support_tail",
        keys={
            "tail_recall": MetricKey("Tail recall", COVERAGE, SHARE, "higher"),
        },
    ),
    "recall_by_class": Metric(
        measure="collapsar.judging.suite:recall_by_class",
        of_factors="collapsar.judging.factor_suite:recall_by_rarity",
        keys={
            "recall_class_{index}": MetricKey("Recall class {index}", COVERAGE, SHARE, "higher"),
            "recall_worst_class": MetricKey("Recall worst class", COVERAGE, SHARE, "higher"),
            "recall_macro_mean": MetricKey("Recall macro mean", COVERAGE, SHARE, "higher"),
            "recall_common": MetricKey("Recall of common combinations", COVERAGE, SHARE, "higher"),
            "recall_uncommon": MetricKey("Recall of uncommon combinations", COVERAGE, SHARE, "higher"),
            "recall_rare": MetricKey("Recall of rare combinations", COVERAGE, SHARE, "higher"),
        },
    ),
    "coverage_by_class": Metric(
        measure="collapsar.judging.suite:coverage_by_class",
        of_factors="collapsar.judging.factor_suite:coverage_by_rarity",
        keys={
            "coverage_class_{index}": MetricKey("Coverage class {index}", COVERAGE, SHARE, "higher"),
            "coverage_worst_class": MetricKey("Coverage worst class", COVERAGE, SHARE, "higher"),
            "coverage_macro_mean": MetricKey("Coverage macro mean", COVERAGE, SHARE, "higher"),
            "coverage_common": MetricKey("Coverage of common combinations", COVERAGE, SHARE, "higher"),
            "coverage_uncommon": MetricKey("Coverage of uncommon combinations", COVERAGE, SHARE, "higher"),
            "coverage_rare": MetricKey("Coverage of rare combinations", COVERAGE, SHARE, "higher"),
        },
    ),
    "bins": Metric(
        measure="collapsar.judging.suite:bins",
        keys={
            "ndb": MetricKey("NDB", CLASSES, SHARE, "lower"),
            "ndb_jensen_shannon": MetricKey("NDB Jensen-Shannon", CLASSES, JENSEN_SHANNON, "lower"),
        },
    ),
    "diversity": Metric(
        measure="collapsar.judging.suite:diversity",
        keys={
            "trace_ratio": MetricKey("Trace ratio", DIVERSITY, NOT_NEGATIVE),
            "generalised_variance": MetricKey("Generalised variance", DIVERSITY, NOT_NEGATIVE),
            "effective_rank": MetricKey("Effective rank", DIVERSITY, NOT_NEGATIVE),
            "vendi": MetricKey("Vendi", DIVERSITY, AT_LEAST_ONE),
        },
    ),
    "novelty": Metric(
        measure="collapsar.judging.suite:novelty",
        keys={
            "authenticity": MetricKey("Authenticity", MEMORISATION, SHARE),
            "duplicates": MetricKey("Duplicates", MEMORISATION, SHARE, "lower"),
            "nearest_ratio": MetricKey("Nearest ratio", MEMORISATION, NOT_NEGATIVE),
            "pool_authenticity": MetricKey("Pool authenticity", MEMORISATION, SHARE),
            "pool_duplicates": MetricKey("Pool duplicates", MEMORISATION, SHARE, "lower"),
            "pool_nearest_ratio": MetricKey("Pool nearest ratio", MEMORISATION, NOT_NEGATIVE),
        },
    ),
    "classes": Metric(
        measure="collapsar.judging.suite:classes",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:combinations",
        keys={
            "class_entropy": MetricKey("Class entropy", CLASSES, NOT_NEGATIVE),
            "class_kl": MetricKey("Class KL", CLASSES, NOT_NEGATIVE, "lower"),
            "class_jensen_shannon": MetricKey("Class Jensen-Shannon", CLASSES, JENSEN_SHANNON, "lower"),
            "class_total_variation": MetricKey("Class total variation", CLASSES, SHARE, "lower"),
            "effective_classes": MetricKey("Effective classes", CLASSES, AT_LEAST_ONE),
            "classes_dropped": MetricKey(
                "Classes dropped", CLASSES, NOT_NEGATIVE, "lower", is_main=True, is_headline=True
            ),
            "low_confidence_share": MetricKey("Low confidence share", CLASSES, SHARE, "lower"),
            "factor_share_{name}": MetricKey("Share of {name}", CLASSES, SHARE),
            "levels_dropped": MetricKey("Levels of factors dropped", CLASSES, NOT_NEGATIVE, "lower", is_headline=True),
            "combinations_alive": MetricKey("Combinations alive", CLASSES, NOT_NEGATIVE, "higher", is_headline=True),
            "combinations_alive_common": MetricKey("Common combinations alive", CLASSES, SHARE, "higher"),
            "combinations_alive_uncommon": MetricKey("Uncommon combinations alive", CLASSES, SHARE, "higher"),
            "combinations_alive_rare": MetricKey("Rare combinations alive", CLASSES, SHARE, "higher"),
            "combinations_share_common": MetricKey("Share of common combinations", CLASSES, SHARE),
            "combinations_share_uncommon": MetricKey("Share of uncommon combinations", CLASSES, SHARE),
            "combinations_share_rare": MetricKey("Share of rare combinations", CLASSES, SHARE),
            "combinations_kl": MetricKey("Combinations KL", CLASSES, NOT_NEGATIVE, "lower"),
            "combinations_total_variation": MetricKey("Combinations total variation", CLASSES, SHARE, "lower"),
        },
    ),
    "downstream": Metric(
        measure="collapsar.judging.suite:downstream",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:hazard",
        version=2,
        keys={
            "downstream_accuracy": MetricKey("Downstream accuracy", DOWNSTREAM, SHARE, "higher", is_headline=True),
            "downstream_f1": MetricKey("Downstream F1", DOWNSTREAM, SHARE, "higher"),
            "downstream_f1_class_{index}": MetricKey("Downstream F1 class {index}", DOWNSTREAM, SHARE, "higher"),
            "downstream_accuracy_where_{name}": MetricKey(
                "Downstream accuracy where {name}", DOWNSTREAM, SHARE, "higher"
            ),
            "downstream_f1_where_{name}": MetricKey("Downstream F1 where {name}", DOWNSTREAM, SHARE, "higher"),
            "downstream_auc_where_{name}": MetricKey("Downstream AUC where {name}", DOWNSTREAM, SHARE, "higher"),
            "downstream_loss": MetricKey("Downstream loss", DOWNSTREAM, NOT_NEGATIVE, "lower"),
            "downstream_auc": MetricKey("Downstream AUC", DOWNSTREAM, SHARE, "higher", is_headline=True),
        },
    ),
    "known_modes": Metric(
        measure="collapsar.judging.suite:known_modes",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:modes",
        keys={
            "modes_captured": MetricKey("Modes captured", CLASSES, NOT_NEGATIVE, "higher"),
            "high_quality_share": MetricKey("High quality share", CLASSES, SHARE, "higher"),
            "reverse_kl": MetricKey("Reverse KL", CLASSES, NOT_NEGATIVE, "lower"),
        },
    ),
    "privacy": Metric(
        measure="collapsar.judging.suite:privacy",
        keys={
            "closer_to_training": MetricKey("Closer to training than to held-out samples", MEMORISATION, SHARE),
            "nearest_p5_ratio": MetricKey("Nearest training sample, 5th percentile, ratio", MEMORISATION, NOT_NEGATIVE),
        },
    ),
    "fitted": Metric(
        keys={
            "fitted/variance": MetricKey("Variance", FITTED, NOT_NEGATIVE),
            "fitted/squared_mean": MetricKey("Squared mean", FITTED, NOT_NEGATIVE, "lower"),
            "fitted/second_moment": MetricKey("Second moment", FITTED, NOT_NEGATIVE),
            "fitted/median_variance": MetricKey("Variance, median over dimensions", FITTED, NOT_NEGATIVE),
            "fitted/sd": MetricKey("Standard deviation", FITTED, NOT_NEGATIVE),
            "fitted/wasserstein": MetricKey("Squared Wasserstein distance to the truth", FITTED, NOT_NEGATIVE, "lower"),
            "fitted/log_variance": MetricKey("Log determinant of the covariance, per dimension", FITTED),
            "fitted/heterozygosity": MetricKey("Heterozygosity, 1 − Σp²", FITTED, SHARE),
            "fitted/alive_categories": MetricKey("Categories alive", FITTED, NOT_NEGATIVE, "higher"),
            "fitted/regression_error": MetricKey("Test error beyond the noise", FITTED, NOT_NEGATIVE, "lower"),
        },
    ),
}
"""All groups by their names in `conf/evaluation`; case studies and plug-ins add to them."""

MAIN = tuple(name for metric in METRICS.values() for name, key in metric.keys.items() if key.is_main)


def metric_keys() -> dict[str, MetricKey]:
    """All keys, those of case studies and plug-ins included."""
    load_cases()
    return {name: key for metric in METRICS.values() for name, key in metric.keys.items()}


def headline() -> tuple[str, ...]:
    """The keys that the page shows before all families."""
    return tuple(name for name, key in metric_keys().items() if key.is_headline)


def add_metric(name: str, metric: Metric) -> None:
    """Add a group of a case study or a plug-in; `evaluation.metrics` takes its name."""
    METRICS[name] = metric
    _find.cache_clear()


def find_measure(target: str) -> Callable[..., dict[str, float]]:
    """Import the function that `module:function` names."""
    module, _, function = target.partition(":")
    measure: Callable[..., dict[str, float]] = getattr(import_module(module), function)
    return measure


def split_key(key: str) -> KeyParts:
    """Split a key into space, name and suffix."""
    space, _, name = key.rpartition("/")
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
    return KeyParts(space=space, name=name.removesuffix(suffix), suffix=suffix)


def find_metric(key: str) -> MetricKey | None:
    """The table's entry for a key with any space and suffix; None for a key that is not in the table."""
    return _find(_name_in_table(split_key(key)))


def groups_of(key: str, *, among: Iterable[str]) -> list[str]:
    """Those of the groups `among` that may measure a key with any space and suffix."""
    name = _name_in_table(split_key(key))
    found = {entry for pattern, entry, _ in _patterns() if pattern.fullmatch(name)}
    return [group for group in among if group in METRICS and found.intersection(keys_of(group))]


def keys_of(group: str) -> tuple[str, ...]:
    """The names in the table that a group may measure."""
    return (*METRICS[group].keys, *METRICS[group].also)


def version_of(group: str) -> int:
    """A group's version; 1 for a group that is not in the table."""
    return METRICS[group].version if group in METRICS else 1


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


def split_class(key: str) -> tuple[str, int] | None:
    """(`pca/recall`, 3) for `pca/recall_class_3`; None for keys of no single class and for keys with a suffix."""
    found = re.fullmatch(r"(.+)_class_(\d+)", key)
    return (found[1], int(found[2])) if found else None


def split_column(key: str) -> tuple[str, str] | None:
    """(`column_shape`, `age`) for `column/age/column_shape`; None for other keys and for keys with a suffix."""
    parts = split_key(key)
    if parts.suffix or not parts.space.startswith(COLUMN_SPACE):
        return None
    return parts.name, parts.space.removeprefix(COLUMN_SPACE)


def _name_in_table(parts: KeyParts) -> str:
    return f"{FITTED_SPACE}/{parts.name}" if parts.space == FITTED_SPACE else parts.name


@cache
def _find(name: str) -> MetricKey | None:
    for pattern, _, metric in _patterns():
        if found := pattern.fullmatch(name):
            return replace(metric, title=metric.title.format(**found.groupdict()))
    return None


def _patterns() -> Iterator[tuple[re.Pattern[str], str, MetricKey]]:
    for name, metric in metric_keys().items():
        pattern = re.escape(name).replace(re.escape("{index}"), r"(?P<index>\d+)")
        yield re.compile(pattern.replace(re.escape("{name}"), r"(?P<name>\w+)")), name, metric
