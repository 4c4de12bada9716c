"""The settings of training that are not the model's own: levers set them.

Each key is null in conf/training/default.yaml, which trains a model as it is; a recipe in conf/recipe or a lever in
conf/lever sets some keys. `learned.py` carries the plan out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

from collapsar.errors import UsageError
from collapsar.models.augmentation import Transform
from collapsar.models.pretext import Pretext
from collapsar.models.rates import Schedule, rate_factor

Optimizer = Literal["adam", "adamw", "nadam", "radam", "rmsprop", "sgd"]
POSITIVE = ("gradient_clip_norm", "learning_rate_factor", "free_bits", "noise_sd")
COUNTS = ("validation_checks", "early_stopping_patience", "plateau_patience")
SHARES = (
    "validation_fraction",
    "warmup_fraction",
    "average_decay",
    "decay_factor",
    "decay_every_fraction",
    "kl_warmup_fraction",
    "confidence_cap",
)
NEEDS = {  # keys that need other keys
    "validate_on": ("validation_fraction",),
    "validation_checks": ("validation_fraction",),
    "early_stopping_patience": ("validation_fraction", "validation_checks"),
    "plateau_patience": ("validation_fraction", "validation_checks", "decay_factor"),
    "decay_every_fraction": ("decay_factor",),
    "noise_schedule": ("noise_sd",),
}
OF_SCHEDULE = {"decay_every_fraction": "step", "plateau_patience": "plateau"}  # keys that belong to one schedule
UNGRAPHED = (  # keys that a CUDA graph cannot follow, as it repeats what it recorded
    "optimizer",
    "augmentation",
    "noise_schedule",
    "kl_warmup_fraction",
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The levers of training. Null leaves a model as it is, unless stated otherwise.

    Args:
        gradient_clip_norm: Largest norm of each player's gradients; larger ones are scaled down to it.
        optimizer: Torch's optimiser for all players, with the model's learning rates; null: `adam`. `sgd` has a
            momentum of .9; the Adams keep the players' own betas.
        weight_decay: `adamw` shrinks weights by it directly; the others add it to the gradient as an L2 penalty.
        learning_rate_factor: Factor of all learning rates in all steps.
        schedule: How learning rates fall over the steps of a generation, after any warm-up: `constant` (or null),
            `linear`, `cosine`, `step`, `plateau` (`rates.py`).
        warmup_fraction: Share of the steps in which learning rates first rise linearly to their full value.
        decay_factor: Factor of each decay of `step` and `plateau`, in (0, 1).
        decay_every_fraction: Share of the steps after the warm-up between two decays of `step`.
        plateau_patience: Number of validations without a better score after which `plateau` decays.
        average_decay: Decay of an exponential moving average over all steps, which replaces the trained weights; in
            a GAN it is the generator's, in place of `ema_decay`. In move n the decay is at most (1 + n) / (10 + n),
            so that short trainings forget their initial weights.
        validation_fraction: Share of the samples that is kept from training and gives the scores `validation/...`.
        validate_on: The set that this share is taken from: each `pool` (or null), or the `real` training set. `real`
            takes it once for the whole chain, which then has less real data.
        validation_checks: Number of validations, evenly over the steps; null: one after each epoch.
        early_stopping_patience: Number of validations without a better score after which training ends; the weights
            with the best score are kept. The score is the loss of a VAE or a flow, the distance of a GAN's samples
            (`GAN.watched`).
        augmentation: Transforms of the images that a model learns from (`augmentation.py`): torchvision's for a VAE or
            a flow; differentiable ones, of real and generated images alike, for a GAN.
        noise_sd: Standard deviation of Gaussian noise, in model range. A VAE's encoder sees it and the decoder must
            undo it (Im et al. 2017, arXiv:1511.06406); or a GAN's critic sees it (Sønderby et al. 2017,
            arXiv:1610.04490).
        noise_schedule: `constant` (or null): the noise is the same in all steps; `linear`: it falls to 0.
        kl_warmup_fraction: Share of the steps in which the weight of a VAE's KL term rises linearly from 0 (Bowman et
            al. 2016, arXiv:1511.06349).
        free_bits: Nats of KL that are free of cost for each latent variable of a VAE (Kingma et al. 2016,
            arXiv:1606.04934, section 3.4).
        confidence_cap: A VAE's loss leaves out pixels whose probability is above this (truncated cross entropy,
            arXiv:2509.08972); needs a Bernoulli likelihood.
        warm_start: What a generation takes over from the last one: `weights`, or `weights_and_optimizer` with the
            optimisers' states; null: nothing.
        pretraining: Task without labels that first trains a VAE's encoder or a GAN's critic, for a share of the steps
            (`collapsar.training.pretraining`).
        cuda_graphs: Whether a step is launched as one CUDA graph (`graphs.py`); null: on a CUDA device, unless the
            precision or another key rules it out.
        compiled: Whether networks are compiled for their training (`compiling.py`); null: if steps are graphs, a
            generation has enough of them, and model and machine allow it.
    """

    gradient_clip_norm: float | None
    optimizer: Optimizer | None
    weight_decay: float | None
    learning_rate_factor: float | None
    schedule: Schedule | None
    warmup_fraction: float | None
    decay_factor: float | None
    decay_every_fraction: float | None
    plateau_patience: int | None
    average_decay: float | None
    validation_fraction: float | None
    validate_on: Literal["pool", "real"] | None
    validation_checks: int | None
    early_stopping_patience: int | None
    augmentation: Sequence[Transform] | None
    noise_sd: float | None
    noise_schedule: Literal["constant", "linear"] | None
    kl_warmup_fraction: float | None
    free_bits: float | None
    confidence_cap: float | None
    warm_start: Literal["weights", "weights_and_optimizer"] | None
    pretraining: Pretext | None
    cuda_graphs: bool | None
    compiled: bool | None

    def __post_init__(self) -> None:
        for key in POSITIVE:
            self._require(key, lambda value: value > 0, "be above 0")
        for key in COUNTS:
            self._require(key, lambda value: value >= 1, "be at least 1")
        for key in SHARES:
            self._require(key, lambda value: 0 < value < 1, "lie between 0 and 1")
        self._require("weight_decay", lambda value: value >= 0, "not be negative")
        for key, needed in NEEDS.items():
            for other in needed:
                if getattr(self, key) is not None and getattr(self, other) is None:
                    raise UsageError(f"training.{key} does nothing without training.{other}: set both, or neither")
        for key, schedule in OF_SCHEDULE.items():
            if (self.schedule == schedule) != (getattr(self, key) is not None):
                raise UsageError(f"training.schedule={schedule} and training.{key} go together: set both, or neither")
        if self.cuda_graphs and self.ungraphed is not None:
            raise UsageError(
                f"training.cuda_graphs=true does not go with training.{self.ungraphed}: set one of them to null"
            )
        if self.compiled and (self.cuda_graphs is False or self.ungraphed is not None):
            raise UsageError(
                "training.compiled=true needs steps that are CUDA graphs: set it to null, or "
                f"training.{self.ungraphed or 'cuda_graphs'}"
            )

    def _require(self, key: str, is_allowed: Callable[[float], bool], rule: str) -> None:
        value = getattr(self, key)
        if value is not None and not is_allowed(value):
            raise UsageError(f"training.{key} must {rule}, or be null: got {value}")

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

    @property
    def keeps_optimizer(self) -> bool:
        """Whether checkpoints hold the optimisers' states for the next generation."""
        return self.warm_start == "weights_and_optimizer"

    def num_validation(self, size: int) -> int:
        """Number of samples of a set that are kept for validation."""
        return 0 if self.validation_fraction is None else max(1, round(self.validation_fraction * size))

    def num_kept_from_pool(self, pool_size: int) -> int:
        """Number of samples of a pool that are kept for validation; 0 if they come from the real training set."""
        return 0 if self.holds_out_real else self.num_validation(pool_size)

    def rate_factor(self, step: int, *, num_steps: int) -> float:
        """Factor of learning rates in a step, counted from 0, without the factor of `plateau` (`rates.Plateau`)."""
        return rate_factor(
            step,
            num_steps=num_steps,
            schedule=self.schedule,
            warmup_fraction=self.warmup_fraction,
            decay_factor=self.decay_factor,
            decay_every_fraction=self.decay_every_fraction,
        )

    def noise_at(self, progress: float) -> float:
        """Standard deviation of the noise when a share `progress` of the steps is done; 0 without noise."""
        if self.noise_sd is None:
            return 0.0
        return self.noise_sd * (1 - progress) if self.noise_schedule == "linear" else self.noise_sd

    def kl_weight_at(self, progress: float) -> float:
        """Factor of the KL term's weight when a share `progress` of the steps is done."""
        return 1.0 if self.kl_warmup_fraction is None else min(progress / self.kl_warmup_fraction, 1.0)


DEFAULT_PLAN = Plan(**dict.fromkeys((entry.name for entry in fields(Plan)), None))
