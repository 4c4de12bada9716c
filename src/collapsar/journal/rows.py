"""The rows of numbers by which a chain is mirrored: one for a reading of the losses, one for a generation.

A panel of W&B or TensorBoard has the key of the record. Six headline keys stand alone, so their panels come first; any
other key stands behind the name of its section: `distances/kid`, `intervals/recall_low`, `spaces/pca/recall`. Floors do
not change in a chain: only those of the headline are rows.
"""

from typing import Any

from collapsar.foundations.record import GenerationRecord
from collapsar.judging.metric_keys import MAIN, family_of, split_class, split_key

AXIS, TRAINING_AXIS = "generation", "training/total_step"  # of generations, and of readings
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


def headline(record: GenerationRecord) -> str:
    """The headline metrics of a generation, in words."""
    return ", ".join(f"{key} {record.metrics[key]:.3g}" for key in MAIN if key in record.metrics)
