"""Score samples of one's own: every metric of a record, with floor and interval, and no chain.

`score` is imported when it is first used, so that `collapsar-score --help` answers at once.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collapsar.scoring.measure import score

__all__ = ["score"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from collapsar.scoring.measure import score

    return score
