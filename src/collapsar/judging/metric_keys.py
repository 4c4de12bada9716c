"""The table of metrics: each key's title, family, bounds and better direction, by the group that is measured at once.

The function of `suite` with a group's name measures it. `{index}` stands for the number of a class and `{name}` for the
name of a factor's level; `metric_lookup` says what else may stand before and after a name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Literal

ANY = (-math.inf, math.inf)
NOT_NEGATIVE = (0.0, math.inf)
AT_LEAST_ONE = (1.0, math.inf)
SHARE = (0.0, 1.0)
JENSEN_SHANNON = (0.0, math.log(2.0))  # in nats

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

    keys: Mapping[str, MetricKey]  # by their names in the records
    measure: str | None = None
    of_factors: str | None = None  # the function for data drawn from known factors, if it differs
    settings: Mapping[str, str] = field(default_factory=dict)  # its further arguments, by their names in `evaluation`
    version: int = 1  # raise it if the numbers change, so that stored floors are measured anew
    also: tuple[str, ...] = ()  # keys of other groups that the function may return too
    of_first_space: bool = False  # whether it is measured in the first feature space only
    needs: Literal["classes", "known modes"] | None = None  # of the data; known factors stand for both
    floor: Literal["unseen", "held out"] | None = "unseen"  # by real samples that no stick has seen, or held-out ones


_OF_SUITE = {
    "frechet": Metric(version=2, keys={"fid": MetricKey("FID", DISTANCES, NOT_NEGATIVE, "lower", is_main=True)}),
    "frechet_debiased": Metric(keys={"fid_debiased": MetricKey("FID, debiased", DISTANCES, ANY, "lower")}),
    "frechet_relative": Metric(
        version=2, keys={"fid_relative": MetricKey("FID, relative", DISTANCES, NOT_NEGATIVE, "lower")}
    ),
    "frechet_infinity": Metric(keys={"fid_infinity": MetricKey("FID, infinity", DISTANCES, ANY, "lower")}),
    "kernel": Metric(keys={"kid": MetricKey("KID", DISTANCES, ANY, "lower")}),
    "support": Metric(
        keys={
            "precision": MetricKey("Precision", COVERAGE, SHARE, "higher", is_main=True, without_samples=0.0),
            "recall": MetricKey("Recall", COVERAGE, SHARE, "higher", is_main=True, without_samples=0.0),
            "density": MetricKey("Density", COVERAGE, NOT_NEGATIVE, "higher", is_headline=True),
            "coverage": MetricKey("Coverage", COVERAGE, SHARE, "higher", is_headline=True),
        },
    ),
    "support_clipped": Metric(
        keys={
            "clipped_density": MetricKey("Clipped density", COVERAGE, SHARE, "higher"),
            "clipped_coverage": MetricKey("Clipped coverage", COVERAGE, SHARE, "higher"),
        },
    ),
    "support_symmetric": Metric(
        keys={
            "symmetric_precision": MetricKey("Symmetric precision", COVERAGE, SHARE, "higher"),
            "symmetric_recall": MetricKey("Symmetric recall", COVERAGE, SHARE, "higher"),
        },
    ),
    "support_tail": Metric(keys={"tail_recall": MetricKey("Tail recall", COVERAGE, SHARE, "higher")}),
    "recall_by_class": Metric(
        needs="classes",
        of_factors="collapsar.judging.factor_suite:recall_by_rarity",
        keys={
            "recall_class_{index}": MetricKey("Recall class {index}", COVERAGE, SHARE, "higher"),
            "recall_worst_class": MetricKey("Recall worst class", COVERAGE, SHARE, "higher", without_samples=0.0),
            "recall_macro_mean": MetricKey("Recall macro mean", COVERAGE, SHARE, "higher"),
            "recall_common": MetricKey("Recall of common combinations", COVERAGE, SHARE, "higher"),
            "recall_uncommon": MetricKey("Recall of uncommon combinations", COVERAGE, SHARE, "higher"),
            "recall_rare": MetricKey("Recall of rare combinations", COVERAGE, SHARE, "higher"),
        },
    ),
    "coverage_by_class": Metric(
        needs="classes",
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
        settings={"num_bins": "num_bins"},
        keys={
            "ndb": MetricKey("NDB", CLASSES, SHARE, "lower"),
            "ndb_jensen_shannon": MetricKey("NDB Jensen-Shannon", CLASSES, JENSEN_SHANNON, "lower"),
        },
    ),
    "diversity": Metric(
        keys={
            "trace_ratio": MetricKey("Trace ratio", DIVERSITY, NOT_NEGATIVE),
            "generalised_variance": MetricKey("Generalised variance", DIVERSITY, NOT_NEGATIVE),
            "effective_rank": MetricKey("Effective rank", DIVERSITY, NOT_NEGATIVE),
            "vendi": MetricKey("Vendi", DIVERSITY, AT_LEAST_ONE),
        },
    ),
    "novelty": Metric(
        floor="held out",  # training samples are in the training set
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
        settings={"low_confidence": "low_confidence"},
        needs="classes",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:combinations",
        keys={
            "class_entropy": MetricKey("Class entropy", CLASSES, NOT_NEGATIVE),
            "class_kl": MetricKey("Class KL", CLASSES, NOT_NEGATIVE, "lower"),
            "class_jensen_shannon": MetricKey("Class Jensen-Shannon", CLASSES, JENSEN_SHANNON, "lower"),
            "class_total_variation": MetricKey("Class total variation", CLASSES, SHARE, "lower"),
            "effective_classes": MetricKey("Effective classes", CLASSES, AT_LEAST_ONE),
            "classes_dropped": MetricKey("Classes dropped", CLASSES, NOT_NEGATIVE, "lower", is_main=True),
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
        settings={"task": "downstream"},
        needs="classes",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:hazard",
        version=2,
        keys={
            "downstream_accuracy": MetricKey(
                "Downstream accuracy", DOWNSTREAM, SHARE, "higher", is_headline=True, without_samples=0.0
            ),
            "downstream_f1": MetricKey("Downstream F1", DOWNSTREAM, SHARE, "higher", without_samples=0.0),
            "downstream_f1_class_{index}": MetricKey("Downstream F1 class {index}", DOWNSTREAM, SHARE, "higher"),
            "downstream_accuracy_where_{name}": MetricKey(
                "Downstream accuracy where {name}", DOWNSTREAM, SHARE, "higher"
            ),
            "downstream_f1_where_{name}": MetricKey("Downstream F1 where {name}", DOWNSTREAM, SHARE, "higher"),
            "downstream_auc_where_{name}": MetricKey("Downstream AUC where {name}", DOWNSTREAM, SHARE, "higher"),
            "downstream_loss": MetricKey("Downstream loss", DOWNSTREAM, NOT_NEGATIVE, "lower"),
            "downstream_auc": MetricKey(
                "Downstream AUC", DOWNSTREAM, SHARE, "higher", is_headline=True, without_samples=0.5
            ),
        },
    ),
    "known_modes": Metric(
        needs="known modes",
        of_first_space=True,
        of_factors="collapsar.judging.factor_suite:modes",
        keys={
            "modes_captured": MetricKey("Modes captured", CLASSES, NOT_NEGATIVE, "higher"),
            "high_quality_share": MetricKey("High quality share", CLASSES, SHARE, "higher"),
            "reverse_kl": MetricKey("Reverse KL", CLASSES, NOT_NEGATIVE, "lower"),
        },
    ),
    "variance_within_modes": Metric(
        needs="known modes",
        of_first_space=True,
        keys={"within_mode_variance": MetricKey("Variance within modes, ratio", DIVERSITY, NOT_NEGATIVE)},
    ),
    "privacy": Metric(
        floor=None,  # it compares with held-out samples itself, and training samples would count as copies
        keys={
            "closer_to_training": MetricKey("Closer to training than to held-out samples", MEMORISATION, SHARE),
            "nearest_p5_ratio": MetricKey("Nearest training sample, 5th percentile, ratio", MEMORISATION, NOT_NEGATIVE),
        },
    ),
}
_FIRST_ENCODER = {"first_encoder_sd": MetricKey("Spread of q(z|x), encoder of generation 0", DIVERSITY, NOT_NEGATIVE)}
_FITTED = {
    "fitted/variance": MetricKey("Variance", FITTED, NOT_NEGATIVE),
    "fitted/squared_mean": MetricKey("Squared mean", FITTED, NOT_NEGATIVE, "lower"),
    "fitted/second_moment": MetricKey("Second moment", FITTED, NOT_NEGATIVE),
    "fitted/median_variance": MetricKey("Variance, median over dimensions", FITTED, NOT_NEGATIVE),
    "fitted/sd": MetricKey("Standard deviation", FITTED, NOT_NEGATIVE),
    "fitted/wasserstein": MetricKey("Squared Wasserstein distance to the truth", FITTED, NOT_NEGATIVE, "lower"),
    "fitted/effective_sample_size": MetricKey("Real samples that a fit is worth", FITTED, NOT_NEGATIVE, "higher"),
    "fitted/effective_sample_size_of_mean": MetricKey(
        "Real samples that its mean is worth", FITTED, NOT_NEGATIVE, "higher"
    ),
    "fitted/log_variance": MetricKey("Log determinant of the covariance, per dimension", FITTED),
    "fitted/heterozygosity": MetricKey("Heterozygosity, 1 − Σp²", FITTED, SHARE),
    "fitted/alive_categories": MetricKey("Categories alive", FITTED, NOT_NEGATIVE, "higher"),
    "fitted/entropy": MetricKey("Entropy of the categories", FITTED, NOT_NEGATIVE),
    "fitted/regression_error": MetricKey("Test error beyond the noise", FITTED, NOT_NEGATIVE, "lower"),
}

METRICS: dict[str, Metric] = {
    **{name: replace(metric, measure=f"collapsar.judging.suite:{name}") for name, metric in _OF_SUITE.items()},
    "fitted": Metric(keys=_FITTED),
    "first_encoder": Metric(keys=_FIRST_ENCODER),
}
"""All groups by their names in `conf/evaluation`; case studies and plug-ins add to them."""

_KEYS = {name: key for metric in METRICS.values() for name, key in metric.keys.items()}
MAIN = tuple(name for name, key in _KEYS.items() if key.is_main)
WITHOUT_SAMPLES = {name: key.without_samples for name, key in _KEYS.items() if key.without_samples is not None}


def add_metric(name: str, metric: Metric) -> None:
    """Add a group of a case study or a plug-in; `evaluation.metrics` takes its name."""
    METRICS[name] = metric


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
