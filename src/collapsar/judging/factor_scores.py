"""Which factor levels and combinations of levels survive, for data drawn from known factors.

A classifier of combinations reads unlabelled samples. It errs on real samples too, so every value has a floor: the
value of real samples in place of synthetic ones. The known shares are exact.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from collapsar.data.factors import Factors, Rarity
from collapsar.metrics.modes import DROPPED_BELOW, class_shares, kl_divergence


@dataclass(frozen=True)
class FactorScores:
    """How well samples match known factors.

    A level or a combination is dropped if its share is below a tenth of its known share.

    Attributes:
        level_shares: Share of the samples with each level, by the level's name.
        dropped_levels: Names of the dropped levels.
        num_alive: Number of combinations that have samples and are not dropped.
        alive_shares: The share of such combinations among those of each rarity.
        rarity_shares: Share of the samples in combinations of each rarity.
        kl: KL(samples || known) over combinations, in nats.
        total_variation: Between the combinations' shares and their known shares.
    """

    level_shares: dict[str, float]
    dropped_levels: tuple[str, ...]
    num_alive: int
    alive_shares: dict[Rarity, float]
    rarity_shares: dict[Rarity, float]
    kl: float
    total_variation: float


def factor_scores(labels: Int64[Tensor, " sample"], *, factors: Factors) -> FactorScores:
    """Score samples by their labels, the numbers of their combinations.

    A combination whose known share is zero counts as half a sample, so that the divergence stays finite.

    Raises:
        UsageError: The labels fail `check_labels`.
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
    """Sum the shares of the combinations that have each level."""
    every = torch.arange(factors.num_combinations)
    return {level.name: float(shares[factors.has(level, every)].sum()) for level in factors.levels}


def share_rows(labels: dict[str, Int64[Tensor, " sample"]], *, factors: Factors) -> dict[str, dict[str, float]]:
    """For each level, its known share and its share in each named set of samples."""
    shares = {
        name: shares_of_levels(class_shares(each.cpu(), num_classes=factors.num_combinations), factors=factors)
        for name, each in labels.items()
    }
    return {
        level.name: {"known": level.share} | {name: each[level.name] for name, each in shares.items()}
        for level in factors.levels
    }
