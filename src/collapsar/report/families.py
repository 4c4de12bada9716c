"""Groups of curves on the page: the headline stands alone, other metrics by family and feature space."""

from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.judging.metric_keys import FAMILIES, FITTED, headline
from collapsar.judging.metric_lookup import FITTED_SPACE, family_of, split_class, split_column, split_key


@dataclass(frozen=True, kw_only=True)
class Family:
    """Metrics that are shown together; `is_open` if the page shows them unfolded."""

    title: str
    metrics: list[str]
    is_open: bool


def families(metrics: Sequence[str]) -> list[Family]:
    """The curves beyond the headline, by family and feature space, in the order of FAMILIES."""
    groups: dict[tuple[int, str], list[str]] = {}
    leading = headline()
    for key in metrics:
        if key not in leading and split_class(key) is None:
            groups.setdefault((FAMILIES.index(family_of(key)), split_key(key).space), []).append(key)
    return [
        Family(title=_title(FAMILIES[rank], space), metrics=keys, is_open=FAMILIES[rank] == FITTED)
        for (rank, space), keys in sorted(groups.items())
    ]


def is_curve(key: str) -> bool:
    """Whether a key has its own curve: floors and bounds belong to other keys, classes and columns to heat maps."""
    return not split_key(key).suffix and split_class(key) is None and split_column(key) is None


def _title(family: str, space: str) -> str:
    return family if space in ("", FITTED_SPACE) else f"{family}, in {space}"
