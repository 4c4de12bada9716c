"""One JSON line for each finished generation, from which tables, W&B and the report are made.

Metric keys belong to the measuring stick's feature space unless a prefix names another (`pca/recall`); `_floor` is the
same metric between two sets of real images of the same sizes. A line ends with a checksum of what stands before it.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from math import isfinite
from typing import Any

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import line_is_whole, line_with_checksum

LEARNING_RATE, GRADIENT_NORM = "learning_rate", "gradient_norm"  # in curves; of several networks, each with its name


@dataclass(frozen=True, kw_only=True)
class GenerationRecord:
    """What one generation was, and how it scored."""

    generation: int  # 0 for the model that saw real data only
    seed: int
    data: str
    model: str
    regime: str
    pool: dict[str, Any]  # of the training: size, real_fraction in [0, 1], origins (samples by origin)
    num_evaluated: int  # synthetic samples that were measured
    num_real: int  # held-out real samples that they were measured against
    metrics: dict[str, float]  # by metric key; a value that could not be measured is absent, never NaN
    seconds: dict[str, float]  # wall-clock, that this chain spent, by phase: train, sample, evaluate
    size: str = "small"  # the recipe for sizes and budgets: small or full; small before there were two
    shared_seconds: dict[str, float] = field(default_factory=dict)  # of a "train" by another chain of the study
    batches: dict[str, int] = field(default_factory=dict)  # num_batches and batch_size, that gave `_low` and `_high`
    training: dict[str, float] = field(default_factory=dict)  # steps, epochs and the last losses by name
    feature_spaces: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name, what each was fitted on
    class_shares: dict[str, list[float]] = field(default_factory=dict)  # of real and synthetic; each sums to 1
    # by level of a known factor: its known share, and those among real and synthetic samples by the classifier
    factor_shares: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_memory_bytes: int = 0  # largest resident set of the process since the chain was started or continued
    peak_device_memory_bytes: int | None = None  # of tensors on a CUDA device since then; None if none was used
    machine: dict[str, Any] = field(default_factory=dict)  # of the training: `machine.choice.Machine`
    # samples drawn (num_drawn) and kept (num_kept), and what judged them (judged_by): the critic, or a feature space
    selection: dict[str, Any] = field(default_factory=dict)
    # of the samples: the `condition` they were drawn for, the `judge`, the measuring `stick`, or the `row` itself
    labels_from: str | None = None
    correction: dict[str, Any] = field(default_factory=dict)  # name and settings of what moved the samples, if any
    fitted: dict[str, Any] = field(default_factory=dict)  # parameters of an analytic model; empty for a network
    entry_gate: str | None = None  # of generation 0: passed or failed; None if it was not measured (`journal.profile`)

    @property
    def all_seconds(self) -> float:
        """Seconds of the generation, including those that another chain spent on it."""
        return sum(self.seconds.values()) + sum(self.shared_seconds.values())

    def to_json(self) -> str:
        """The record as one line, without empty optional parts, with its checksum."""
        optional = {entry.name for entry in fields(self) if entry.default_factory is dict or entry.default is None}
        content = {key: value for key, value in asdict(self).items() if value not in ({}, None) or key not in optional}
        return line_with_checksum(json.dumps(content, allow_nan=False))

    @classmethod
    def from_json(cls, line: str) -> "GenerationRecord":
        """The record that a line holds, without metrics that are not finite; UsageError if damaged or no record."""
        if line_is_whole(line) is False:
            raise UsageError(f"damaged, by its checksum: {line[:80]!r}")
        known = {entry.name for entry in fields(cls)}
        try:
            content = json.loads(line)
            record = cls(**{key: value for key, value in content.items() if key in known})
            return replace(record, metrics={key: value for key, value in record.metrics.items() if isfinite(value)})
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise UsageError(f"not a generation record ({error}): {line[:80]!r}") from error


def is_loss(name: str) -> bool:
    """Whether an entry of a reading of a training's curve (`curve.json`) is a loss."""
    return name not in ("step", "epoch") and not name.startswith((LEARNING_RATE, GRADIENT_NORM))
