"""A comparison: the outcomes and costs of every arm against the baseline of its model.

Recall survival is a restricted mean survival time (Royston & Parmar 2013): recall that never halved counts with the
last generation compared, the horizon, so that differences may be too small, never too large; a chain that never had
any counts with 0. A chain that ended early counts with its last values and, if its recall had not halved, with the
generations that it lasted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import kendalltau, nct

from collapsar.study.analysis import EARLIER_NAMES, RMST, Analysis, shared_analysis
from collapsar.study.arms import Arm, by_family, group_arms
from collapsar.study.chains import Chain
from collapsar.study.simultaneous import LEVEL, LargestT, dunnett_correlation
from collapsar.study.survival import RecallSurvival, has_lost_recall, recall_life, recall_survival
from collapsar.study.verdicts import Effect, effects

POWER = 0.8
SENSITIVITY = {  # metrics of the group `support_sensitivity`
    "with 3 neighbours": "recall_3_neighbours",
    "with 10 neighbours": "recall_10_neighbours",
    "of half of the samples": "recall_half_samples",
}
UNLABELLED = ("pca", "self_supervised")  # feature spaces that saw no labels; a chain's first one counts


@dataclass(frozen=True, kw_only=True)
class Spending:
    """The cost of a chain of an arm, as means over the chains that are compared."""

    seconds: float  # of all phases; a first model from another chain counts with its training's time
    num_steps: float  # training steps of all generations; 0 for models that are fitted by formula
    num_real: float  # real samples in all its pools; a sample in two pools counts twice


@dataclass(frozen=True, kw_only=True)
class ComparedArm:
    """An arm against its baseline."""

    arm: Arm
    index: int  # its place among all arms, which sets its colour
    effects: dict[str, Effect]  # by outcome; without those measured on fewer than two shared seeds
    spending: Spending  # the cost of one of its chains
    num_seeds: int  # seeds that it shares with the baseline
    num_carried: int  # those of them whose last values are carried on, in this arm or in the baseline
    survival: RecallSurvival | None  # how long its recall lasts; None if recall was not measured
    deciding: Effect | None  # the effect that ranks it; None if too few shared seeds have the primary outcome


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All arms of one model against their baseline."""

    analysis: Analysis  # what was fixed before the chains ran
    baseline: Arm  # the arm with nothing switched on
    spending: Spending  # the cost of one of its chains
    survival: RecallSurvival | None  # how long its recall lasts; None if recall was not measured
    horizon: int  # the last generation that is compared; recall survival is restricted to it
    final: int  # the last one for other outcomes and costs: below the horizon if `extend` left an arm shorter
    outcomes: tuple[str, ...]  # the measured outcomes; the primary one, which decides, is the first
    arms: tuple[ComparedArm, ...]  # the other arms, the most helpful one first; last, those that are not ranked
    left_out: tuple[Arm, ...]  # arms without an outcome on two seeds that reach the horizon in the baseline too
    # Kendall's tau between the orders of arms on the primary outcome in the first feature space and in one that saw no
    # labels, by the name of that space; NaN for a single arm, empty if none was measured
    order_tau: dict[str, float]
    sensitivity: dict[str, float]  # tau of the orders by final recall and by each of SENSITIVITY that was measured
    below_gate: tuple[Arm, ...]  # arms of which a chain fails the entry gate; with one, verdicts are exploratory


def comparisons(arms: Sequence[Arm]) -> list[Comparison]:
    """One comparison for each family with a baseline and at least two other arms that share two seeds with it."""
    return [found for family in by_family(arms) if (found := _compare(family, arms))]


def outcome_of(chain: Chain, outcome: str, *, horizon: int, space: str = "") -> float | None:
    """The outcome, one of OUTCOMES or of EARLIER_NAMES, of a chain at the horizon; None if it was not measured.

    The chain reaches the horizon, or ended before it. `space` is the feature space; empty: the first one.
    """
    if (outcome := EARLIER_NAMES.get(outcome, outcome)) != RMST:
        return chain.metrics_at(horizon).get(f"{space}/{outcome}" if space else outcome)
    life = recall_life(chain, horizon=horizon, space=space)
    return None if life is None else life[0]


def by_seed(chains: Sequence[Chain], outcome: str, *, horizon: int, space: str = "") -> dict[int, float]:
    """The outcome of each chain that has it, by seed, as `effects` and `judge` take it."""
    found = ((chain.seed, outcome_of(chain, outcome, horizon=horizon, space=space)) for chain in chains)
    return {seed: value for seed, value in found if value is not None}


def _compare(family: Sequence[Arm], arms: Sequence[Arm]) -> Comparison | None:
    baseline = next((arm for arm in family if arm.is_baseline), None)
    if baseline is None:
        return None
    settled, others = ([c for arm in family if _is_settled(arm) == own for c in arm.distinct] for own in (True, False))
    analysis = shared_analysis([chain.config for chain in (*settled, *others)])
    lengths = sorted(chain.num_generations if chain.ending else len(chain.records) for chain in others)
    # That of the median chain; one that ended early is carried on to the last generation requested.
    longest = max(lengths[len(lengths) // 2], 1) if others else max(chain.num_generations for chain in settled)
    horizon = min(longest - 1, analysis.horizon or longest - 1)
    final = min([horizon, *(chain.num_generations - 1 for chain in settled)])
    compared = [baseline, *(arm for arm in family if arm is not baseline)]
    chains = [_up_to(arm, horizon) for arm in compared]
    found, order_tau = _effects(chains, analysis=analysis, horizon=horizon, final=final)
    outcomes = tuple(outcome for outcome in analysis.outcomes() if any(outcome in own for own in found))
    survivals = [recall_survival(arm.distinct, horizon=horizon) for arm in compared]
    rows = []
    for arm, own, of_arm, survival in zip(compared[1:], chains[1:], found, survivals[1:], strict=True):
        if of_arm:
            shared = {chain.seed for chain in own} & {chain.seed for chain in chains[0]}
            row = ComparedArm(
                arm=arm,
                index=arms.index(arm),
                effects=of_arm,
                spending=spending([chain for chain in own if chain.seed in shared], horizon=final),
                num_seeds=len(shared),
                num_carried=len(shared & {c.seed for c in (*chains[0], *own) if c.last_generation < final}),
                survival=survival,
                deciding=of_arm.get(outcomes[0]),
            )
            rows.append(row)
    if len(rows) < 2:
        return None
    shown = [baseline, *(row.arm for row in rows)]
    failed = [any(chain.profile.entry_gate == "failed" for chain in own) for own in chains]
    return Comparison(
        analysis=analysis,
        baseline=baseline,
        spending=spending(chains[0], horizon=final),
        survival=survivals[0],
        horizon=horizon,
        final=final,
        outcomes=outcomes,
        arms=tuple(sorted(rows, key=lambda row: -row.deciding.difference.mean if row.deciding else math.inf)),
        left_out=tuple(arm for arm in compared if arm not in shown),
        order_tau=order_tau,
        sensitivity=_sensitivity(chains, horizon=final),
        below_gate=tuple(arm for arm, is_below in zip(compared, failed, strict=True) if is_below and arm in shown),
    )


def _is_settled(arm: Arm) -> bool:
    """Whether `extend` leaves it as it is: recall is halved in all its chains, so its survival needs no horizon."""
    return all(chain.config.get("extend") and not chain.is_open and has_lost_recall(chain) for chain in arm.distinct)


def _up_to(arm: Arm, horizon: int) -> list[Chain]:
    if _is_settled(arm):
        return [*arm.distinct]
    return [chain for chain in arm.distinct if len(chain.records) > horizon or (chain.has_outcome and chain.ending)]


def _effects(
    chains: Sequence[Sequence[Chain]], *, analysis: Analysis, horizon: int, final: int
) -> tuple[list[dict[str, Effect]], dict[str, float]]:
    """Effects by arm and outcome, all but the first corrected for their number too, and how far spaces agree."""
    ends = {outcome: horizon if outcome == RMST else final for outcome in analysis.outcomes()}
    values = {outcome: [by_seed(own, outcome, horizon=end) for own in chains] for outcome, end in ends.items()}
    measured = [key for key, (base, *own) in values.items() if any(len(base.keys() & arm.keys()) > 1 for arm in own)]
    found: list[dict[str, Effect]] = [{} for _ in chains[1:]]
    for outcome in measured:
        judged = effects(
            values[outcome][0],
            values[outcome][1:],
            smallest_effect=analysis.smallest_effect if outcome == (analysis.primary or measured[0]) else None,
            num_outcomes=1 if outcome == measured[0] else len(measured) - 1,
        )
        for own, effect in zip(found, judged, strict=True):
            own.update({outcome: effect} if effect else {})
    return found, _check_spaces(found, measured[0], chains, horizon=ends[measured[0]]) if measured else {}


def _check_spaces(
    found: Sequence[dict[str, Effect]], primary: str, chains: Sequence[Sequence[Chain]], *, horizon: int
) -> dict[str, float]:
    """Make an arm undecided if a space that saw no labels does not agree; Kendall's tau of the arms' orders."""
    for space in UNLABELLED:
        pairs = []
        for own, others in zip(found, chains[1:], strict=True):
            ends = [chain.last_generation for chain in (*chains[0], *others) if not chain.ending]
            end = min([horizon, *ends])  # of outcomes other than recall survival, all chains reach it
            base, arm = (by_seed(each, primary, horizon=end, space=space) for each in (chains[0], others))
            if primary in own and (seeds := base.keys() & arm.keys()):
                apart = float(np.mean([arm[seed] - base[seed] for seed in seeds]))
                pairs.append((own[primary].difference.mean, apart))
                own[primary] = agreed(own[primary], apart, space=space)
        if pairs:
            return {space: float(kendalltau(*zip(*pairs, strict=True)).statistic) if len(pairs) > 1 else math.nan}
    return {}


def _sensitivity(chains: Sequence[Sequence[Chain]], *, horizon: int) -> dict[str, float]:
    """How far the order of arms by final recall is that by recall with other settings; without ties of all arms."""

    def differences(key: str) -> list[float]:
        base, *others = [by_seed(own, key, horizon=horizon) for own in chains]
        shared = [[own[seed] - base[seed] for seed in base.keys() & own.keys()] for own in others]
        return [float(np.mean(own)) if own else math.nan for own in shared]

    orders = {words: kendalltau(differences("recall"), differences(key)) for words, key in SENSITIVITY.items()}
    return {words: float(order.statistic) for words, order in orders.items() if math.isfinite(order.statistic)}


def agreed(effect: Effect, apart: float, *, space: str) -> Effect:
    """The effect; undecided if it is better or worse but its difference in another space has not the same sign."""
    if effect.verdict not in ("better", "worse") or np.sign(apart) == np.sign(effect.difference.mean):
        return effect
    reason = f"the space {space}, which saw no labels, does not agree"
    return replace(effect, judged=replace(effect.judged, verdict="undecided", reason=reason))


def spending(chains: Sequence[Chain], *, horizon: int) -> Spending:
    """The mean cost of these chains up to the horizon."""
    records = [record for chain in chains for record in chain.records[: horizon + 1]]
    return Spending(
        seconds=sum(record.all_seconds for record in records) / len(chains),
        num_steps=float(np.sum([record.training.get("steps", 0) for record in records])) / len(chains),
        num_real=float(np.sum([record.pool["origins"].get("real", 0) for record in records])) / len(chains),
    )


def power_of(*, num_seeds: int, num_arms: int) -> tuple[float, float]:
    """The half-width of intervals that hold for all arms together with 95 %, and the effect found with 80 %.

    With so many arms beside the baseline, and so many seeds of each, at least two; both in standard deviations (sd) of
    a seed's difference from the baseline, with one variance pooled over arms.
    """
    df = num_arms * (num_seeds - 1)
    critical = LargestT(dunnett_correlation([range(num_seeds)] * num_arms), df=df).quantile(LEVEL)
    shift = brentq(lambda away: nct.sf(critical, df, away) - POWER, 0, 10 * critical)
    return critical / math.sqrt(num_seeds), shift / math.sqrt(num_seeds)


def forecast_power(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each comparison that chains of these settings would make."""
    chains = [
        Chain(folder=Path(), label="", config={**own}, records=(), overrides=(), versions={}, problem="unfinished")
        for own in settings
    ]
    found = []
    for family in by_family(group_arms(chains)):
        num_seeds, num_arms = min(len(arm.distinct) for arm in family), len(family) - 1
        if num_seeds > 1 and any(arm.is_baseline for arm in family):
            half_width, effect = power_of(num_seeds=num_seeds, num_arms=num_arms)
            fixed = shared_analysis(settings)
            primary = fixed.primary or "the first outcome that is measured"
            matters = f"; {fixed.smallest_effect:g} of {primary} matters" if fixed.smallest_effect else ""
            found.append(
                f"with {num_seeds} seeds and {num_arms} arms an effect of {effect:.2f} sd is found "
                f"({POWER:.0%} power; intervals are +- {half_width:.2f} sd; sd is that of a seed's difference "
                f"from the baseline{matters}{f'; hash {fixed.digest}' if fixed.digest else ''})"
            )
    return found
