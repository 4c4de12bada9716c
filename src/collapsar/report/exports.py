"""Tidy tables for other programs: the records, and the effects of arms.

A chain that ended early has rows after its end too: they repeat its last values, as means do, and the metric
`carried_from` names the generation of these values.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from collapsar.errors import UsageError
from collapsar.files import write_atomically
from collapsar.records.record import GenerationRecord
from collapsar.report.sections.runs import provenance
from collapsar.study.arms import Arm
from collapsar.study.study import Study
from collapsar.theory.fitted import values_of

COLUMNS = ["arm", "chain", "seed", "data", "model", "regime", "generation", "metric", "value"]


def tidy(arms: Sequence[Arm]) -> pd.DataFrame:
    """One row for each chain, generation and metric; times are `seconds/...`, shares `class_share/...` and the like."""
    rows = [(arm.name, *row) for arm in arms for row in _rows(arm)]
    return pd.DataFrame(rows, columns=COLUMNS)


def write_csv(study: Study, output: Path) -> list[Path]:
    """Write the tidy table as CSV, floats so that they read back equal.

    Beside it stand the effects of arms, if any, and as JSON the commit, date, hashes and command of the records.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    tidy(study.arms).to_csv(output, index=False)
    origin = output.with_name(f"{output.stem}_provenance.json")
    known = {name.lower().replace(" ", "_"): text for name, text in provenance(study).items()}
    content = known | {"records": study.records_hash, "results": study.results_hash}
    write_atomically(origin, (json.dumps(content, indent=1) + "\n").encode())
    if not study.comparisons:
        return [output, origin]
    effects = output.with_name(f"{output.stem}_effects.csv")
    study.effects.to_csv(effects, index=False)
    return [output, effects, origin]


def write_parquet(arms: Sequence[Arm], output: Path) -> Path:
    """Write the tidy table as Parquet; raise UsageError if pyarrow is not installed."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        tidy(arms).to_parquet(output, index=False)
    except ImportError as error:
        raise UsageError("--parquet needs pyarrow: install collapsar[parquet], or use --csv") from error
    return output


def _rows(arm: Arm) -> Iterator[tuple[Any, ...]]:
    for chain in arm.chains:
        for record in chain.records:
            head = (chain.label, record.seed, record.data, record.model, record.regime, record.generation)
            yield from ((*head, key, float(value)) for key, value in _values(record).items())
    for chain in arm.carried:
        first = chain.records[0] if chain.records else None
        parts = (first.data, first.model, first.regime) if first else ("", "", "")
        for generation in range(chain.last_generation + 1, arm.horizon + 1):
            for key, value in (chain.last_values | {"carried_from": chain.last_generation}).items():
                yield (chain.label, chain.seed, *parts, generation, key, float(value))


def _values(record: GenerationRecord) -> dict[str, float]:
    values: dict[str, float] = dict(values_of(record))
    values |= {f"seconds/{phase}": seconds for phase, seconds in record.seconds.items()}
    values |= {f"shared_seconds/{phase}": seconds for phase, seconds in record.shared_seconds.items()}
    for origin, shares in record.class_shares.items():
        values |= {f"class_share/{origin}/{index}": share for index, share in enumerate(shares)}
    for level, by_origin in record.factor_shares.items():
        values |= {f"factor_share/{origin}/{level}": share for origin, share in by_origin.items()}
    return values | ({"peak_memory_bytes": record.peak_memory_bytes} if record.peak_memory_bytes else {})
