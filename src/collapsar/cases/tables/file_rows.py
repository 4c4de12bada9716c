"""Rows of a user's file, before their kinds are known, with notes on how the file was read."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_float_dtype

from collapsar.cases.tables.names import shown
from collapsar.errors import UsageError, printable


@dataclass(frozen=True)
class FileRows:
    """The columns of a file.

    Text, of which some may write numbers, is categorical, its categories in order of appearance; numbers that the file
    stores are as they are.
    """

    frame: pd.DataFrame
    form: str  # how the file was read
    missing: Mapping[str, Mapping[str, int]]  # for each word that counts as missing, its cells in each column
    left_out: tuple[str, ...] = ()  # contents of the file that are in no column, in words
    texts: Collection[str] = ()  # columns that the file declares as text, even if all texts are numbers

    def used(self, *, target: str, identifiers: Collection[str]) -> "FileRows":
        """The rows that have a value of the target, without the identifier columns."""
        has_target, left_out = self.frame[target].notna(), list(self.left_out)
        frame = self.frame.drop(columns=identifiers)
        if num_without := int((~has_target).sum()):
            frame = frame[has_target].reset_index(drop=True)
            for name in frame.select_dtypes("category"):
                frame[name] = frame[name].cat.remove_unused_categories()
            left_out.append(f"{counted(num_without, 'row')} without a value of the target {shown(target)}")
        if identifiers:
            left_out.append(f"identifiers {some([shown(name) for name in identifiers])}")
        return replace(self, frame=frame, left_out=tuple(left_out))

    def lines(self) -> list[str]:
        """Lines for the log: how the file was read, what counts as missing, what was left out."""
        words = [
            f"{printable(word) or 'empty'} {sum(counts.values()):,} ({some([shown(name) for name in counts], most=4)})"
            for word, counts in sorted(self.missing.items(), key=lambda item: -sum(item[1].values()))
        ]
        return [
            self.form,
            *([f"taken for missing values: {some(words)}; data.missing lists the words"] if words else []),
            *([f"left out: {'; '.join(self.left_out)}"] if self.left_out else []),
        ]


def text_column(cells: Iterable[str | None]) -> pd.Series:
    """A categorical column of these texts; None is a missing value."""
    codes, distinct = pd.factorize(np.array([*cells], dtype=object))
    return pd.Series(pd.Categorical.from_codes(codes, pd.Index(distinct, dtype=object)))


def from_frame(frame: pd.DataFrame) -> FileRows:
    """The columns of a Parquet file's frame and of its named index; two columns of one name are refused."""
    named = [name for name in frame.index.names if name is not None]
    is_counter = isinstance(frame.index, pd.RangeIndex)
    left_out = () if named or is_counter else ("the index, which has no name",)
    frame = frame.reset_index(level=named) if named else frame.reset_index(drop=True)
    names = [str(name) for name in frame.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"two columns are named {shown(twice[0])}: rename one of them")
    frame = frame.set_axis(names, axis=1)
    texts = {name for name in names if infer_dtype(frame[name], skipna=True) in ("string", "categorical")}
    read = pd.DataFrame({name: text_or_numbers(values) for name, values in frame.items()}, columns=pd.Index(names))
    missing = {name: int(number) for name, number in read.isna().sum().items() if number}
    form = f"{counted(len(read), 'row')} of {counted(len(names), 'column')}, Parquet"
    return FileRows(read, form, {"null": missing} if missing else {}, left_out, texts)


def text_or_numbers(values: pd.Series) -> pd.Series:
    """A column of a frame: strings, categoricals and decimals become text; other types stay as they are."""
    if is_float_dtype(values):
        return pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan))
    if infer_dtype(values, skipna=True) in ("string", "categorical", "decimal", "empty"):
        return text_column(
            None if is_missing else str(value) for value, is_missing in zip(values, values.isna(), strict=True)
        )
    return values


def counted(number: int, what: str) -> str:
    """A number of things in words: 1 line, 2 lines."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def some(words: Sequence[str], *, most: int = 6, between: str = ", ") -> str:
    """The first few words, and how many more there are."""
    rest = [f"{len(words) - most} more"] if len(words) > most else []
    return between.join([*words[:most], *rest])
