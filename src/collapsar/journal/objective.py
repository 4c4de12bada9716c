"""The objective: the number that a finished chain returns to a sweeper, named in the config.

`final/KEY` is a metric of the last generation, `profile/KEY` a number of the chain's profile. A chain whose numbers
broke down is worth the worst value of a metric, so that no search prefers it for what it was before.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from collapsar.errors import UsageError
from collapsar.metric_keys import find_metric
from collapsar.records import GenerationRecord
from collapsar.settings import flatten

PLACES = ("final", "profile")
EVENTS = {
    "recall_half_life": ("recall",),
    "variance_half_life": ("pca/trace_ratio", "trace_ratio"),
    "first_dead_generation": ("classes_dropped",),
}
"""Generations until something happens, and the metrics that would show it.

Where it did not happen there are infinitely many; in a chain that the alarm stopped, as many as it lasted.
"""

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
    numbers = numbers_of(records[-1], profile=profile) if records else numbers_of_profile(profile)
    if profile.get("ending") == "broke down":
        keys = [objective] if isinstance(objective, str) else objective
        numbers |= {key: worst for key in keys if (worst := worst_final(key)) is not None}
    values = [read(key, numbers=numbers) for key in ([objective] if isinstance(objective, str) else objective)]
    return values[0] if isinstance(objective, str) else tuple(values)


def numbers_of(record: GenerationRecord, *, profile: Mapping[str, Any]) -> dict[str, float]:
    """All that can be an objective, by its key."""
    numbers: dict[str, Any] = {f"final/{key}": value for key, value in record.metrics.items()}
    never = [key for key, metrics in EVENTS.items() if any(metric in record.metrics for metric in metrics)]
    lasted = record.generation if profile.get("ending") == "stopped" else math.inf
    numbers |= {f"profile/{key}": lasted for key in never}
    if _begins_with_one_class(record, profile):
        numbers["profile/first_dead_generation"] = 0.0  # dead from the start, with no class left to lose
    return {key: float(value) for key, value in numbers.items()} | numbers_of_profile(profile)


def _begins_with_one_class(record: GenerationRecord, profile: Mapping[str, Any]) -> bool:
    """Whether generation 0 has at most one class of several: the last one cannot be lost."""
    num_classes = sum(share > 0 for share in record.class_shares.get("real", ()))
    return 1 < num_classes <= len(profile.get("missing_classes", ())) + 1


def numbers_of_profile(profile: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a profile, by their keys as objectives."""
    described = {key: value for key, value in profile.items() if key != "findings"}  # answers, not numbers
    flat = flatten(described).items()
    return {f"profile/{key}": float(value) for key, value in flat if isinstance(value, int | float)}


def worst_final(key: str) -> float | None:
    """The worst value that a metric can have, of a key such as final/recall; None where no way is worse."""
    metric = find_metric(key.removeprefix("final/")) if key.startswith("final/") else None
    if metric is None or metric.better is None:
        return None
    return metric.bounds[0] if metric.better == "higher" else metric.bounds[1]


def read(key: str, *, numbers: Mapping[str, float]) -> float:
    """One number.

    Raises:
        UsageError: the chain does not have it.
    """
    if key not in numbers:
        measured = [known for known in sorted(numbers) if not known.endswith(MARGINS)]
        raise UsageError(f"objective={key} was not measured: this chain has {', '.join(measured)}")
    return numbers[key]
