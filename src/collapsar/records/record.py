"""One JSON line for each finished generation, from which tables, W&B and the report are made.

Metric keys are lower-case and stable. They belong to the measuring stick's feature space unless a prefix names another
(`pca/recall`); `_floor` is the same metric between two sets of real images of the same sizes. A line ends with a
checksum of what stands before it.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from collapsar.errors import UsageError
from collapsar.files import line_is_whole, line_with_checksum


@dataclass(frozen=True, kw_only=True)
class GenerationRecord:
    """What one generation was, and how it scored.

    Attributes:
        generation: 0 for the model that saw real data only.
        size: Which recipe set sizes and budgets: small or full; small in records from before there were two.
        pool: What the model was trained on: size, real_fraction in [0, 1], origins (samples by origin).
        num_evaluated: Number of synthetic samples that were measured.
        num_real: Number of held-out real samples that they were measured against.
        batches: Number (num_batches) and size (batch_size) of the disjoint batches of synthetic samples that gave
            `_low` and `_high`; empty without batches.
        metrics: Values by metric key; a value that could not be measured is absent, never NaN.
        seconds: Wall-clock seconds that this chain spent, by phase: train, sample, evaluate.
        shared_seconds: Seconds that another chain of the study took to train this model ("train"); else empty.
        training: How the model was trained: steps, epochs and the last losses by name.
        feature_spaces: What each feature space was fitted on, by its name.
        class_shares: Share of each class among real and synthetic samples, each summing to 1; empty without classes,
            and if classes are combinations of known factors.
        factor_shares: For each level of a known factor, its known share, and its share among real and synthetic samples
            as the classifier reads them; empty without known factors.
        peak_memory_bytes: The process's largest resident set since the chain was started or continued.
        peak_device_memory_bytes: Peak memory of tensors on a CUDA device since then; None if none was used.
        machine: Device, precision and threads of the training (`machine.choice.Machine`).
        selection: Number of samples drawn (num_drawn) and kept (num_kept), and, if a judge selected them, its name
            (judged_by: the model's critic, or a space as in feature_spaces).
        labels_from: Source of the samples' labels, which downstream scores use: the `condition` that they were drawn
            for, the `judge`, the measuring `stick`, or the `row` itself; None without labels.
        correction: What moved the samples before selection (name and settings); empty without one.
        fitted: Parameters of an analytic model; empty for a network.
        entry_gate: Whether generation 0 passed or failed (`collapsar.journal.profile`); None for later generations,
            if recall and coverage were not measured beside their floors, and in earlier records.
    """

    generation: int
    seed: int
    data: str
    model: str
    regime: str
    pool: dict[str, Any]
    num_evaluated: int
    num_real: int
    metrics: dict[str, float]
    seconds: dict[str, float]
    size: str = "small"
    shared_seconds: dict[str, float] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    training: dict[str, float] = field(default_factory=dict)
    feature_spaces: dict[str, dict[str, Any]] = field(default_factory=dict)
    class_shares: dict[str, list[float]] = field(default_factory=dict)
    factor_shares: dict[str, dict[str, float]] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    peak_device_memory_bytes: int | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] = field(default_factory=dict)
    labels_from: str | None = None
    correction: dict[str, Any] = field(default_factory=dict)
    fitted: dict[str, Any] = field(default_factory=dict)
    entry_gate: str | None = None

    def to_json(self) -> str:
        """The record as one line, without empty optional parts, with its checksum."""
        optional = {entry.name for entry in fields(self) if entry.default_factory is dict or entry.default is None}
        content = {key: value for key, value in asdict(self).items() if value not in ({}, None) or key not in optional}
        return line_with_checksum(json.dumps(content, allow_nan=False))

    @classmethod
    def from_json(cls, line: str) -> "GenerationRecord":
        """The record that a line holds; raise UsageError if the line is damaged or no record."""
        if line_is_whole(line) is False:
            raise UsageError(f"damaged, by its checksum: {line[:80]!r}")
        known = {entry.name for entry in fields(cls)}
        try:
            content = json.loads(line)
            return cls(**{key: value for key, value in content.items() if key in known})
        except (json.JSONDecodeError, TypeError, AttributeError) as error:
            raise UsageError(f"not a generation record ({error}): {line[:80]!r}") from error
