"""What is measured of tables beside all else, and how."""

from collections.abc import Sequence
from dataclasses import dataclass

from collapsar.cases.tables.predictors import TableTask
from collapsar.cases.tables.schema import Table
from collapsar.errors import UsageError, printable


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
        if self.task.subgroup is not None and self.task.subgroup not in names:
            raise UsageError(
                f"evaluation.table.task.subgroup must be one of {printable(', '.join(names))}: got {self.task.subgroup}"
            )
