"""The objective: the number that a finished chain returns to a sweeper, named in the config.

`final/KEY` is a metric of the last generation, `profile/KEY` a number of the chain's profile.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from collapsar.errors import UsageError
from collapsar.records.record import GenerationRecord
from collapsar.records.settings import flatten

PLACES = ("final", "profile")
EVENTS = {
    "recall_half_life": ("recall",),
    "variance_half_life": ("pca/trace_ratio", "trace_ratio"),
    "first_dead_generation": ("classes_dropped",),
}
"""Generations until something happens, and the metrics that would show it: where it did not happen, infinitely many."""

MARGINS = ("_floor", "_low", "_high")  # beside each metric; not worth a place in a message

Objective = str | list[str] | None


def check_objective(objective: Any) -> None:
    """Refuse what names no number of a chain.

    Raises:
        UsageError: it is neither null, nor `final/KEY` or `profile/KEY`, nor a list of these.
    """
    if objective is None:
        return
    for key in objective if isinstance(objective, list) and objective else [objective]:
        place, _, name = key.partition("/") if isinstance(key, str) else ("", "", "")
        if place not in PLACES or not name:
            raise UsageError(
                "objective must be null, final/KEY for a metric of the last generation, profile/KEY for a number of "
                f"the profile, or a list of these: got {key!r}"
            )


def read_objective(
    objective: Objective, *, records: Sequence[GenerationRecord], profile: Mapping[str, Any]
) -> float | tuple[float, ...] | None:
    """What a chain is worth: a number, one for each of a list, or None where nothing was asked for.

    Raises:
        UsageError: the chain has no such number.
    """
    if objective is None:
        return None
    numbers = numbers_of(records[-1], profile=profile)
    values = [read(key, numbers=numbers) for key in ([objective] if isinstance(objective, str) else objective)]
    return values[0] if isinstance(objective, str) else tuple(values)


def numbers_of(record: GenerationRecord, *, profile: Mapping[str, Any]) -> dict[str, float]:
    """All that can be an objective, by its key."""
    numbers: dict[str, Any] = {f"final/{key}": value for key, value in record.metrics.items()}
    never = [key for key, metrics in EVENTS.items() if any(metric in record.metrics for metric in metrics)]
    numbers |= {f"profile/{key}": math.inf for key in never}
    described = {key: value for key, value in profile.items() if key != "findings"}  # answers, not numbers
    numbers |= {f"profile/{key}": value for key, value in flatten(described).items() if value is not None}
    return {key: float(value) for key, value in numbers.items() if isinstance(value, int | float)}


def read(key: str, *, numbers: Mapping[str, float]) -> float:
    """One number.

    Raises:
        UsageError: the chain does not have it.
    """
    if key not in numbers:
        measured = [known for known in sorted(numbers) if not known.endswith(MARGINS)]
        raise UsageError(f"objective={key} was not measured: this chain has {', '.join(measured)}")
    return numbers[key]
