"""A fit without a chain: what `training/phases.py` does there around a fit, the model does here itself.

From the batches of the fit it learns how often each class is drawn, and fits what needs the final weights. Settings
that only a chain carries out are refused.
"""

import torch

from collapsar.errors import UsageError
from collapsar.models.conditioning import Condition
from collapsar.models.plan import Plan
from collapsar.samples import UNLABELLED, Samples, concatenate

AUTOCAST_DTYPES = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

OF_A_CHAIN = {
    "early_stopping_patience": "add Lightning's EarlyStopping",
    "warm_start": "load the weights into the model",
    "pretraining": "run a chain",
    "cuda_graphs": "run a chain",
    "compiled": "run a chain",
}
"""Keys of the plan that only a chain carries out, and what to do instead."""
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


class SeenBatches:
    """How often each class was seen, and the first samples of a fit.

    Args:
        condition: Gets the shares of the classes; None for a model that sees no labels.
        num_kept: Samples that are kept.
    """

    def __init__(self, condition: Condition | None, *, num_kept: int) -> None:
        self.condition, self.num_kept = condition, num_kept
        self._counts = torch.zeros(condition.num_classes if condition else 0, dtype=torch.int64)
        self._kept: list[Samples] = []

    def see(self, batch: Samples) -> None:
        """Count the labels of a training batch, and keep it if there are too few samples yet."""
        if self.condition is not None and batch.labels is not None:
            labels = batch.labels.cpu()
            self._counts += labels[labels != UNLABELLED].bincount(minlength=len(self._counts))
        if sum(map(len, self._kept)) < self.num_kept:
            self._kept.append(batch)

    def some(self, num_samples: int) -> Samples:
        """Up to so many of the kept samples."""
        return concatenate(self._kept)[:num_samples]

    def set_shares(self) -> None:
        """Give the condition the shares of the classes; UsageError if no label was seen."""
        if self.condition is not None:
            labels = self._counts.nonzero().squeeze(1)
            self.condition.learn(labels, weights=self._counts[labels].double())
