"""The baseline: the arm with nothing switched on, which the others are compared with.

It is the arm with the fewest settings; among equals the one that differs least from the others; among equals the one
under `replace`. If several are left, as in a sweep over the values of one number, there is no baseline.
"""

from collections.abc import Mapping, Sequence
from typing import Any

MIN_OTHERS = 2  # arms beside the baseline; with one there is nothing to rank
PLAIN_REGIME = ("regime._target_", "Replace")


def find_baseline(arms: Sequence[Mapping[str, Any]]) -> int | None:
    """The index of the baseline among arms of one model, given their settings by dotted key; None if there is none."""
    if len(arms) <= MIN_OTHERS:
        return None
    distances = [sum(len(differing_keys(own, other)) for other in arms) for own in arms]
    key, plain = PLAIN_REGIME
    ranks = [(len(own), far, own.get(key) != plain) for own, far in zip(arms, distances, strict=True)]
    first = min(ranks)
    return ranks.index(first) if ranks.count(first) == 1 else None


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The settings that differ: those of the first arm before those that only the second has."""
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
