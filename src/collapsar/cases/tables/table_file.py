"""A table of the user's own: a CSV or Parquet file, whose columns are typed by a guess that is shown."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from collapsar.cases.tables.fitting import typed
from collapsar.cases.tables.kinds import KINDS, find_kinds, shown
from collapsar.cases.tables.scales import ScaleName
from collapsar.cases.tables.schema import Kind
from collapsar.cases.tables.sources import TableSource
from collapsar.errors import UsageError, check_fraction, check_positive, printable

logger = logging.getLogger(__name__)


class TableFile(TableSource):
    """Rows of a file, those without a target left out.

    Args:
        sample_shape: Left open: as many values as the columns are encoded in.
        path: Of the file, which ends in .csv or .parquet.
        checksum: Of its content, which tells chains apart.
        target: The column that predictors are asked for.
        threshold: Of a target of numbers: rows above it are of class 1, the others of class 0; null: no classes.
        types: Kinds by column, where the guess is wrong; null: all are guessed.
        identifiers: Columns that no model may see.
        max_categories: Text of more different values is refused, unless its type is given.
        test_fraction: Share of the rows that is held out.
        num_train: Size of a stratified subset of the training rows, or below 1 its share; null takes all of them.
        scale: How numbers are scaled.

    Raises:
        UsageError: the file, a column or a setting cannot be used.
    """

    name = "table"

    def __init__(
        self,
        *,
        sample_shape: list[int] | None,
        path: str | None,
        checksum: str | None,
        target: str | None,
        threshold: int | float | None,
        types: Mapping[str, str] | None,
        identifiers: Sequence[str],
        max_categories: int,
        test_fraction: float,
        num_train: int | float | None,
        scale: ScaleName,
    ) -> None:
        check_fraction(**{"data.test_fraction": test_fraction})
        check_positive(**{"data.max_categories": max_categories})
        frame = read_frame(path)
        self.target = check_target(target, frame=frame, identifiers=identifiers)
        frame = frame[frame[self.target].notna()]
        kinds = find_kinds(frame, given=types or {}, identifiers=identifiers, max_categories=max_categories)
        self._rows = typed(frame, kinds), kinds
        num_classes = count_classes(self._rows[0][self.target], kind=kinds[self.target], threshold=threshold)
        num_test = round(test_fraction * len(frame))
        if not max(1, num_classes) <= num_test <= len(frame) - max(2, num_classes):
            raise UsageError(
                f"data.test_fraction must leave a row of each class for training and for tests: got {test_fraction} of "
                f"{len(frame)} rows"
            )
        super().__init__(
            sample_shape=sample_shape or [],
            num_train=num_train,
            num_available=len(frame) - num_test,
            num_test=num_test,
            num_classes=num_classes,
            scale=scale,
            threshold=None if threshold is None else float(threshold),
        )
        self.sample_shape = [self.fitted[0].width]
        if sample_shape not in (None, self.sample_shape):
            raise UsageError(f"data.sample_shape must be {self.sample_shape}, or null: got {sample_shape}")
        logger.info("%s: %s", printable(str(path)), describe(kinds, target=self.target))

    def rows(self) -> tuple[pd.DataFrame, dict[str, Kind]]:
        return self._rows


def read_frame(path: str | None) -> pd.DataFrame:
    """All rows of a file.

    Raises:
        UsageError: there is none, it is of another format, or it has no rows.
    """
    if path is None:
        raise UsageError("data=table needs a file: set data.path=FILE.csv or FILE.parquet, and data.target=COLUMN")
    file, shown_path = Path(path).expanduser(), printable(path)
    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if file.suffix.lower() not in readers:
        raise UsageError(f"data.path must end in .csv or .parquet: got {shown_path}")
    try:
        frame: pd.DataFrame = readers[file.suffix.lower()](file)
    except FileNotFoundError as error:
        raise UsageError(f"data.path must be a file: there is no {shown_path}") from error
    except ImportError as error:
        raise UsageError(
            f"data.path={shown_path} needs pyarrow: run pip install 'collapsar[parquet]', or set data.path to a CSV"
        ) from error
    except (OSError, ValueError, pd.errors.ParserError) as error:  # EmptyDataError is a ValueError
        reason = printable(str(error).partition("\n")[0])
        raise UsageError(f"data.path={shown_path} cannot be read as {file.suffix[1:]}: {reason}") from error
    if not len(frame):
        raise UsageError(f"data.path={shown_path} has no rows: set data.path to a file that has some")
    return frame.rename(columns=str)


def check_target(target: str | None, *, frame: pd.DataFrame, identifiers: Sequence[str]) -> str:
    """Refuse a target that is no column, has no values, or is left out.

    Raises:
        UsageError: with the columns that there are.
    """
    if target is None or target not in frame.columns or target in identifiers:
        allowed = ", ".join(shown(name) for name in frame.columns if name not in identifiers)
        got = "nothing" if target is None else printable(target)
        raise UsageError(f"data.target must be a column that is no identifier: got {got}; set one of {allowed}")
    if frame[target].isna().all():
        raise UsageError(f"data.target={shown(target)} has no value in any row: set another column")
    return target


def count_classes(target: "pd.Series[object]", *, kind: Kind, threshold: int | float | None) -> int:
    """Classes of a target; 0 of one of numbers without a threshold.

    Raises:
        UsageError: there is one only, or a single row of one.
    """
    name = shown(target.name)
    if kind == "category" and threshold is not None:
        raise UsageError(f"data.threshold is of numbers, and data.target={name} is a category: set data.threshold=null")
    if kind != "category" and threshold is None:
        return 0
    sizes = (target if kind == "category" else target > threshold).value_counts()
    if len(sizes) < 2:
        setting = f"data.target={name}" if kind == "category" else f"data.threshold={threshold}"
        raise UsageError(f"{setting} must give at least two classes: got one; set another")
    if sizes.min() < 2:
        raise UsageError(
            f"data.target={name} must have at least two rows of each class: got one of {shown(sizes.idxmin())}; leave "
            "it out of the file, or set another target"
        )
    return len(sizes)


def describe(kinds: Mapping[str, Kind], *, target: str) -> str:
    """The kinds of all columns in one line."""
    by_kind = {kind: [shown(name) for name, own in kinds.items() if own == kind] for kind in KINDS}
    parts = [f"{kind} {', '.join(names)}" for kind, names in by_kind.items() if names]
    return f"{'; '.join(parts)}. Target: {shown(target)}. Set data.types={{COLUMN: KIND}} where a guess is wrong"
