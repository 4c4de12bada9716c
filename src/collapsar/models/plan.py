"""How a generation is trained beyond what its model says: the settings that levers turn.

A plan with nothing set trains a model as it is. Each key stands as null in conf/training/default.yaml, and a recipe in
conf/recipe or a lever in conf/lever sets some of them. `learned.py` carries the plan out.
"""

from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from collapsar.errors import UsageError, check_positive

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The levers of training.

    Args:
        gradient_clip_norm: Gradients of each player are scaled down to at most this norm; null leaves them.
        validation_fraction: Share of each pool that is kept from training and gives the losses `validation/...`, in
            (0, 1); null keeps none.
        schedule: How the learning rate of each player falls over the steps of a generation, after any warm-up: not at
            all (`constant`, or null), or to 0 along a straight line (`linear`) or half a cosine (`cosine`).
        warmup_fraction: Share of the steps in which it first rises to its full value along a straight line, in (0, 1);
            null begins with the full value.
        cuda_graphs: Whether a step is launched as one CUDA graph (`graphs.py`); null: kernel by kernel.

    Raises:
        UsageError: a value out of range.
    """

    gradient_clip_norm: float | None
    validation_fraction: float | None
    schedule: Schedule | None
    warmup_fraction: float | None
    cuda_graphs: bool | None

    def __post_init__(self) -> None:
        if self.gradient_clip_norm is not None:
            check_positive(gradient_clip_norm=self.gradient_clip_norm)
        for key in ("validation_fraction", "warmup_fraction"):
            value = getattr(self, key)
            if value is not None and not 0 < value < 1:
                raise UsageError(f"training.{key} must lie between 0 and 1, or be null: got {value}")

    @property
    def has_schedule(self) -> bool:
        """Whether learning rates change from step to step."""
        return self.schedule in ("linear", "cosine") or self.warmup_fraction is not None

    def num_validation(self, pool_size: int) -> int:
        """How many samples of a pool are kept for validation."""
        return 0 if self.validation_fraction is None else max(1, round(self.validation_fraction * pool_size))

    def rate_factor(self, step: int, *, num_steps: int) -> float:
        """What learning rates are multiplied by in a step, counted from 0: in (0, 1].

        With w of n steps to warm up, (step + 1) / w while that is below 1; then, of the share p = (step - w) / (n - w)
        of the others that is over, 1 - p (linear) or (1 + cos(pi p)) / 2 (cosine; Loshchilov & Hutter 2017,
        arXiv:1608.03983, eq. 5).
        """
        num_warmup = 0 if self.warmup_fraction is None else round(self.warmup_fraction * num_steps)
        if step < num_warmup:
            return (step + 1) / num_warmup
        share = (step - num_warmup) / (num_steps - num_warmup)
        match self.schedule:
            case "linear":
                return 1 - share
            case "cosine":
                return (1 + cos(pi * share)) / 2
            case _:
                return 1.0


AS_IT_IS = Plan(
    gradient_clip_norm=None, validation_fraction=None, schedule=None, warmup_fraction=None, cuda_graphs=None
)
