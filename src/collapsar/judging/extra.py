"""Metrics that a case study adds where its data ask for them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from collapsar.data.real_data import RowFormat
from collapsar.judging.measuring import Measure


class ExtraMetrics(ABC):
    """Groups of metrics beside those of `collapsar.judging.suite`, for rows of a table (`evaluation.table`).

    Attributes:
        metrics: The groups that are measured, by name.
    """

    metrics: Sequence[str]

    @abstractmethod
    def groups(self) -> Mapping[str, Measure]:
        """All measures that there are, by group, with their settings."""

    @abstractmethod
    def check(self, table: RowFormat) -> None:
        """Refuse settings that these rows do not suit.

        Raises:
            UsageError: with what to set instead.
        """
