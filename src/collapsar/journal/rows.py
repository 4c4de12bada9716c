"""The rows of numbers by which a chain is mirrored: one for a reading of the losses, one for a generation.

A panel of W&B or TensorBoard has the key of the record. Six headline keys stand alone, so their panels come first; any
other key stands behind the name of its section: `distances/kid`, `intervals/recall_low`, `spaces/pca/recall`. Floors do
not change in a chain: only those of the headline are rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from collapsar.judging.metric_keys import MAIN
from collapsar.judging.metric_lookup import family_of, split_class, split_key
from collapsar.records.curve import is_loss
from collapsar.records.record import GenerationRecord

AXIS, TRAINING_AXIS = "generation", "training/total_step"
HEADLINE = (*MAIN, "coverage", "density")
OWN_SECTIONS = ("column", "group", "fitted")  # first parts of keys that name a section by themselves


def panel_key(key: str) -> str:
    """The key of a recorded value in W&B and TensorBoard: the recorded key, after its section if it has one."""
    parts = split_key(key)
    if key in HEADLINE:
        return key
    if parts.suffix:
        return f"{'floors' if parts.suffix == '_floor' else 'intervals'}/{key}"
    if split_class(key):
        return f"by_class/{key}"
    if parts.space:
        return key if parts.space.partition("/")[0] in OWN_SECTIONS else f"spaces/{key}"
    return f"{family_of(key).split()[0].rstrip(',').lower()}/{key}"


def floors(record: GenerationRecord) -> dict[str, float]:
    """All floors of a chain, which are the same in each of its records."""
    return {panel_key(key): value for key, value in record.metrics.items() if key.endswith("_floor")}


def score_row(record: GenerationRecord, *, is_drawn: bool = True) -> dict[str, Any]:
    """All numbers of a generation: those to be drawn, by the keys of their panels, or all, by their recorded keys."""
    metrics = record.metrics
    if is_drawn:
        metrics = {
            panel_key(key): value
            for key, value in metrics.items()
            if not key.endswith("_floor") or key.removesuffix("_floor") in HEADLINE
        }
    pool = {f"pool/{key}": record.pool[key] for key in ("size", "real_fraction")}
    seconds = {f"seconds/{key}": value for key, value in record.seconds.items()}
    return {AXIS: record.generation, **metrics, **pool, **seconds}


class TrainingRows:
    """The readings of all trainings of a chain, one after the other, each once, on one axis of steps."""

    def __init__(self) -> None:
        self._steps_before: float = 0  # the present generation
        self._step_read: float = 0  # of the present generation, while it trains

    def live(self, generation: int, reading: Mapping[str, int | float]) -> dict[str, int | float]:
        """The row of a reading of the generation that is in training."""
        self._step_read = reading["step"]
        values = {f"{'training' if is_loss(name) else 'steps'}/{name}": each for name, each in reading.items()}
        return values | {TRAINING_AXIS: self._steps_before + reading["step"], "steps/generation": generation}

    def rest(
        self, record: GenerationRecord, curve: Sequence[Mapping[str, int | float]]
    ) -> list[dict[str, int | float]]:
        """The rows of a finished generation that were not live: all of them, if this process did not train it."""
        rows = [self.live(record.generation, reading) for reading in curve if reading["step"] > self._step_read]
        self._steps_before += record.training.get("steps", 0)
        self._step_read = 0
        return rows
