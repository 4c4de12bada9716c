"""A fit without a chain: what `training/train.py` does there around a fit, a callback of the model does here."""

from typing import Any

import torch
from lightning import Callback, Trainer

from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import UNLABELLED, Samples, concatenate
from collapsar.models.plan import Plan

AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

OF_A_CHAIN = {  # keys of the plan that only a chain carries out, and what to do instead
    "early_stopping_patience": "add Lightning's EarlyStopping",
    "warm_start": "load the weights into the model",
    **dict.fromkeys(("pretraining", "cuda_graphs", "compiled"), "run a chain"),
}
OF_THE_WHOLE_FIT = ("schedule", "warmup_fraction", "noise_schedule", "kl_warmup_fraction")


def check_own_fit(plan: Plan, *, precision: str, num_steps: int | float, is_validated: bool) -> None:
    """Raise UsageError if a Trainer without a chain cannot do what the plan says."""
    settings = plan.settings()
    for key, advice in OF_A_CHAIN.items():
        if settings.get(key):
            raise UsageError(f"{key} of the plan is carried out in chains only: leave it out, and {advice}")
    if "validation_fraction" in settings and not is_validated:
        raise UsageError("validation_fraction of the plan needs validation batches: give fit val_dataloaders")
    timed = next((key for key in OF_THE_WHOLE_FIT if key in settings), None)
    if num_steps == float("inf") and timed is not None:
        raise UsageError(f"{timed} of the plan needs the number of steps: set max_epochs or max_steps of the Trainer")
    if precision not in AUTOCAST_DTYPES:
        raise UsageError(f"precision of the Trainer must be one of {', '.join(AUTOCAST_DTYPES)}: got {precision}")


class OwnFit(Callback):
    """Checks the plan of a `LearnedModel`, counts its classes, keeps its first samples, and concludes each epoch."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        precision, num_steps = str(trainer.precision), trainer.estimated_stepping_batches
        pl_module.check_plan(pl_module.plan)
        check_own_fit(pl_module.plan, precision=precision, num_steps=num_steps, is_validated=trainer.enable_validation)
        pl_module.autocast_dtype = AUTOCAST_DTYPES[precision]
        self._counts = torch.zeros(pl_module.num_classes or 0, dtype=torch.int64)
        self._kept: list[Samples] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Samples, batch_idx: int) -> None:
        if pl_module.condition is not None and batch.labels is not None:
            labels = batch.labels.cpu()
            self._counts += labels[labels != UNLABELLED].bincount(minlength=len(self._counts))
        if sum(map(len, self._kept)) < pl_module.num_concluded:
            self._kept.append(batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Set the shares of the classes, and fit what needs the weights: a chain does so after the fit."""
        with pl_module.course.averaged():
            if pl_module.condition is not None:
                labels = self._counts.nonzero().squeeze(1)
                pl_module.condition.learn(labels, weights=self._counts[labels].double())
            if pl_module.num_concluded:
                was_training, generator = pl_module.training, torch.Generator().manual_seed(torch.initial_seed())
                pl_module.eval()
                pl_module.conclude(lambda num_samples: concatenate(self._kept)[:num_samples], generator=generator)
                pl_module.train(was_training)

    def on_fit_end(self, trainer: Trainer, pl_module: Any) -> None:
        self._kept.clear()  # frees their memory
