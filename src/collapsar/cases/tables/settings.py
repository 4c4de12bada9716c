"""Settings of the extra metrics of tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from collapsar.cases.tables import measures
from collapsar.cases.tables.names import advice, find_name, listed, shown
from collapsar.cases.tables.predictors import TableTask
from collapsar.cases.tables.schema import Table
from collapsar.data.real_data import RowFormat
from collapsar.errors import UsageError
from collapsar.judging.measuring import ExtraMetrics, Measure


@dataclass(frozen=True, kw_only=True)
class TableMetrics(ExtraMetrics):
    """Extra metrics of tables: groups added to those of the evaluation if samples are rows of a table."""

    metrics: Sequence[str]
    task: TableTask

    def groups(self) -> Mapping[str, Measure]:
        return {
            "table_columns": measures.columns,
            "table_pairs": measures.pairs,
            "table_downstream": partial(measures.downstream, task=self.task),
        }

    def check(self, table: RowFormat) -> None:
        assert isinstance(table, Table), "rows of a table"
        names = [column.name for column in table.columns]
        subgroup = self.task.subgroup
        if subgroup is not None and find_name(subgroup, names) is None:
            setting = "evaluation.table.task.subgroup"
            raise UsageError(
                f"{setting} must be one of {listed(names)}: got {shown(subgroup)}{advice(setting, subgroup)}"
            )
