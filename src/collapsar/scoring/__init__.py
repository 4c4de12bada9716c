"""Score samples of one's own: every metric of a record, with floor and interval, and no chain.

`score` is imported when it is first used, so that `collapsar-score --help` answers at once.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name != "score":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from collapsar.scoring.measure import score

    return score
