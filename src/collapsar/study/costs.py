"""Costs of each arm: seconds of a generation by phase, and the largest resident memory.

If a chain took over another chain's model, the training counts for that other chain. It is recognised by its recorded
steps and losses, which are the same in all chains that share it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.foundations.record import GenerationRecord
from collapsar.study.arms import Arm


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """The costs of an arm's chains."""

    arm: str  # the arm's name
    phase_seconds: dict[str, float]  # mean of a generation, by phase; a shared training counts in full
    chain_seconds: float  # mean seconds that a chain spent itself
    shared_seconds: float  # mean seconds, over chains, of trainings that another chain did
    peak_bytes: int | None  # largest resident memory of any generation; None if unknown


def cost_of(arm: Arm) -> ArmCost | None:
    """The costs of an arm; None without records."""
    chains = [chain for chain in arm.chains if chain.records]
    if not chains:
        return None
    records = [record for chain in chains for record in chain.records]
    seconds = [record.seconds | record.shared_seconds for record in records]
    names = dict.fromkeys(phase for found in seconds for phase in found)
    return ArmCost(
        arm=arm.name,
        phase_seconds={name: float(np.mean([found.get(name, 0.0) for found in seconds])) for name in names},
        chain_seconds=sum(sum(record.seconds.values()) for record in records) / len(chains),
        shared_seconds=sum(sum(record.shared_seconds.values()) for record in records) / len(chains),
        peak_bytes=max(record.peak_memory_bytes for record in records) or None,
    )


def study_seconds(arms: Sequence[Arm]) -> float:
    """Seconds of all chains together; a training that several share counts once, wherever it was done."""
    records = [record for arm in arms for chain in arm.chains for record in chain.records]
    done_here = {_training_key(record) for record in records if not record.shared_seconds}
    shared = {_training_key(record): sum(record.shared_seconds.values()) for record in records if record.shared_seconds}
    elsewhere = sum(seconds for key, seconds in shared.items() if key not in done_here)
    return float(sum(sum(record.seconds.values()) for record in records) + elsewhere)


def _training_key(record: GenerationRecord) -> str:
    return json.dumps([record.seed, record.generation, record.training], sort_keys=True)
