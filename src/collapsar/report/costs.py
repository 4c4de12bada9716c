"""Time and memory: seconds a generation by phase, and the largest resident set, for each arm."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.report.arms import Arm


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What the chains of an arm took.

    Attributes:
        arm: Its name.
        phase_seconds: Mean seconds a generation, by phase.
        chain_seconds: Mean seconds a chain.
        peak_bytes: Largest resident memory of any generation; None where it is not known.
    """

    arm: str
    phase_seconds: dict[str, float]
    chain_seconds: float
    peak_bytes: int | None


def costs(arms: Sequence[Arm]) -> list[ArmCost]:
    """The cost of every arm that has records."""
    return [_cost(arm) for arm in arms if any(chain.records for chain in arm.chains)]


def phases(found: Sequence[ArmCost]) -> list[str]:
    """The phases that any arm measured, in their order."""
    return list(dict.fromkeys(phase for cost in found for phase in cost.phase_seconds))


def _cost(arm: Arm) -> ArmCost:
    chains = [chain for chain in arm.chains if chain.records]
    records = [record for chain in chains for record in chain.records]
    names = dict.fromkeys(phase for record in records for phase in record.seconds)
    return ArmCost(
        arm=arm.name,
        phase_seconds={name: float(np.mean([record.seconds.get(name, 0.0) for record in records])) for name in names},
        chain_seconds=float(np.mean([sum(sum(r.seconds.values()) for r in chain.records) for chain in chains])),
        peak_bytes=max(record.peak_memory_bytes for record in records) or None,
    )
