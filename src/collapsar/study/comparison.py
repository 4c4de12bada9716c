"""A comparison: every arm against the baseline of its model, by what became of its chains and by what that cost.

Half-lives are censored at the end of the chain, so they are restricted to it: a chain whose recall never halved counts
with the chain's length, the horizon (the restricted mean survival time of Royston & Parmar 2013). Differences are then
too small where both arms outlive the horizon, never too large. A chain without any recall from the start counts with 0.
A chain that its alarm stopped, or whose numbers broke down, counts with its last values, and if its recall had not
halved by then, with the generations that it lasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.study.arms import Arm, indices_by_model
from collapsar.study.baselines import find_baseline
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
"""What arms are compared by, with the words for it: the first decides. More is better in all of them."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What a chain of an arm took, as means over the chains that are compared.

    Attributes:
        seconds: Of all phases; a first model that another chain trained counts with what that training took.
        num_steps: Training steps of all generations; 0 for models that are fitted by formula.
        num_real: Real samples in all its pools, a sample that stands in two pools counted twice.
    """

    seconds: float
    num_steps: float
    num_real: float


@dataclass(frozen=True, kw_only=True)
class ComparedArm:
    """An arm against its baseline.

    Attributes:
        arm: The arm.
        index: Its place among all arms, which gives its colour.
        effects: By outcome; an outcome that one of the two did not measure on two shared seeds is absent.
        spending: What one of its chains took.
        num_seeds: Seeds that it shares with the baseline.
        num_carried: Seeds of these whose last values are carried on, in this arm or in the baseline.
    """

    arm: Arm
    index: int
    effects: dict[str, Effect]
    spending: Spending
    num_seeds: int
    num_carried: int

    @property
    def deciding(self) -> Effect:
        """What it is ranked by."""
        return next(iter(self.effects.values()))


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms of one model against their baseline.

    Attributes:
        baseline: The arm with nothing switched on.
        spending: What one of its chains took.
        horizon: The last generation that is compared, which half-lives are restricted to.
        outcomes: What was measured, the deciding outcome first.
        arms: The other arms, the one that helps most first.
        left_out: Arms that share fewer than two seeds with the baseline up to the horizon.
    """

    baseline: Arm
    spending: Spending
    horizon: int
    outcomes: tuple[str, ...]
    arms: tuple[ComparedArm, ...]
    left_out: tuple[Arm, ...]


def comparisons(arms: Sequence[Arm]) -> list[Comparison]:
    """The comparison of each model that has a baseline and at least two other arms that share two seeds with it."""
    families = indices_by_model([arm.chains for arm in arms])
    found = [_compare(arms, indices) for indices in families]
    return [comparison for comparison in found if comparison is not None]


def outcome_of(chain: Chain, outcome: str, *, horizon: int) -> float | None:
    """What became of a chain by the horizon; None where it was not measured.

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


def _compare(arms: Sequence[Arm], indices: Sequence[int]) -> Comparison | None:
    found = find_baseline([arms[index].settings for index in indices])
    if found is None:
        return None
    horizon = _horizon([chain for index in indices for chain in arms[index].distinct])
    chains = {index: {c.seed: c for c in arms[index].distinct if _counts(c, horizon)} for index in indices}
    base = chains.pop(indices[found])
    shared = {index: base.keys() & own.keys() for index, own in chains.items()}
    compared = [index for index in shared if len(shared[index]) > 1]
    by_arm = _effects(base, [chains[index] for index in compared], horizon=horizon)
    rows = [
        ComparedArm(
            arm=arms[index],
            index=index,
            effects=own,
            spending=spending([chains[index][seed] for seed in shared[index]], horizon=horizon),
            num_seeds=len(shared[index]),
            num_carried=sum(
                any(by_seed[seed].last_generation < horizon for by_seed in (base, chains[index]))
                for seed in shared[index]
            ),
        )
        for index, own in zip(compared, by_arm, strict=True)
        if own
    ]
    if len(rows) < 2:
        return None
    return Comparison(
        baseline=arms[indices[found]],
        spending=spending(list(base.values()), horizon=horizon),
        horizon=horizon,
        outcomes=tuple(outcome for outcome in OUTCOMES if any(outcome in row.effects for row in rows)),
        arms=tuple(sorted(rows, key=lambda row: -row.deciding.difference.mean)),
        left_out=tuple(arms[index] for index in shared if index not in {row.index for row in rows}),
    )


def _horizon(chains: Sequence[Chain]) -> int:
    """The last generation of the usual chain: shorter ones are left out, and of longer ones the rest is.

    A chain that ended early counts with what was asked for: its last values are carried on that far.
    """
    lengths = sorted(chain.num_generations if chain.ending else len(chain.records) for chain in chains)
    return max(lengths[len(lengths) // 2] - 1, 0)


def _counts(chain: Chain, horizon: int) -> bool:
    return len(chain.records) > horizon or (chain.has_outcome and bool(chain.ending))


def _effects(baseline: dict[int, Chain], arms: Sequence[dict[int, Chain]], *, horizon: int) -> list[dict[str, Effect]]:
    """By arm and outcome; the correction runs over the arms."""
    found: list[dict[str, Effect]] = [{} for _ in arms]
    for outcome in OUTCOMES:
        base, *others = [_values(chains, outcome, horizon=horizon) for chains in (baseline, *arms)]
        for own, effect in zip(found, effects(base, others), strict=True):
            if effect is not None:
                own[outcome] = effect
    return found


def _values(chains: dict[int, Chain], outcome: str, *, horizon: int) -> dict[int, float]:
    found = {seed: outcome_of(chain, outcome, horizon=horizon) for seed, chain in chains.items()}
    return {seed: value for seed, value in found.items() if value is not None}


def spending(chains: Sequence[Chain], *, horizon: int) -> Spending:
    """What a chain took up to the horizon, as a mean over these."""
    records = [record for chain in chains for record in chain.records[: horizon + 1]]
    seconds = sum(sum(record.seconds.values()) + sum(record.shared_seconds.values()) for record in records)
    return Spending(
        seconds=seconds / len(chains),
        num_steps=float(np.sum([record.training.get("steps", 0) for record in records])) / len(chains),
        num_real=float(np.sum([record.pool["origins"].get("real", 0) for record in records])) / len(chains),
    )
