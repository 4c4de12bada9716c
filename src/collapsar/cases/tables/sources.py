"""Tables of mixed columns, with fixed training and test rows: patients, the insured, holders of credit cards.

Two ship with scikit-learn and statsmodels and need no network; two more come with the packages of the extra `tabular`.
A file of rows that somebody else made, such as another generator, is read as rows of any of them (`read_file`).
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from statsmodels.datasets import randhie

from collapsar.cases.tables.columns import table_picture
from collapsar.cases.tables.csv_file import read_file
from collapsar.cases.tables.names import shown
from collapsar.cases.tables.numerals import as_kind, check_numbers, find_kinds, find_numbers, typed
from collapsar.cases.tables.schema import Column, Kind, ScaleName, Table, fit_table
from collapsar.data.real_data import RealData
from collapsar.data.sources.pictures import listed
from collapsar.data.sources.real import FixedSource
from collapsar.foundations.errors import UsageError
from collapsar.foundations.recipes import flattened, with_arguments
from collapsar.foundations.samples import Samples

logger = logging.getLogger(__name__)


class TableSource(FixedSource, ABC):
    """Rows that are the same in every run; sizes and what follows are set before the constructor is called."""

    target: str
    num_classes: int = 2
    given_kinds: Mapping[str, Kind] = {}  # those that would be guessed wrong
    csv_settings: Mapping[str, Any] = {"separator": None, "encoding": None, "missing": ("NA", "NaN", "nan")}
    signs: tuple[str | None, str | None] = (None, None)  # decimal and thousands; None: found out

    def __init__(
        self,
        *,
        sample_shape: list[int],
        num_train: int | float | None,  # rows of the training subset; below 1: their share; null: all
        scale: ScaleName,
        threshold: int | float | None = None,  # splits a target of numbers into two classes
    ) -> None:
        super().__init__(sample_shape=sample_shape, num_train=num_train)
        self.scale, self.threshold = scale, None if threshold is None else float(threshold)
        self.labels_are_computed = threshold is not None

    @abstractmethod
    def read_frame(self) -> pd.DataFrame:
        """All rows, with the columns that are used."""

    def rows(self) -> tuple[pd.DataFrame, dict[str, Kind]]:
        """All rows in the types of their kinds, and the kind of each column."""
        frame = self.read_frame()
        kinds = find_kinds(frame, given=self.given_kinds)
        return typed(frame, kinds), kinds

    def read_all(self) -> RealData:
        table, everything, train, test = self.fitted
        training, held_out = (everything[torch.from_numpy(positions)] for positions in (train, test))
        return RealData(training, held_out, self.num_classes, table=table, picture=partial(table_picture, table))

    @cached_property
    def fitted(self) -> tuple[Table, Samples, np.ndarray, np.ndarray]:
        """The table, all rows encoded by it, and the positions of training and of test rows."""
        frame, kinds = self.rows()
        target, threshold = self.target, self.threshold
        strata = frame[target]
        if kinds[target] != "category":
            strata = None if threshold is None else strata > threshold
        rows = np.arange(len(frame))
        train, test = train_test_split(rows, test_size=self.sizes.test, stratify=strata, random_state=0)
        table = fit_table(frame, train=train, kinds=kinds, target=target, scale=self.scale, threshold=threshold)
        values = table.encode(frame)
        return table, Samples(values, table.classes(values)), train, test

    def read_file(self, path: Path) -> Samples:
        """The rows of a CSV or Parquet file, encoded as the table's own; the columns may stand in any order."""
        file, (table, *_) = shown(path), self.fitted
        kinds = {column.name: column.kind for column in table.columns}
        rows = read_file(str(path), **self.csv_settings).frame
        if lacking := [name for name in kinds if name not in rows]:
            problem = f"{file} lacks the columns {listed(lacking, most=6)}"
            raise UsageError(f"{problem}: it must have those of the real table")
        if others := [name for name in rows if name not in kinds]:
            logger.info("%s: columns left out that the real table does not use: %s", file, listed(others, most=6))
        frame, _ = find_numbers(rows[list(kinds)], *self.signs, given=kinds, max_categories=len(rows))
        for column in table.columns:
            frame[column.name] = known_values(column, frame[column.name], cells=rows[column.name], file=file)
        values = table.encode(typed(frame, kinds))
        return Samples(values, table.classes(values))

    def completed(self, recipe: Callable[..., Any]) -> Callable[..., Any]:
        known = {"sample_shape": self.sample_shape, "blocks": [list(block) for block in self.fitted[0].blocks()]}
        settings = flattened(recipe).keywords
        left_open = {name: value for name, value in known.items() if name in settings and settings[name] is None}
        return with_arguments(recipe, **left_open)


class BreastCancer(TableSource):
    """569 patients with 30 measurements of cell nuclei, and the diagnosis (Street, Wolberg & Mangasarian 1993)."""

    name = "breast_cancer"
    num_available, num_test = 455, 114
    target = "diagnosis"

    def read_frame(self) -> pd.DataFrame:
        patients = load_breast_cancer(as_frame=True)
        return patients.data.assign(diagnosis=np.array(patients.target_names)[patients.target])


class HealthInsurance(TableSource):
    """20,190 person-years of the RAND health insurance experiment (Cameron & Trivedi 2005, section 20.3)."""

    name = "health_insurance"
    num_available, num_test = 16_152, 4_038
    target = "mdvis"  # visits to a doctor in that year: above 0 for 69 %; above 5, for heavy users, for 15 %
    given_kinds: Mapping[str, Kind] = {"lncoins": "category"}  # five plans, by their rate of coinsurance

    def __init__(
        self, *, sample_shape: list[int], num_train: int | float | None, threshold: int | float, scale: ScaleName
    ) -> None:
        if not 0 <= threshold <= 30:  # about one in five hundred has more
            raise UsageError(f"data.threshold must lie between 0 and 30, or a class is empty: got {threshold}")
        super().__init__(sample_shape=sample_shape, num_train=num_train, scale=scale, threshold=threshold)

    def read_frame(self) -> pd.DataFrame:
        people: pd.DataFrame = randhie.load_pandas().data
        return people


class AidsTrial(TableSource):
    """2,139 patients of the trial ACTG 175, and whether the disease got worse (Hammer et al. 1996); from lifelines."""

    name = "aids_trial"
    num_available, num_test = 1_711, 428
    target = "cens"
    given_kinds: Mapping[str, Kind] = {"arms": "category", "strat": "category"}

    def read_frame(self) -> pd.DataFrame:
        folder = folder_of("lifelines", data=self.name)
        patients = pd.read_csv(folder / "datasets" / "ACTG175.csv", index_col=0)
        return patients.drop(columns=["pidnum", "days", "zprior"])  # number, days until the outcome, a constant


class CreditDefault(TableSource):
    """30,000 holders of credit cards in Taiwan: age, bill, and late payments (Yeh & Lien 2009); from causaldata."""

    name = "credit_default"
    num_available, num_test = 24_000, 6_000
    target = "LateSept"

    def read_frame(self) -> pd.DataFrame:
        return pd.read_stata(folder_of("causaldata", data=self.name) / "credit_cards" / "credit_cards.dta")


def folder_of(package: str, *, data: str) -> Path:
    """The folder of an installed package that brings data; the package is not imported."""
    found = find_spec(package)
    if found is None or found.origin is None:
        advice = "run pip install 'collapsar[tabular]', or choose data=breast_cancer or health_insurance"
        raise UsageError(f"data={data} comes with {package}, which is not installed: {advice}")
    return Path(found.origin).parent


def known_values(column: Column, values: pd.Series, *, cells: pd.Series, file: str) -> pd.Series:
    """The values of a column of another file, read from its `cells`; refused if the real column has no such values."""
    name, num_missing = f"column {shown(column.name)} of {file}", int(values.isna().sum())
    if num_missing and (not column.may_be_missing or num_missing == len(values)):
        what = "none" if not column.may_be_missing else "not in every row"
        problem = f"{name} has {num_missing} missing values, and the real one {what}"
        raise UsageError(f"{problem}: fill them or leave these rows out")
    if column.is_number:
        check_numbers(column.name, values.dropna(), kind=column.kind)
        return values
    values = as_categories(column, as_kind(cells, "category"))
    if strangers := [value for value in values.dropna() if value not in column.categories]:
        problem = f"{name} has {len(strangers)} values that the real one lacks, such as {shown(strangers[0])}"
        raise UsageError(f"{problem}: leave these rows out")
    return values


def as_categories(column: Column, values: pd.Series) -> pd.Series:
    """Texts as the real categories; one that writes the number of a category otherwise, as 1.0 for 1, is that one."""
    known = pd.Series(column.categories, index=column.categories, dtype=object)
    by_number = {number: name for name, number in pd.to_numeric(known, errors="coerce").dropna().items()}
    named = pd.to_numeric(values, errors="coerce").map(by_number)
    return values.where(values.isin(column.categories) | named.isna(), named)
