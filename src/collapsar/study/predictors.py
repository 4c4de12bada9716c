"""How long a predictor trained on a chain's samples stays useful, and which part of the real samples loses first.

A predictor trained on the samples of each generation is scored on real ones by its AUC (`downstream_auc`). It is
compared with chance and with a predictor trained on real samples (`_floor`): logistic regression if a table has it,
else the same predictor. The parts are groups of rows, levels of known factors, or classes with scores of their own.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from collapsar.foundations.errors import printable
from collapsar.foundations.settings import flatten
from collapsar.journal.courses import HALF, points
from collapsar.study.arms import PLAIN_REGIME, Arm, by_family
from collapsar.study.chains import Chain, row_picture
from collapsar.study.survival import WaitingTime, waiting_time

AUC = "downstream_auc"
CHANCE = 0.5  # AUC of guessing, however common the classes are
REFERENCES = {  # key, and what was trained on real data; the first recorded one counts
    f"{AUC}_linear_floor": "logistic regression",
    f"{AUC}_floor": "the same predictor",
}
MIN_LEAD = 0.05  # with a smaller lead, noise decides when half of it is lost
SUBGROUP = "evaluation.table.task.subgroup"  # the setting that names the column of groups


@dataclass(frozen=True)
class PartKind:
    """Parts of the real samples that have scores of their own."""

    key: re.Pattern[str]  # pattern of their metric keys; its group is the name of the part
    noun: str  # the word for one of them
    score: str  # the name of their score
    worthless: float  # the score of a predictor that has learned nothing
    lead: str  # words for the score beyond that


AREA = ("AUC", CHANCE, "lead over chance")
GROUPS = PartKind(re.compile(rf"group/(\w+)/{AUC}"), "group", *AREA)
LEVELS = PartKind(re.compile(rf"{AUC}_where_(\w+)(?<!_floor)"), "factor", *AREA)
CLASSES = PartKind(re.compile(r"downstream_f1_class_(\d+)"), "class", "F1", 0.0, "F1")


@dataclass(frozen=True, kw_only=True)
class PartLoss:
    """The loss of a part, over the seeds of an arm."""

    words: str  # words for its samples
    kind: PartKind
    half_life: WaitingTime  # generations until half of the lead that generation 0's predictor had is lost
    first: float  # the mean score of generation 0
    last: float  # the mean score of the last generation


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """How long an arm's predictor stays useful, over seeds."""

    arm: Arm
    num_seeds: int  # seeds that were scored
    chance: WaitingTime  # generations until it is no better than chance
    real: WaitingTime | None  # until it is worse than the one trained on real samples; None if that is not recorded
    parts: tuple[PartLoss, ...]  # the losses of its parts, the earliest first

    @property
    def rank(self) -> tuple[float, float]:
        """The higher, the longer the predictor stays useful."""
        return self.chance.median, self.real.median if self.real else math.inf

    @property
    def hurt_first(self) -> tuple[PartLoss, ...]:
        """The parts that lost half of their lead before all others; empty if none did in most seeds."""
        first = min((part.half_life.median for part in self.parts), default=math.inf)
        return tuple(part for part in self.parts if part.half_life.median == first < math.inf)


@dataclass(frozen=True, kw_only=True)
class Keepings:
    """All arms of one model on one data source, the baseline first."""

    arms: tuple[Keeping, ...]
    reference: str  # what was trained on real samples; empty if that is not recorded

    @property
    def longest(self) -> tuple[Keeping, ...]:
        """The arms whose predictor stays useful longest."""
        most = max(keeping.rank for keeping in self.arms)
        return tuple(keeping for keeping in self.arms if keeping.rank == most)


def keepings(arms: Sequence[Arm]) -> list[Keepings]:
    """One result for each model and data source whose records score predictors by their AUC."""
    found = []
    for family in by_family(arms):
        own = (
            (arm, [chain for chain in arm.distinct if points(chain.records, AUC)]) for arm in _baseline_first(family)
        )
        if scored := [(arm, chains) for arm, chains in own if chains]:
            every = [chain for _, chains in scored for chain in chains]
            reference = next((key for key in REFERENCES if all(points(chain.records, key) for chain in every)), "")
            kept = tuple(_keeping(arm, chains, reference=reference) for arm, chains in scored)
            found.append(Keepings(arms=kept, reference=REFERENCES.get(reference, "")))
    return found


def _baseline_first(arms: Sequence[Arm]) -> list[Arm]:
    """The arms, the baseline first; without one, the arm under `replace`, then with the fewest settings, is first."""
    key, plain = PLAIN_REGIME
    first = min(arms, key=lambda arm: (not arm.is_baseline, arm.settings.get(key) != plain, len(arm.settings)))
    return sorted(arms, key=lambda arm: arm is not first)


def _keeping(arm: Arm, chains: Sequence[Chain], *, reference: str) -> Keeping:
    chance = _wait(chains, AUC, {chain.seed: CHANCE for chain in chains})
    assert chance is not None, "there is a chain"
    references = {chain.seed: points(chain.records, reference)[0][1] for chain in chains} if reference else {}
    below = {seed: math.nextafter(score, 0.0) for seed, score in references.items()}  # an equal score is not worse
    real = _wait(chains, AUC, below)
    return Keeping(arm=arm, num_seeds=len(chains), chance=chance, real=real, parts=_parts(chains))


def _parts(chains: Sequence[Chain]) -> tuple[PartLoss, ...]:
    """Losses of the first kind of part with scores: the earliest half-life first, then the larger loss."""
    for kind in (GROUPS, LEVELS, CLASSES):
        keys = dict.fromkeys(key for chain in chains for key in chain.records[0].metrics if kind.key.fullmatch(key))
        losses = [loss for key in keys if (loss := _loss(chains, key, kind=kind))]
        if losses:
            return tuple(sorted(losses, key=lambda loss: (loss.half_life.median, loss.last - loss.first)))
    return ()


def _loss(chains: Sequence[Chain], key: str, *, kind: PartKind) -> PartLoss | None:
    first = {chain.seed: own[0][1] for chain in chains if (own := points(chain.records, key))}
    leading = [chain for chain in chains if first.get(chain.seed, kind.worthless) >= kind.worthless + MIN_LEAD]
    halves = {seed: kind.worthless + HALF * (score - kind.worthless) for seed, score in first.items()}
    if (half_life := _wait(leading, key, halves)) is None:
        return None
    return PartLoss(
        words=_words(leading[0], key, kind=kind),
        kind=kind,
        half_life=half_life,
        first=float(np.mean([first[chain.seed] for chain in leading])),
        last=float(np.mean([points(chain.records, key)[-1][1] for chain in leading])),
    )


def _wait(chains: Sequence[Chain], key: str, bounds: Mapping[int, float]) -> WaitingTime | None:
    """Generations until a score falls to its seed's bound, or the numbers break down; None without chains or bounds."""
    bounded = [chain for chain in chains if chain.seed in bounds]
    reached = [
        [found for found, score in points(chain.records, key) if score <= bounds[chain.seed]]
        + ([chain.last_generation + 1] if chain.ending == "broke down" else [])
        for chain in bounded
    ]
    return waiting_time(
        [min(found, default=None) for found in reached], lengths=[chain.records[-1].generation for chain in bounded]
    )


def _words(chain: Chain, key: str, *, kind: PartKind) -> str:
    """Words for the part of a key: rows with gender 0, samples with night, rows of class malignant."""
    matched = kind.key.fullmatch(key)
    assert matched is not None, "the key is of this kind"
    name = matched[1]
    if kind is CLASSES:
        contents = (row_picture(chain, record.generation) for record in chain.records)
        names = next((content.get("classes") for content in contents if content is not None), None)
        if isinstance(names, list) and int(name) < len(names):
            name = printable(str(names[int(name)]))
        return f"rows of class {name}"
    if kind is LEVELS:
        return f"samples with {name}"
    found = flatten(chain.config).get(SUBGROUP)
    column = "group" if found is None else found
    return f"rows with {column} {re.sub(r'(?<=[0-9])_(?=[0-9])', '.', name).replace('_', ' ')}"  # a decimal point
