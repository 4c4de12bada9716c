"""The settings of training that are not the model's own: levers set them, and `learned.py` carries them out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import cos, floor, pi
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from collapsar.foundations.errors import UsageError
from collapsar.models.augmentation import Transform
from collapsar.models.shapes import Images


@dataclass(frozen=True, kw_only=True)
class Pretext(ABC):
    """A task whose answers are known without labels; it takes a `fraction` of a generation's steps, in (0, 1)."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise UsageError(f"training.pretraining.fraction must lie between 0 and 1: got {self.fraction}")

    def num_steps(self, num_steps: int) -> int:
        """Number of a generation's steps that pretraining takes: at least one, and it leaves at least one."""
        return min(max(1, round(self.fraction * num_steps)), num_steps - 1)

    @abstractmethod
    def pose(
        self, images: Images, generator: torch.Generator
    ) -> tuple[Float[Tensor, "input channel height width"], Int64[Tensor, " input"]]:
        """Inputs made from images in model range, and the right answers."""

    @abstractmethod
    def head(self, feature_dim: int) -> nn.Module:
        """A network from features to the logits of the answers; discarded after pretraining."""

    def check(self, sample_shape: Sequence[int], *, batch_size: int) -> None:  # noqa: B027
        """Raise UsageError, with what to set instead, if the task cannot be made from such images or batches."""


SHARES = (
    *("validation_fraction", "warmup_fraction", "average_decay", "decay_factor", "decay_every_fraction"),
    *("kl_warmup_fraction", "confidence_cap"),
)
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {  # rule: check, keys
    "be above 0": (lambda value: value > 0, ("gradient_clip_norm", "learning_rate_factor", "free_bits", "noise_sd")),
    "be at least 1": (lambda value: value >= 1, ("validation_checks", "early_stopping_patience", "plateau_patience")),
    "lie between 0 and 1": (lambda value: 0 < value < 1, SHARES),
    "not be negative": (lambda value: value >= 0, ("weight_decay",)),
}
NEEDS = {  # keys that need other keys
    "validate_on": ("validation_fraction",),
    "validation_checks": ("validation_fraction",),
    "early_stopping_patience": ("validation_fraction", "validation_checks"),
    "plateau_patience": ("validation_fraction", "validation_checks", "decay_factor"),
    "decay_every_fraction": ("decay_factor",),
    "noise_schedule": ("noise_sd",),
}
MODEL_SPECIFIC_KEYS = frozenset(
    {"augmentation", "noise_sd", "noise_schedule", "kl_warmup_fraction", "free_bits", "confidence_cap"}
)  # they act only if the model's losses use them
OF_SCHEDULE = {"decay_every_fraction": "step", "plateau_patience": "plateau"}  # keys that belong to one schedule
# A CUDA graph cannot follow these keys, as it repeats what it recorded.
UNGRAPHED = ("optimizer", "augmentation", "noise_schedule", "kl_warmup_fraction")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The levers of training; conf/training/default.yaml explains each. Null leaves a model as it is.

    Sources: noise that a VAE's decoder must undo, Im et al. 2017 (arXiv:1511.06406), or that a GAN's critic sees,
    Sønderby et al. 2017 (arXiv:1610.04490); KL warm-up, Bowman et al. 2016 (arXiv:1511.06349); free bits, Kingma et
    al. 2016 (arXiv:1606.04934, section 3.4); confidence cap, the truncated cross entropy of arXiv:2509.08972.
    """

    budget: Literal["steps", "epochs"] | None = None
    gradient_clip_norm: float | None = None
    optimizer: Literal["adam", "adamw", "nadam", "radam", "rmsprop", "sgd"] | None = None
    weight_decay: float | None = None
    learning_rate_factor: float | None = None
    schedule: Literal["constant", "linear", "cosine", "step", "plateau"] | None = None
    warmup_fraction: float | None = None
    decay_factor: float | None = None
    decay_every_fraction: float | None = None
    plateau_patience: int | None = None
    average_decay: float | None = None
    validation_fraction: float | None = None
    validate_on: Literal["pool", "real"] | None = None
    validation_checks: int | None = None
    early_stopping_patience: int | None = None
    augmentation: Sequence[Transform] | None = None
    noise_sd: float | None = None
    noise_schedule: Literal["constant", "linear"] | None = None
    kl_warmup_fraction: float | None = None
    free_bits: float | None = None
    confidence_cap: float | None = None
    warm_start: Literal["weights", "weights_and_optimizer"] | None = None
    pretraining: Pretext | None = None
    cuda_graphs: bool | None = None
    compiled: bool | None = None

    def __post_init__(self) -> None:
        for rule, (is_allowed, keys) in RANGES.items():
            for key in keys:
                if (value := getattr(self, key)) is not None and not is_allowed(value):
                    raise UsageError(f"training.{key} must {rule}, or be null: got {value}")
        for key, needed in NEEDS.items():
            for other in needed:
                if getattr(self, key) is not None and getattr(self, other) is None:
                    raise UsageError(f"training.{key} does nothing without training.{other}: set both, or neither")
        for key, schedule in OF_SCHEDULE.items():
            if (self.schedule == schedule) != (getattr(self, key) is not None):
                raise UsageError(f"training.schedule={schedule} and training.{key} go together: set both, or neither")
        if self.cuda_graphs and (lever := self.ungraphed):
            raise UsageError(f"training.cuda_graphs=true does not go with training.{lever}: set one of them to null")
        if self.compiled and (self.cuda_graphs is False or self.ungraphed is not None):
            problem = "training.compiled=true needs steps that are CUDA graphs"
            raise UsageError(f"{problem}: set it to null, or training.{self.ungraphed or 'cuda_graphs'}")

    def settings(self) -> dict[str, object]:
        """The keys that are set, with their values."""
        return {entry.name: value for entry in fields(self) if (value := getattr(self, entry.name)) is not None}

    @property
    def ungraphed(self) -> str | None:
        """The first set key that a CUDA graph cannot follow; None without one."""
        return next((key for key in UNGRAPHED if getattr(self, key) is not None), None)

    @property
    def has_schedule(self) -> bool:
        """Whether learning rates change from step to step."""
        return self.schedule not in (None, "constant") or self.warmup_fraction is not None

    @property
    def holds_out_real(self) -> bool:
        """Whether the whole chain keeps a part of the real training set for validation."""
        return self.validate_on == "real"

    def num_validation(self, size: int) -> int:
        """Number of samples of a set that are kept for validation."""
        return 0 if self.validation_fraction is None else max(1, round(self.validation_fraction * size))

    def num_kept_from_pool(self, pool_size: int) -> int:
        """Number of samples of a pool that are kept for validation; 0 if they come from the real training set."""
        return 0 if self.holds_out_real else self.num_validation(pool_size)

    def rate_factor(self, step: int, *, num_steps: int | float) -> float:
        """Factor of learning rates in a step, counted from 0, in (0, 1]; `course.Plateau` has one of its own after it.

        (step + 1) / w in the w steps of the warm-up. After it, with p the share of the other steps that is done: linear
        1 - p; cosine (1 + cos(pi p)) / 2 (Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5); step decay_factor ^
        floor(p / decay_every_fraction).
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
            case "step":
                return (self.decay_factor or 1.0) ** floor(share / (self.decay_every_fraction or 1.0))
            case _:
                return 1.0

    def noise_at(self, progress: float) -> float:
        """Standard deviation of the noise when a share `progress` of the steps is done; 0 without noise."""
        if self.noise_sd is None:
            return 0.0
        return self.noise_sd * (1 - progress) if self.noise_schedule == "linear" else self.noise_sd

    def kl_weight_at(self, progress: float) -> float:
        """Factor of the KL term's weight when a share `progress` of the steps is done."""
        return 1.0 if self.kl_warmup_fraction is None else min(progress / self.kl_warmup_fraction, 1.0)


DEFAULT_PLAN = Plan()
