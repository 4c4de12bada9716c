"""Records as a data set: all chains of a study as one Parquet with a Croissant description, and chains from a CSV.

Croissant is the vocabulary of MLCommons for data sets, version 1.0: http://mlcommons.org/croissant/1.0
"""

import json
import re
from hashlib import sha256
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import yaml  # type: ignore[import-untyped]

from collapsar.errors import UsageError
from collapsar.files import write_atomically
from collapsar.records.record import GenerationRecord
from collapsar.records.settings import digest
from collapsar.report.exports import COLUMNS, write_parquet
from collapsar.study.study import Study

TABLE, DESCRIPTION = "records.parquet", "croissant.json"
TYPES = {"seed": "sc:Integer", "generation": "sc:Integer", "value": "sc:Float"}  # of columns; others hold text
NEEDED = ("generation", "seed", "arm", "metric", "value")
FOREIGN = "foreign"


def write_dataset(study: Study, folder: Path) -> list[Path]:
    """Write the records of a study as Parquet, and their description; returns both paths."""
    table = write_parquet(study.arms, folder / TABLE)
    content = json.dumps(describe(study, table), indent=1, ensure_ascii=False) + "\n"
    write_atomically(folder / DESCRIPTION, content.encode())
    return [table, folder / DESCRIPTION]


def describe(study: Study, table: Path) -> dict[str, object]:
    """The Croissant description of a study's table, as JSON-LD."""
    name = "-".join(dict.fromkeys(str(chain.config.get("name", "runs")) for chain in study.chains))
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"records/{column}",
            "name": column,
            "dataType": TYPES.get(column, "sc:Text"),
            "source": {"fileObject": {"@id": TABLE}, "extract": {"column": column}},
        }
        for column in COLUMNS
    ]
    return {
        **json.loads(resources.files("collapsar.report").joinpath("static", "croissant.json").read_text("utf-8")),
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"One row for each metric of each generation of {len(study.chains)} chains of generative models "
        f"that are trained on their own samples. Records {study.records_hash} as stored, {study.results_hash} without "
        "times, memory and machine.",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": TABLE,
                "name": TABLE,
                "contentUrl": TABLE,
                "encodingFormat": "application/x-parquet",
                "sha256": sha256(table.read_bytes()).hexdigest(),
            }
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "records", "name": "records", "field": fields}],
    }


def read_dataset(folder: Path) -> pd.DataFrame:
    """The table of a data set; UsageError if there is none, or its description says another checksum."""
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        stored = (folder / TABLE).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder} is no data set: it must hold {TABLE} and {DESCRIPTION}") from error
    if sha256(stored).hexdigest() != content["distribution"][0]["sha256"]:
        raise UsageError(f"{folder / TABLE} is damaged: its checksum is not that of {DESCRIPTION}")
    return pd.read_parquet(folder / TABLE)


def import_csv(file: Path, folder: Path) -> list[Path]:
    """Write other people's chains as run folders, so that they stand on the page; returns these folders.

    Args:
        file: A CSV with the columns generation, seed, arm, metric and value, one row for each value.
        folder: The folder of the study; chains go to a folder below it that is named for the file.

    Raises:
        UsageError: the file cannot be read, lacks a column, or has a value that cannot be used.
    """
    rows = _checked_rows(file)
    written = []
    for (arm, seed), own in rows.groupby(["arm", "seed"], sort=False):
        start = re.sub(r"[^\w.-]+", "_", str(arm))[:40]
        run = folder / file.stem / f"{start}_seed{seed}_{digest({'arm': arm, 'seed': int(seed)})}"
        records = [
            GenerationRecord(
                generation=int(generation),
                seed=int(seed),
                data=file.stem,
                model=FOREIGN,
                regime=str(arm),
                pool={"size": 0, "real_fraction": 0.0, "origins": {}},
                num_evaluated=0,
                num_real=0,
                metrics=dict(zip(found["metric"], found["value"].astype(float), strict=True)),
                seconds={},
            )
            for generation, found in own.groupby("generation")
        ]
        config = {
            "name": file.stem,
            "seed": int(seed),
            "num_generations": records[-1].generation + 1,
            "data": {"name": file.stem},
            "model": {"name": FOREIGN},
            "regime": {"name": str(arm)},
        }
        run.mkdir(parents=True, exist_ok=True)
        write_atomically(run / "config.yaml", yaml.safe_dump(config).encode())
        write_atomically(run / "records.jsonl", "".join(f"{record.to_json()}\n" for record in records).encode())
        written.append(run)
    return written


def _checked_rows(file: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read as CSV: {error}") from error
    if missing := [name for name in NEEDED if name not in rows]:
        raise UsageError(f"{file} lacks the columns {', '.join(missing)}: it needs {', '.join(NEEDED)}")
    if rows.empty:
        raise UsageError(f"{file} has no rows")
    for name in ("generation", "seed"):
        if not pd.api.types.is_integer_dtype(rows[name]) or (rows[name] < 0).any():
            raise UsageError(f"{file}: {name} must be whole numbers from 0 on")
    if not pd.api.types.is_numeric_dtype(rows["value"]) or not np.isfinite(rows["value"]).all():
        raise UsageError(f"{file}: value must be finite numbers")
    twice = rows[rows.duplicated(["generation", "seed", "arm", "metric"])]
    if len(twice):
        first = twice.iloc[0]
        raise UsageError(
            f"{file} has {first['metric']} of {first['arm']}, seed {first['seed']}, generation "
            f"{first['generation']} twice"
        )
    return rows
