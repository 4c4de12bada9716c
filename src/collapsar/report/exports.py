"""Tidy tables for other programs: the records, also as a data set, and the effects of arms; and chains from a CSV.

A chain that ended early has rows after its end too: they repeat its last values, as means do, and the metric
`carried_from` names their generation. A data set has a description in Croissant (http://mlcommons.org/croissant/1.0).
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml  # type: ignore[import-untyped]

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import write_atomically
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import digest
from collapsar.judging.metric_keys import bounds_of
from collapsar.report.templating import template
from collapsar.study.arms import Arm
from collapsar.study.study import Study
from collapsar.study.worth import METRICS, real_curves
from collapsar.theory.fitted import values_of

COLUMNS = ["arm", "chain", "seed", "data", "model", "regime", "generation", "metric", "value"]
TABLE, DESCRIPTION = "records.parquet", "croissant.json"
TYPES = {"seed": "sc:Integer", "generation": "sc:Integer", "value": "sc:Float"}  # of columns; others hold text
NEEDED = ("generation", "seed", "arm", "metric", "value")
FOREIGN = "foreign"
MAX_GENERATIONS = 100_000  # of an import: its records are held in memory


def tidy(arms: Sequence[Arm]) -> pd.DataFrame:
    """One row for each chain, generation and metric; times are `seconds/...`, shares `class_share/...` and the like.

    What a pool is worth in real samples is `effective_sample_size_by_fid`; beyond the curve only its end, as `.._low`.
    """
    rows = [(arm.name, *row) for arm in arms for row in _rows(arm)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for curve in (curve for metric in METRICS for curve in real_curves(arms, metric=metric)):
        own = table[table["arm"].isin([arm.name for arm in curve.arms]) & (table["metric"] == curve.metric)]
        worth = own["value"].map(curve.worth)
        name = f"effective_sample_size_by_{curve.metric}"
        names = np.select([worth == -np.inf, worth == np.inf], [f"{name}_high", f"{name}_low"], name)
        own = own.assign(metric=names, value=worth.clip(min(curve.means), max(curve.means)))
        table = pd.concat([table, own], ignore_index=True)
    return table


def write_csv(study: Study, output: Path) -> list[Path]:
    """Write the tidy table as CSV, floats so that they read back equal.

    Beside it stand the effects of arms, if any, and as JSON the commit, date, hashes and command of the records.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    tidy(study.arms).to_csv(output, index=False)
    origin = output.with_name(f"{output.stem}_provenance.json")
    known = {name.lower().replace(" ", "_"): text for name, text in study.provenance.items()}
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


def write_dataset(study: Study, folder: Path) -> list[Path]:
    """Write the records of a study as Parquet, and a Croissant description beside it; returns both paths."""
    table, description = write_parquet(study.arms, folder / TABLE), folder / DESCRIPTION
    content = template("croissant.json.jinja").render(
        name="-".join(dict.fromkeys(str(chain.config.get("name", "runs")) for chain in study.chains)),
        num_chains=len(study.chains),
        records=study.records_hash,
        results=study.results_hash,
        table=TABLE,
        checksum=sha256(table.read_bytes()).hexdigest(),
        columns={column: TYPES.get(column, "sc:Text") for column in COLUMNS},
    )
    write_atomically(description, content.encode())
    return [table, description]


def read_dataset(folder: str | Path) -> pd.DataFrame:
    """The table of a data set; UsageError if there is none, or its description says another checksum."""
    try:
        table = Path(folder, TABLE)
        stated = json.loads(Path(folder, DESCRIPTION).read_text(encoding="utf-8"))["distribution"][0]["sha256"]
        stored = table.read_bytes()
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"{folder} is no data set: it must hold {TABLE} and {DESCRIPTION}") from error
    if sha256(stored).hexdigest() != stated:
        raise UsageError(f"{table} is damaged: its checksum is not that of {DESCRIPTION}")
    return pd.read_parquet(table)


def import_csv(file: Path, folder: Path) -> None:
    """Write chains from a CSV of the columns NEEDED as run folders in `folder/STEM`; UsageError for a wrong file."""
    for (arm, seed), own in _checked_rows(file).groupby(["arm", "seed"], sort=False):
        start = re.sub(r"[^\w.-]+", "_", str(arm))[:40]
        run = folder / file.stem / f"{start}_seed{seed}_{digest({'arm': arm, 'seed': int(seed)})}"
        values = {}
        for generation, found in own.groupby("generation"):
            values[int(generation)] = dict(zip(found["metric"], found["value"].astype(float), strict=True))
        made = partial(GenerationRecord, seed=int(seed), data=file.stem, model=FOREIGN, regime=str(arm), seconds={})
        pool = {"size": 0, "real_fraction": 0.0, "origins": {}}
        records = [
            made(generation=generation, pool=pool, num_evaluated=0, num_real=0, metrics=values.get(generation, {}))
            for generation in range(max(values) + 1)  # one that the file leaves out has no metrics
        ]
        parts = {"data": {"name": file.stem}, "model": {"name": FOREIGN}, "regime": {"name": str(arm)}}
        config = {"name": file.stem, "seed": int(seed), "num_generations": len(records)} | parts
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(run / "config.yaml", yaml.safe_dump(config).encode())
        write_atomically(run / "records.jsonl", "".join(f"{record.to_json()}\n" for record in records).encode())


def _checked_rows(file: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as CSV: {error}") from error
    needs = f"it needs {', '.join(NEEDED)}, separated by commas"
    if missing := [name for name in NEEDED if name not in rows]:
        raise UsageError(f"{file} lacks the columns {', '.join(missing)}: {needs}")
    if others := [name for name in rows if name not in NEEDED]:
        raise UsageError(f"{file} has the columns {', '.join(others)}, which have no place: {needs}")
    numbers = {name: pd.to_numeric(rows[name], errors="coerce") for name in ("generation", "seed", "value")}
    whole = {name: (own >= 0) & (own % 1 == 0) & (own < 2**63) for name, own in numbers.items() if name != "value"}
    right = whole | {"value": numbers["value"].abs() < np.inf} | {name: rows[name] != "" for name in ("arm", "metric")}
    words = dict.fromkeys(whole, "whole numbers from 0 on") | {"value": "finite numbers"}
    for name, fits in right.items():
        if not fits.all() or rows.empty:
            got = repr(rows[name][~fits].iloc[0]) if len(rows) else "no rows"
            raise UsageError(f"{file}: {name} must be {words.get(name, 'a text')}: got {got}")
    rows = rows.assign(**numbers).astype(dict.fromkeys(whole, "int64"))
    for metric, own in rows.groupby("metric")["value"]:
        low, high = bounds_of(str(metric))
        if len(outside := own[(own < low) | (own > high)]):
            raise UsageError(f"{file}: {metric} lies between {low:g} and {high:g}: got {outside.iloc[0]:g}")
    for (arm, seed), own in rows.groupby(["arm", "seed"])["generation"]:
        if own.min() or own.max() >= MAX_GENERATIONS:
            what = f"generations of {arm}, seed {seed}, must begin with 0 (trained on real data)"
            raise UsageError(f"{file}: {what} and lie below {MAX_GENERATIONS}: got {own.min()} to {own.max()}")
    twice = rows[rows.duplicated(["generation", "seed", "arm", "metric"])]
    if len(twice):
        where = "{metric} of {arm}, seed {seed}, generation {generation}".format(**twice.iloc[0])
        raise UsageError(f"{file} has {where} twice")
    return rows


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
