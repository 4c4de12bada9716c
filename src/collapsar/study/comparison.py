"""A comparison: the outcomes and costs of every arm against the baseline of its model.

Half-lives are restricted to the last generation compared, the horizon, as in the restricted mean survival time of
Royston & Parmar 2013: a chain whose recall never halved counts with the horizon. Differences are then too small if
both arms outlive it, never too large. A chain without any recall from the start counts with 0. A chain that its alarm
stopped or whose numbers broke down counts with its last values and, if its recall had not halved by then, with the
generations that it lasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.study.arms import Arm, by_family
from collapsar.study.chains import Chain
from collapsar.study.effects import Effect, effects

HALF_LIFE = "recall_half_life"
OUTCOMES = {
    HALF_LIFE: "Recall half-life, in generations",
    "recall": "Final recall",
    "recall_worst_class": "Final recall of the worst class",
    "downstream_auc": "Final downstream AUC",
    "downstream_accuracy": "Final downstream accuracy",
    "downstream_f1": "Final downstream F1",
}
"""The outcomes that arms are compared by, with their titles. The first decides; more is better in all."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The cost of a chain of an arm, as means over the chains that are compared.

    Attributes:
        seconds: Seconds of all phases; a first model that another chain trained counts with the time of that training.
        num_steps: Training steps of all generations; 0 for models that are fitted by formula.
        num_real: Real samples in all its pools; a sample in two pools counts twice.
    """

    seconds: float
    num_steps: float
    num_real: float


@dataclass(frozen=True, kw_only=True)
class ComparedArm:
    """An arm against its baseline.

    Attributes:
        index: Its place among all arms, which sets its colour.
        effects: By outcome; without outcomes that the two did not both measure on at least two shared seeds.
        spending: The cost of one of its chains.
        num_seeds: Seeds that it shares with the baseline.
        num_carried: Those of them whose last values are carried on, in this arm or in the baseline.
    """

    arm: Arm
    index: int
    effects: dict[str, Effect]
    spending: Spending
    num_seeds: int
    num_carried: int

    @property
    def deciding(self) -> Effect:
        """The effect that ranks it."""
        return next(iter(self.effects.values()))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms of one model against their baseline.

    Attributes:
        baseline: The arm with nothing switched on.
        spending: The cost of one of its chains.
        horizon: The last generation that is compared; half-lives are restricted to it.
        outcomes: The measured outcomes, the deciding one first.
        arms: The other arms, the most helpful one first.
        left_out: Arms that share fewer than two seeds with the baseline up to the horizon.
    """

    baseline: Arm
    spending: Spending
    horizon: int
    outcomes: tuple[str, ...]
    arms: tuple[ComparedArm, ...]
    left_out: tuple[Arm, ...]


def comparisons(arms: Sequence[Arm]) -> list[Comparison]:
    """One comparison for each family with a baseline and at least two other arms that share two seeds with it."""
    found = [_compare(family, arms) for family in by_family(arms)]
    return [comparison for comparison in found if comparison is not None]


def outcome_of(chain: Chain, outcome: str, *, horizon: int) -> float | None:
    """The outcome of a chain at the horizon; None if it was not measured.

    Args:
        chain: With records up to the horizon at least, or one that ended before it.
        outcome: One of OUTCOMES.
        horizon: The generation that half-lives are restricted to.
    """
    if outcome != HALF_LIFE:
        return chain.metrics_at(horizon).get(outcome)
    if "recall" not in chain.metrics_at(0):
        return None
    half_life = chain.profile.recall_half_life
    lasted = chain.last_generation if chain.ending else horizon
    return float(min(lasted if half_life is None else half_life, horizon))


def _compare(family: Sequence[Arm], arms: Sequence[Arm]) -> Comparison | None:
    baseline = next((arm for arm in family if arm.is_baseline), None)
    if baseline is None:
        return None
    horizon = _horizon([chain for arm in family for chain in arm.distinct])
    base = _by_seed(baseline, horizon)
    others = [(arm, _by_seed(arm, horizon)) for arm in family if arm is not baseline]
    rows = []
    for (arm, own), found in zip(others, _effects(base, [own for _, own in others], horizon=horizon), strict=True):
        if found:
            pairs = [(base[seed], own[seed]) for seed in base.keys() & own.keys()]
            row = ComparedArm(
                arm=arm,
                index=arms.index(arm),
                effects=found,
                spending=spending([chain for _, chain in pairs], horizon=horizon),
                num_seeds=len(pairs),
                num_carried=sum(any(chain.last_generation < horizon for chain in pair) for pair in pairs),
            )
            rows.append(row)
    if len(rows) < 2:
        return None
    compared = [row.arm for row in rows]
    return Comparison(
        baseline=baseline,
        spending=spending(list(base.values()), horizon=horizon),
        horizon=horizon,
        outcomes=tuple(outcome for outcome in OUTCOMES if any(outcome in row.effects for row in rows)),
        arms=tuple(sorted(rows, key=lambda row: -row.deciding.difference.mean)),
        left_out=tuple(arm for arm, _ in others if arm not in compared),
    )


def _horizon(chains: Sequence[Chain]) -> int:
    """The last generation of the median chain: shorter chains are left out, and longer ones are cut.

    A chain that ended early counts with the generations requested, as its last values are carried on that far.
    """
    lengths = sorted(chain.num_generations if chain.ending else len(chain.records) for chain in chains)
    return max(lengths[len(lengths) // 2] - 1, 0)


def _by_seed(arm: Arm, horizon: int) -> dict[int, Chain]:
    """The chains that reached the horizon or ended before it."""
    counted = (c for c in arm.distinct if len(c.records) > horizon or (c.has_outcome and c.ending))
    return {chain.seed: chain for chain in counted}


def _effects(baseline: dict[int, Chain], arms: Sequence[dict[int, Chain]], *, horizon: int) -> list[dict[str, Effect]]:
    """Effects by arm and outcome; Holm's correction runs over the arms."""
    found: list[dict[str, Effect]] = [{} for _ in arms]
    for outcome in OUTCOMES:
        values = [
            {seed: outcome_of(chain, outcome, horizon=horizon) for seed, chain in chains.items()}
            for chains in (baseline, *arms)
        ]
        base, *others = [{seed: value for seed, value in own.items() if value is not None} for own in values]
        for own, effect in zip(found, effects(base, others), strict=True):
            if effect is not None:
                own[outcome] = effect
    return found


def spending(chains: Sequence[Chain], *, horizon: int) -> Spending:
    """The mean cost of these chains up to the horizon."""
    records = [record for chain in chains for record in chain.records[: horizon + 1]]
    seconds = sum(sum(record.seconds.values()) + sum(record.shared_seconds.values()) for record in records)
    return Spending(
        seconds=seconds / len(chains),
        num_steps=float(np.sum([record.training.get("steps", 0) for record in records])) / len(chains),
        num_real=float(np.sum([record.pool["origins"].get("real", 0) for record in records])) / len(chains),
    )
