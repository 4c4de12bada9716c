"""The records as tidy tables for other programs: one row for each chain, generation and metric.

A chain that its alarm stopped, or that broke down, has rows after its end too: they repeat its last values, as means
do, and the metric `carried_from` names the generation of these values.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from collapsar.errors import UsageError
from collapsar.records.record import GenerationRecord
from collapsar.study.arms import Arm
from collapsar.theory.fitted import values_of

COLUMNS = ["chain", "seed", "data", "model", "regime", "generation", "metric", "value"]


def tidy(arms: Sequence[Arm]) -> pd.DataFrame:
    """The tidy table, arm first; times are `seconds/...`, shares `class_share/...` and the like."""
    rows = [(arm.name, [*_measured(arm), *_carried(arm)]) for arm in arms]
    tables = [pd.DataFrame(own, columns=COLUMNS).assign(arm=name) for name, own in rows if own]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS).assign(arm="")
    return table[["arm", *COLUMNS]]


def write_csv(arms: Sequence[Arm], output: Path) -> Path:
    """Write the tidy table as CSV; floats read back equal."""
    output.parent.mkdir(parents=True, exist_ok=True)
    tidy(arms).to_csv(output, index=False)
    return output


def write_parquet(arms: Sequence[Arm], output: Path) -> Path:
    """Write the tidy table as Parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        tidy(arms).to_parquet(output, index=False)
    except ImportError as error:
        raise UsageError("--parquet needs pyarrow: install collapsar[parquet], or use --csv") from error
    return output


def _measured(arm: Arm) -> Iterator[tuple[Any, ...]]:
    for chain in arm.chains:
        for record in chain.records:
            head = (chain.label, record.seed, record.data, record.model, record.regime, record.generation)
            yield from ((*head, key, float(value)) for key, value in _values(record))


def _values(record: GenerationRecord) -> Iterator[tuple[str, float]]:
    yield from values_of(record).items()
    for name, phases in (("seconds", record.seconds), ("shared_seconds", record.shared_seconds)):
        yield from ((f"{name}/{phase}", seconds) for phase, seconds in phases.items())
    for origin, shares in record.class_shares.items():
        yield from ((f"class_share/{origin}/{index}", share) for index, share in enumerate(shares))
    for level, by_origin in record.factor_shares.items():
        yield from ((f"factor_share/{origin}/{level}", share) for origin, share in by_origin.items())
    if record.peak_memory_bytes:
        yield "peak_memory_bytes", record.peak_memory_bytes


def _carried(arm: Arm) -> Iterator[tuple[Any, ...]]:
    """Rows for the generations after the chains' ends: the values carried on, and the metric `carried_from`."""
    for chain in arm.carried:
        first = chain.records[0] if chain.records else None
        parts = [first.data, first.model, first.regime] if first else [""] * 3
        for generation in range(chain.last_generation + 1, arm.horizon + 1):
            for key, value in (chain.last_values | {"carried_from": chain.last_generation}).items():
                yield (chain.label, chain.seed, *parts, generation, key, float(value))
