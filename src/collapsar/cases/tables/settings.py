"""What is measured of tables beside all else, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.cases.tables.names import advice, find_name, listed, shown
from collapsar.cases.tables.predictors import TableTask
from collapsar.cases.tables.schema import Table
from collapsar.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class TableMetrics:
    """What is measured of tables.

    Args:
        metrics: Groups that come to those of the evaluation, where samples are rows of a table.
        task: The predictors that rows are tried on.
    """

    metrics: Sequence[str]
    task: TableTask

    def check(self, table: Table) -> None:
        """Refuse a subgroup that the table does not have.

        Raises:
            UsageError: with the columns that it has.
        """
        names = [column.name for column in table.columns]
        subgroup = self.task.subgroup
        if subgroup is not None and find_name(subgroup, names) is None:
            setting = "evaluation.table.task.subgroup"
            raise UsageError(
                f"{setting} must be one of {listed(names)}: got {shown(subgroup)}{advice(setting, subgroup)}"
            )
