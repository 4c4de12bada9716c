"""Which factors and which combinations of them are still there, of data that were drawn from known factors.

What is not labelled is read by a classifier of combinations. It errs on real samples too, so every value has its floor:
the same of real samples in place of synthetic ones. Known shares are exact.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.data.factors import Factors, Rarity
from collapsar.metrics.modes import DROPPED_BELOW, class_shares, kl_divergence


@dataclass(frozen=True)
class FactorScores:
    """How samples meet a world of known factors.

    A level or a combination is dropped when its share is below a tenth of its known share.

    Attributes:
        level_shares: Share of the samples that have each level, by its name.
        dropped_levels: Names of the levels that are dropped.
        num_alive: Combinations that are not dropped.
        alive_shares: The same as a share of the combinations, by rarity.
        rarity_shares: Share of the samples that are of combinations so rare.
        kl: KL(samples || world) over combinations, in nats.
        total_variation: Between the shares of combinations and the known ones.
    """

    level_shares: dict[str, float]
    dropped_levels: tuple[str, ...]
    num_alive: int
    alive_shares: dict[Rarity, float]
    rarity_shares: dict[Rarity, float]
    kl: float
    total_variation: float


def factor_scores(labels: Int64[Tensor, " sample"], *, factors: Factors) -> FactorScores:
    """Scores of samples by their combinations.

    A combination that the world never shows counts as half a sample, so that the divergence stays finite.

    Raises:
        UsageError: the labels are refused, see `check_labels`.
    """
    shares, known = class_shares(labels.cpu(), num_classes=factors.num_combinations), factors.shares
    level_shares = shares_of_levels(shares, factors=factors)
    is_alive = (shares >= DROPPED_BELOW * known) & (shares > 0)
    return FactorScores(
        level_shares=level_shares,
        dropped_levels=tuple(
            level.name for level in factors.levels if level_shares[level.name] < DROPPED_BELOW * level.share
        ),
        num_alive=int(is_alive.sum()),
        alive_shares={rarity: float(is_alive[mask].double().mean()) for rarity, mask in factors.rarities.items()},
        rarity_shares={rarity: float(shares[mask].sum()) for rarity, mask in factors.rarities.items()},
        kl=kl_divergence(shares, reference=known.where(known > 0, 0.5 / len(labels))),
        total_variation=0.5 * float((shares - known).abs().sum()),
    )


def shares_of_levels(shares: Float64[Tensor, " combination"], *, factors: Factors) -> dict[str, float]:
    """The share of each level, from those of the combinations."""
    every = torch.arange(factors.num_combinations)
    return {level.name: float(shares[factors.has(level, every)].sum()) for level in factors.levels}


def share_rows(labels: dict[str, Int64[Tensor, " sample"]], *, factors: Factors) -> dict[str, dict[str, float]]:
    """By level, its known share and its share among several sets of samples, by their names."""
    shares = {
        name: shares_of_levels(class_shares(each.cpu(), num_classes=factors.num_combinations), factors=factors)
        for name, each in labels.items()
    }
    return {
        level.name: {"known": level.share} | {name: each[level.name] for name, each in shares.items()}
        for level in factors.levels
    }
