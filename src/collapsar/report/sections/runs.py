"""What the runs cost, and which of them are unfinished or not counted."""

from typing import Any

from collapsar.study.costs import phases
from collapsar.study.study import Study


def costs(study: Study) -> dict[str, Any] | None:
    """The phases that any arm measured."""
    return {"phases": phases(study.costs)} if study.costs else None


def unfinished(study: Study) -> dict[str, Any] | None:
    """Unfinished chains, finished ones that are shorter than others of their arm, and repeated ones."""
    found = {
        "unfinished": [chain for chain in study.chains if chain.problem],
        "shorter": [chain for arm in study.arms for chain in arm.left_out if not chain.problem],
        "repeated": [chain for arm in study.arms for chain in arm.chains if chain not in arm.distinct],
    }
    return found if any(found.values()) else None
