"""The records as tidy tables for other programs: one row for each chain, generation and metric.

A chain that its alarm stopped, or that broke down, has rows after its end too: they repeat its last values, as means
do, and the metric `carried_from` names the generation of these values.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from collapsar.errors import UsageError
from collapsar.study.arms import Arm, group_arms
from collapsar.study.chains import TIDY_COLUMNS, Chain, carried_rows, tidy


def tidy_with_arms(chains: Sequence[Chain]) -> pd.DataFrame:
    """The tidy table with the arm of each chain as its first column."""
    parts = [(arm, table) for arm in group_arms(chains) for table in (tidy(arm.chains), _carried(arm))]
    tables = [table.assign(arm=arm.name) for arm, table in parts if len(table)] or [tidy([]).assign(arm="")]
    table = pd.concat(tables, ignore_index=True)
    return table[["arm", *(column for column in table.columns if column != "arm")]]


def _carried(arm: Arm) -> pd.DataFrame:
    rows = [row for chain in arm.carried for row in carried_rows(chain, horizon=arm.horizon)]
    return pd.DataFrame(rows, columns=TIDY_COLUMNS)


def write_csv(chains: Sequence[Chain], output: Path) -> Path:
    """Write the tidy table as CSV; floats read back equal."""
    output.parent.mkdir(parents=True, exist_ok=True)
    tidy_with_arms(chains).to_csv(output, index=False)
    return output


def write_parquet(chains: Sequence[Chain], output: Path) -> Path:
    """Write the tidy table as Parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        tidy_with_arms(chains).to_parquet(output, index=False)
    except ImportError as error:
        raise UsageError("--parquet needs pyarrow: install collapsar[parquet], or use --csv") from error
    return output
