"""The players of a training, and what changes during it: learning-rate factors, averages, progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from collapsar.models.averaging import WeightAverage, warmed_ema
from collapsar.models.plan import Plan
from collapsar.models.rates import Plateau
from collapsar.samples import Samples

Losses = dict[str, Tensor]
"""Scalars by name; the first is minimised, the others are only logged."""


@dataclass(frozen=True, kw_only=True)
class Player:
    """A network that is trained, with its loss and its optimiser's settings.

    Attributes:
        module: The network whose parameters are trained.
        losses: Function of a batch and of what the players of a step share (`LearnedModel.share`).
        steps_per_move: Steps of the first player for one move of this one.
        average: Moving average that is updated after each move of the module; None without one.
        is_sampled: Whether samples come from the module; only then its weights may be averaged.
    """

    module: nn.Module
    losses: Callable[[Samples, Any], Losses]
    learning_rate: float
    adam_betas: tuple[float, float] = (0.9, 0.999)
    steps_per_move: int = 1
    average: AveragedModel | None = None
    is_sampled: bool = True


class Course:
    """The learning-rate factor, averages and progress of one training."""

    def __init__(self, plan: Plan, players: Sequence[Player], *, num_steps: int) -> None:
        self._plan, self._num_steps, self.step = plan, num_steps, 0
        self._plateau: Plateau | None = None
        if plan.plateau_patience is not None and plan.decay_factor is not None:
            self._plateau = Plateau(factor=plan.decay_factor, patience=plan.plateau_patience)
        self._averages: dict[int, WeightAverage] = {}  # by the player's index
        if plan.average_decay is not None:
            self._average(players, decay=plan.average_decay)

    def _average(self, players: Sequence[Player], *, decay: float) -> None:
        """Average each sampled player; a player with an average of its own gets this decay."""
        for number, player in enumerate(players):
            if player.average is not None:
                player.average.multi_avg_fn = warmed_ema(decay)
            elif player.is_sampled:
                self._averages[number] = WeightAverage(player.module, decay=decay)

    @property
    def progress(self) -> float:
        """Share of the steps that is done, in [0, 1)."""
        return self.step / self._num_steps

    @property
    def rate_factor(self) -> float:
        """Factor of the learning rates in this step."""
        factor = self._plan.rate_factor(self.step, num_steps=self._num_steps)
        return factor if self._plateau is None else factor * self._plateau.factor

    def state_dict(self) -> dict[str, Any]:
        """State from which the same training continues; to be taken between two steps."""
        return {
            "plateau": None if self._plateau is None else self._plateau.state_dict(),
            "averages": {number: average.state_dict() for number, average in self._averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])
        for number, average in self._averages.items():
            average.load_state_dict(state["averages"][number])

    def follow(self, number: int) -> None:
        """Update the average of a player after its move, if this course keeps one."""
        if (average := self._averages.get(number)) is not None:
            average.follow()

    def exchange_averages(self) -> None:
        """Swap averages and weights."""
        for average in self._averages.values():
            average.exchange()

    def validated(self, score: float) -> None:
        """Update `plateau` with the score of a validation; lower is better."""
        if self._plateau is not None:
            self._plateau.tell(score)
