"""Refuse, in one line, configured callbacks that monitor a value that is not logged.

The first step shows what a model of ours logs. A user's own models and callbacks may log more at any time; with these a
callback is refused only if Lightning itself misses the value.
"""

from collections.abc import Sequence
from typing import Any

from lightning import Callback, LightningModule, Trainer

from collapsar.errors import UsageError

LIGHTNINGS_WORDS = "conditioned on metric"  # in the RuntimeError of an EarlyStopping
VALIDATED = "validation/"


class MonitorCheck(Callback):
    """Checks after the first step that the values that configured callbacks monitor are logged."""

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
    """Whether the class of a part belongs to a package."""
    return type(part).__module__.startswith(package)


def unmonitored(callback: str, wanted: str, *, logged: Sequence[str]) -> UsageError:
    """The error for a callback that monitors a value that is not logged."""
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
    """Raise a UsageError in place of Lightning's error about a value that is not logged."""
    if LIGHTNINGS_WORDS in str(error):
        wanted = str(error).partition("`")[2].partition("`")[0]
        raise unmonitored("EarlyStopping", wanted, logged=sorted(map(str, trainer.callback_metrics))) from error
