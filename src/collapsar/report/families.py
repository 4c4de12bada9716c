"""Which curves belong together: the headline first, then families of metrics, each in the feature space it is from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

HEADLINE = ("fid", "precision", "recall", "density", "coverage", "classes_dropped", "downstream_accuracy")
HIDDEN_SUFFIXES = ("_floor", "_low", "_high")
BY_CLASS = re.compile(r"(?P<metric>.+)_class_(?P<index>\d+)")
# The first pattern that a key without its feature space starts with names its family.
FAMILIES = {
    "Distances": r"fid|kid",
    "Downstream": r"downstream",
    "Coverage of the real data": r"precision|recall|density|coverage|clipped|symmetric|tail",
    "Diversity": r"trace_ratio|generalised_variance|effective_rank|vendi",
    "Memorisation": r"authenticity|duplicates|nearest_ratio|pool_",
    "Classes and modes": r"class|effective_classes|low_confidence|ndb|modes|high_quality|reverse_kl",
}
FITTED, OTHER = "Fitted parameters", "Other"


@dataclass(frozen=True, kw_only=True)
class Family:
    """Metrics that are shown together; `is_open` if they are seen without asking."""

    title: str
    metrics: list[str]
    is_open: bool


def families(metrics: Sequence[str]) -> list[Family]:
    """The curves beyond the headline, by family and feature space, in the order of FAMILIES."""
    groups: dict[tuple[int, str], list[str]] = {}
    for key in metrics:
        if key not in HEADLINE and not BY_CLASS.fullmatch(key):
            space, _, name = key.rpartition("/")
            groups.setdefault((_rank(space, name), space), []).append(key)
    titles = [FITTED, *FAMILIES, OTHER]
    return [
        Family(title=_title(titles[rank], space), metrics=keys, is_open=titles[rank] == FITTED)
        for (rank, space), keys in sorted(groups.items())
    ]


def is_curve(key: str) -> bool:
    """Whether a key is drawn as a curve: floors and bounds belong to other keys, and classes have their heat map."""
    return not key.endswith(HIDDEN_SUFFIXES) and not BY_CLASS.fullmatch(key)


def _rank(space: str, name: str) -> int:
    if space == "fitted":
        return 0
    return next((rank for rank, pattern in enumerate(FAMILIES.values(), 1) if re.match(pattern, name)), 7)


def _title(family: str, space: str) -> str:
    return family if space in ("", "fitted") else f"{family}, in {space}"
