"""Configured callbacks that monitor a value: refused in one line if no value of this name is logged.

After the first step it is known what a model of ours logs. Models and callbacks of the user's own may log more at any
time, so that beside them a callback is refused when Lightning itself misses the value.
"""

from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from collapsar.errors import UsageError

LIGHTNINGS_WORDS = "conditioned on metric"  # of the RuntimeError of an EarlyStopping
VALIDATED = "validation/"


class MonitorCheck(Callback):
    """Looks, after the first step, whether what configured callbacks monitor is logged."""

    def __init__(self, configured: Sequence[Callback]) -> None:
        self.configured = configured

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != 1 or not is_of(pl_module, "collapsar.") or not self._are_lightnings:
            return
        logged = sorted(map(str, trainer.callback_metrics))
        for callback in self.configured:
            wanted = getattr(callback, "monitor", None)
            is_to_come = trainer.enable_validation and str(wanted).startswith(VALIDATED)
            if wanted is not None and wanted not in logged and not is_to_come:
                raise unmonitored(type(callback).__name__, wanted, logged=logged)

    @property
    def _are_lightnings(self) -> bool:
        return all(is_of(callback, "lightning.") for callback in self.configured)


def is_of(part: object, package: str) -> bool:
    """Whether the class of a part is one of a package."""
    return type(part).__module__.startswith(package)


def unmonitored(callback: str, wanted: str, *, logged: Sequence[str]) -> UsageError:
    """What is said of a callback that monitors what is not there."""
    validated = (
        ""
        if any(name.startswith(VALIDATED) for name in logged)
        else (f"; with training.validation_fraction also {VALIDATED}... of them")
    )
    return UsageError(
        f"trainer.callbacks: {callback} monitors {wanted!r}, which is not logged: monitor one of {', '.join(logged)}"
        f"{validated}"
    )


def raise_if_unmonitored(error: RuntimeError, trainer: Trainer) -> None:
    """Raise in our words what Lightning says of a value that is not logged.

    Raises:
        UsageError: it says so.
    """
    if LIGHTNINGS_WORDS in str(error):
        wanted = str(error).partition("`")[2].partition("`")[0]
        raise unmonitored("EarlyStopping", wanted, logged=sorted(map(str, trainer.callback_metrics))) from error
