"""Early stopping: validate at even intervals, stop by Lightning's `EarlyStopping`, and keep the best weights.

`BestWeights` keeps them in memory, because Lightning's ModelCheckpoint would write files of its own.
"""

from math import inf
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from collapsar.models.plan import Plan


class BestWeights(Callback):
    """Keeps the weights with the lowest validated score.

    Args:
        monitor: Name under which the score is logged.

    Attributes:
        score: The lowest score so far.
        step: Number of steps before that score was measured.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor, self.score, self.step = monitor, inf, 0
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = float(trainer.callback_metrics[self.monitor])
        if not trainer.sanity_checking and score < self.score:
            self.score, self.step = score, trainer.global_step
            self._weights = {name: value.detach().clone() for name, value in pl_module.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "step": self.step, "weights": self._weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.score, self.step, self._weights = state_dict["score"], state_dict["step"], state_dict["weights"]

    def put_back(self, model: LightningModule) -> None:
        """Load the best weights into the model, if it was ever validated."""
        if self._weights:
            with torch.no_grad():
                model.load_state_dict(self._weights)


def early_stopping(plan: Plan, *, watched: str) -> tuple[Callback, ...]:
    """Callbacks that stop a training early and keep its best weights; none if the plan sets no patience.

    `watched` names the validated score; lower is better (`LearnedModel.watched`).
    """
    if plan.early_stopping_patience is None:
        return ()
    monitor = f"validation/{watched}"
    stopping = EarlyStopping(monitor, patience=plan.early_stopping_patience, mode="min", check_finite=False)
    return stopping, BestWeights(monitor)


def validate_evenly(trainer: Trainer, plan: Plan, *, batches_per_epoch: int) -> None:
    """Make a Trainer validate as often as the plan says, at even intervals of its steps."""
    if plan.validation_checks is None:
        return
    num_epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs >= 0 else None
    in_epochs = inf if num_epochs is None else num_epochs * batches_per_epoch
    num_steps = min(trainer.max_steps if trainer.max_steps >= 0 else inf, in_epochs)
    trainer.check_val_every_n_epoch = None  # type: ignore[assignment]  # counts steps across epochs
    trainer.val_check_interval = max(int(num_steps // plan.validation_checks), 1)
