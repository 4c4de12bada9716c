"""The interface for a case study's own metrics."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from collapsar.data.real_data import RowFormat
from collapsar.judging.measuring import Measure


class ExtraMetrics(ABC):
    """Extra groups of metrics for rows of a table (`evaluation.table`).

    Attributes:
        metrics: Names of the groups to measure.
    """

    metrics: Sequence[str]

    @abstractmethod
    def groups(self) -> Mapping[str, Measure]:
        """All available measures by group, with their settings."""

    @abstractmethod
    def check(self, table: RowFormat) -> None:
        """Check that the settings suit these rows.

        Raises:
            UsageError: They do not; the message says what to set.
        """
