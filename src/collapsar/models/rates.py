"""Learning rates over the n steps of a generation, as factors of the model's own.

In the w steps of the warm-up the factor of step s, counted from 0, is (s + 1) / w. Let p = (s - w) / (n - w) be the
share of the other steps that is done. After the warm-up the factor is

    linear    1 - p
    cosine    (1 + cos(pi p)) / 2                     Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5
    step      decay_factor ^ floor(p / decay_every_fraction)
    plateau   decay_factor ^ k, k the number of decays by `Plateau`
"""

from math import cos, floor, inf, pi
from typing import Any, Literal

Schedule = Literal["constant", "linear", "cosine", "step", "plateau"]


def rate_factor(
    step: int,
    *,
    num_steps: int,
    schedule: Schedule | None,
    warmup_fraction: float | None,
    decay_factor: float | None,
    decay_every_fraction: float | None,
) -> float:
    """The factor of a step, in (0, 1]; after the warm-up it is 1 with `plateau`, whose factor is in `Plateau`."""
    num_warmup = 0 if warmup_fraction is None else round(warmup_fraction * num_steps)
    if step < num_warmup:
        return (step + 1) / num_warmup
    share = (step - num_warmup) / (num_steps - num_warmup)
    match schedule:
        case "linear":
            return 1 - share
        case "cosine":
            return (1 + cos(pi * share)) / 2
        case "step":
            assert decay_factor is not None, "the plan has both"
            assert decay_every_fraction is not None, "the plan has both"
            return decay_factor ** floor(share / decay_every_fraction)
        case _:
            return 1.0


class Plateau:
    """The factor of `plateau`, which decays if validation scores stop falling.

    Args:
        factor: Factor of each decay, in (0, 1).
        patience: Number of scores in a row without a new lowest one after which the factor decays.
    """

    def __init__(self, *, factor: float, patience: int) -> None:
        self._factor, self._patience = factor, patience
        self.factor, self._best, self._num_worse = 1.0, inf, 0

    def state_dict(self) -> dict[str, Any]:
        return {"factor": self.factor, "best": self._best, "num_worse": self._num_worse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor, self._best, self._num_worse = state["factor"], state["best"], state["num_worse"]

    def tell(self, score: float) -> None:
        """Update the factor with the next score."""
        self._num_worse = 0 if score < self._best else self._num_worse + 1
        self._best = min(score, self._best)
        if self._num_worse >= self._patience:
            self.factor, self._num_worse = self.factor * self._factor, 0
