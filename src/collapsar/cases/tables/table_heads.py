"""Heads: the meaning of a network's outputs for a row of a table, block by block of its encoded vector.

    number   a scaled number: the output is its mean
    flag     1 if the number before it is missing, else 0: the output is a logit
    choice   one category of several, one-hot: the outputs are logits

A missing number is encoded as 0. It counts in no likelihood, and generated rows have 0 there too.
"""

from collections.abc import Sequence
from math import log, pi
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.models.bias import temper_logits
from collapsar.models.shapes import PerSample, Rows

Block = Sequence[Any]
"""Kind (`number`, `flag` or `choice`), start and stop in the vector."""

NORMALISER = 0.5 * log(2 * pi)
SMALLEST_UNIFORM = 1e-10  # keeps log(-log(uniform)) finite


class Heads(nn.Module):
    """The likelihood of rows, and draws of them; `blocks` None: every value is a number."""

    numbers: Int64[Tensor, " number"]  # indices of values
    flags: Int64[Tensor, " flag"]  # indices of values
    flagged: Int64[Tensor, " flag"]  # indices of numbers

    def __init__(self, num_values: int, blocks: Sequence[Block] | None) -> None:
        super().__init__()
        blocks = blocks or [("number", place, place + 1) for place in range(num_values)]
        numbers = [start for kind, start, _ in blocks if kind == "number"]
        flags = [start for kind, start, _ in blocks if kind == "flag"]
        flagged = [numbers.index(flag - 1) for flag in flags]  # a flag follows its number
        for name, places in {"numbers": numbers, "flags": flags, "flagged": flagged}.items():
            self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
        self.choices = [slice(start, stop) for kind, start, stop in blocks if kind == "choice"]
        self.num_numbers = len(numbers)

    def negative_log_likelihood(self, outputs: Rows, *, values: Rows, log_sd: Float[Tensor, " number"]) -> PerSample:
        """-log p of each row, in nats."""
        flags = values[:, self.flags]
        errors = (values[:, self.numbers] - outputs[:, self.numbers]) * (-log_sd).exp()
        is_there = torch.ones_like(errors).index_copy(1, self.flagged, 1 - flags)
        of_numbers = ((0.5 * errors.square() + log_sd + NORMALISER) * is_there).sum(1)
        of_flags = F.binary_cross_entropy_with_logits(outputs[:, self.flags], flags, reduction="none").sum(1)
        of_choices = [-(values[:, part] * outputs[:, part].log_softmax(1)).sum(1) for part in self.choices]
        return of_numbers + of_flags + sum(of_choices, torch.zeros_like(of_numbers))

    def likeliest(self, outputs: Rows) -> Rows:
        """Rows of the means of numbers and the likeliest flags and categories."""
        return self._assembled(outputs, numbers=outputs[:, self.numbers], noise=torch.zeros_like(outputs))

    def drawn(
        self, outputs: Rows, *, log_sd: Float[Tensor, " number"], spread: float, generator: torch.Generator
    ) -> Rows:
        """Rows drawn from the likelihood, its density raised to the power 1/lambda; lambda is `spread`."""
        normal = torch.randn(len(outputs), self.num_numbers, generator=generator).to(outputs.device)
        numbers = outputs[:, self.numbers] + spread**0.5 * log_sd.exp() * normal
        uniform = torch.rand(outputs.shape, generator=generator).to(outputs.device)
        return self._assembled(temper_logits(outputs, spread=spread), numbers=numbers, noise=gumbel(uniform))

    def relaxed(self, outputs: Rows, *, temperature: float, uniform: Rows) -> Rows:
        """Rows with drawn flags and categories whose gradients are those of softened ones.

        The straight-through Gumbel-softmax estimator (Jang et al. 2017, arXiv:1611.01144, section 2.2). Numbers are the
        network's outputs. The lower the temperature, the nearer softened categories are to drawn ones; `uniform` is the
        noise of the draws, in [0, 1).
        """
        noise = gumbel(uniform)
        rows = self._assembled(outputs, numbers=outputs[:, self.numbers], noise=noise)
        soft = outputs.index_copy(1, self.flags, self._flag_odds(outputs, noise).div(temperature).sigmoid())
        for part in self.choices:
            places = torch.arange(part.start, part.stop, device=outputs.device)
            soft = soft.index_copy(1, places, ((outputs[:, part] + noise[:, part]) / temperature).softmax(1))
        is_number = torch.zeros(outputs.shape[1], dtype=torch.bool, device=outputs.device)
        is_number[self.numbers] = True
        return torch.where(is_number, rows, rows.detach() + soft - soft.detach())

    def _assembled(self, outputs: Tensor, *, numbers: Tensor, noise: Tensor) -> Tensor:
        """Rows of these numbers, with the flags and categories that are largest after adding the noise."""
        flags = (self._flag_odds(outputs, noise) > 0).to(outputs.dtype)
        is_there = torch.ones_like(numbers).index_copy(1, self.flagged, 1 - flags)
        rows = torch.zeros_like(outputs).index_copy(1, self.numbers, numbers * is_there)
        rows = rows.index_copy(1, self.flags, flags)
        for part in self.choices:
            chosen = (outputs[:, part] + noise[:, part]).argmax(1)
            places = torch.arange(part.start, part.stop, device=outputs.device)
            rows = rows.index_copy(1, places, F.one_hot(chosen, len(places)).to(outputs.dtype))
        return rows

    def _flag_odds(self, outputs: Tensor, noise: Tensor) -> Tensor:
        """Logits of flags plus logistic noise: above 0 with the probability of the flag.

        The difference of two Gumbel variables is logistic; the second one is that at the place of the flag's number.
        """
        return outputs[:, self.flags] + noise[:, self.flags] - noise[:, self.flags - 1]


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard Gumbel variables from uniform ones: the largest of logits plus these is a draw from their softmax."""
    return -(-uniform.clamp(min=SMALLEST_UNIFORM, max=1 - 1e-7).log()).log()
