"""How a generation is trained beyond what its model says: the settings that levers turn.

A plan with nothing set trains a model as it is. Each key stands as null in conf/training/default.yaml, and a lever in
conf/lever sets some of them. `learned.py` carries the plan out.
"""

from dataclasses import dataclass

from collapsar.errors import UsageError, check_positive


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The levers of training.

    Args:
        gradient_clip_norm: Gradients of each player are scaled down to at most this norm; null leaves them.
        validation_fraction: Share of each pool that is kept from training and gives the losses `validation/...`, in
            (0, 1); null keeps none.

    Raises:
        UsageError: a value out of range.
    """

    gradient_clip_norm: float | None
    validation_fraction: float | None

    def __post_init__(self) -> None:
        if self.gradient_clip_norm is not None:
            check_positive(gradient_clip_norm=self.gradient_clip_norm)
        if self.validation_fraction is not None and not 0 < self.validation_fraction < 1:
            raise UsageError(
                f"training.validation_fraction must lie between 0 and 1, or be null: got {self.validation_fraction}"
            )

    def num_validation(self, pool_size: int) -> int:
        """How many samples of a pool are kept for validation."""
        return 0 if self.validation_fraction is None else max(1, round(self.validation_fraction * pool_size))


AS_IT_IS = Plan(gradient_clip_norm=None, validation_fraction=None)
