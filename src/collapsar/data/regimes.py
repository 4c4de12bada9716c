"""Regimes: the rule that makes the next pool from this one, the real data and what the model just drew.

pool[t+1] = regime(pool[t], real, synthetic[t]), with pool[0] the real training set.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch

from collapsar.data.pool import Part, Pool


class Regime(ABC):
    """A rule for the next pool. It is a function of its arguments alone, so a resumed chain can replay it."""

    name: ClassVar[str]

    @abstractmethod
    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: torch.Generator) -> Pool:
        """The pool that the next generation is trained on.

        Args:
            pool: What this generation was trained on.
            real: The real training set.
            synthetic: What this generation's model drew; its origin is the generation.
            generator: For rules that draw; derived from seed and generation.
        """


class Replace(Regime):
    """Only the last generation's samples: pool[t+1] = synthetic[t] (Shumailov et al. 2024; MAD's fully synthetic)."""

    name = "replace"

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: torch.Generator) -> Pool:
        return Pool((synthetic,))


class Accumulate(Regime):
    """Everything so far: pool[t+1] = pool[t] + synthetic[t] (Gerstgrasser et al. 2024, arXiv:2404.01413)."""

    name = "accumulate"

    def next_pool(self, pool: Pool, *, real: Part, synthetic: Part, generator: torch.Generator) -> Pool:
        return Pool((*pool.parts, synthetic))
