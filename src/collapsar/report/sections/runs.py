"""The runs: their table, what they cost, their settings, which are not finished."""

import platform
from contextlib import suppress
from importlib import metadata
from typing import Any

from collapsar.study.study import Study


def comparison(study: Study) -> dict[str, Any]:
    """The chains with their arms, if there are more chains than arms that count or one is unfinished."""
    chains = [(arm, chain) for arm in study.arms for chain in arm.chains if chain.has_outcome]
    is_needed = len(chains) > len(study.counted) or any(chain.problem for chain in study.chains)
    return {"with_outcome": chains if is_needed else []}


def costs(study: Study) -> dict[str, Any] | None:
    """The phases that any arm measured."""
    phases = list(dict.fromkeys(phase for cost in study.costs for phase in cost.phase_seconds))
    return {"phases": phases} if study.costs else None


def unfinished(study: Study) -> dict[str, Any] | None:
    """Unfinished chains, finished ones that are shorter than others of their arm, and repeated ones."""
    found = {
        "unfinished": [chain for chain in study.chains if chain.problem],
        "shorter": [chain for arm in study.arms for chain in arm.left_out if not chain.problem],
        "repeated": [chain for arm in study.arms for chain in arm.chains if chain not in arm.distinct],
    }
    return found if any(found.values()) else None


def settings(study: Study) -> dict[str, Any]:
    """Commands, and the versions that the runs stored, or else those of this process; the study has the settings."""
    stored = next((chain.versions for chain in study.chains if chain.versions), None)
    versions = stored or {"python": platform.python_version()}
    for name in () if stored else ("collapsar", "torch", "lightning", "torchmetrics", "numpy", "scipy", "statsmodels"):
        with suppress(metadata.PackageNotFoundError):  # collapsar itself, when it is run from a checkout
            versions[name] = metadata.version(name)
    return {"versions": versions, "are_stored": bool(stored), "commands": study.commands}
