"""Scores of single columns: closed forms, and the same as SDMetrics'."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collapsar.cases.tables.columns import (
    boundary_adherence,
    column_shape,
    is_outside,
    missing_similarity,
    num_categories_dropped,
    share_outside,
)
from collapsar.cases.tables.numerals import as_kind, category_name, typed
from collapsar.cases.tables.schema import Column
from mixed_tables import KINDS, mixed_rows, mixed_table

SDMETRICS = json.loads(Path(__file__).with_name("sdmetrics_scores.json").read_text())
NUMBER = Column("x", "continuous", 0, 1, (), 0.0, 10.0)
MAY_BE_MISSING = Column("x", "continuous", 0, 2, (), 0.0, 10.0, may_be_missing=True)
CATEGORY = Column("c", "category", 0, 3, ("a", "b", "c"))


@pytest.fixture(scope="module")
def real():
    return mixed_rows(400)


@pytest.fixture(scope="module")
def synthetic():
    return mixed_rows(300, shift=0.2, twist=0.4)


def categories(**counts):
    return pd.Series([name for name, count in counts.items() for _ in range(count)], dtype=object)


def test_column_shapes_are_those_of_sdmetrics(real, synthetic):
    columns = mixed_table(real).columns
    found = {
        column.name: column_shape(column, real=real[column.name], synthetic=synthetic[column.name])
        for column in columns
    }
    assert found == pytest.approx(SDMETRICS["columns"], abs=1e-6)


def test_boundary_adherence_is_that_of_sdmetrics(real, synthetic):
    numbers = [column for column in mixed_table(real).columns if column.is_number]
    found = {column.name: boundary_adherence(column, synthetic[column.name]) for column in numbers}
    assert found == pytest.approx(SDMETRICS["boundary"], abs=1e-6)


def test_missing_similarity_is_that_of_sdmetrics(real, synthetic):
    found = {name: missing_similarity(real=real[name], synthetic=synthetic[name]) for name in KINDS}
    assert found == pytest.approx(SDMETRICS["missing"], abs=1e-6)


def test_shape_of_numbers_that_moved_by_half_their_range_is_a_half():
    real = pd.Series(np.arange(1000.0))
    assert column_shape(NUMBER, real=real, synthetic=real + 500) == pytest.approx(0.5)


def test_shape_of_a_constant_is_the_share_of_real_numbers_on_its_smaller_side():
    real = pd.Series(np.arange(10.0))
    assert column_shape(NUMBER, real=real, synthetic=pd.Series([3.0] * 7)) == pytest.approx(1 - 0.6)


def test_shape_of_categories_is_the_mass_that_they_share():
    shape = column_shape(CATEGORY, real=categories(a=5, b=3, c=2), synthetic=categories(a=20, c=20))
    assert shape == pytest.approx(0.5 + 0.0 + 0.2)


@pytest.mark.parametrize("column", [NUMBER, CATEGORY])
def test_shape_of_the_same_values_in_another_order_is_one(column):
    values = pd.Series(np.arange(9.0)) if column.is_number else categories(a=3, b=2)
    assert column_shape(column, real=values, synthetic=values[::-1]) == 1.0


def test_shape_leaves_what_is_missing_out():
    real, gappy = pd.Series([1.0, 2.0, 3.0]), pd.Series([1.0, 2.0, 3.0, np.nan, np.nan])
    assert column_shape(NUMBER, real=real, synthetic=gappy) == 1.0


def test_shape_of_a_column_that_is_missing_altogether_is_zero_and_unknown_where_real_values_are():
    none, some = pd.Series([np.nan, np.nan]), pd.Series([1.0, 2.0])
    assert column_shape(NUMBER, real=some, synthetic=none) == 0.0
    assert math.isnan(column_shape(NUMBER, real=none, synthetic=some))


def test_a_category_is_dropped_below_a_tenth_of_its_real_share():
    real = categories(a=50, b=30, c=20)
    assert num_categories_dropped(CATEGORY, real=real, synthetic=categories(a=900, b=81, c=19)) == 1
    assert num_categories_dropped(CATEGORY, real=real, synthetic=categories(a=100)) == 2
    assert num_categories_dropped(CATEGORY, real=real, synthetic=real) == 0


def test_a_category_that_is_new_in_synthetic_rows_is_not_dropped():
    assert num_categories_dropped(CATEGORY, real=categories(a=5, b=5), synthetic=categories(a=4, b=4, c=9)) == 0


def test_numbers_are_outside_beyond_the_range_of_the_training_set_and_not_on_its_ends():
    assert is_outside(NUMBER, pd.Series([-0.1, 0.0, 5.0, 10.0, 10.1])).tolist() == [True, False, False, False, True]


def test_the_rounding_of_encoded_rows_puts_none_outside(real):
    table = mixed_table(real)
    assert share_outside(table.columns, table.decode(table.encode(typed(real, KINDS)))) == 0.0


def test_a_missing_value_is_outside_only_where_none_may_be():
    values = pd.Series([np.nan, 5.0])
    assert is_outside(NUMBER, values).tolist() == [True, False]
    assert is_outside(MAY_BE_MISSING, values).tolist() == [False, False]


def test_a_category_that_the_table_does_not_know_is_outside():
    assert is_outside(CATEGORY, pd.Series(["a", "zebra", None], dtype=object)).tolist() == [False, True, True]


def test_counts_that_may_be_missing_are_read():
    column = Column("n", "count", 0, 2, (), 0.0, 3.0, may_be_missing=True)
    assert is_outside(column, pd.Series([1, None, 7], dtype="Int64")).tolist() == [False, False, True]


def test_a_row_is_outside_where_any_of_its_values_is():
    rows = pd.DataFrame({"x": [1.0, 99.0, 99.0, 5.0], "c": ["a", "a", "zebra", "b"]})
    assert share_outside([NUMBER, CATEGORY], rows) == 0.5


def test_missing_similarity_is_the_difference_of_shares():
    real, synthetic = pd.Series([1.0, np.nan, np.nan, np.nan]), pd.Series([1.0, 2.0])
    assert missing_similarity(real=real, synthetic=synthetic) == 0.25


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 0, 3, 1], "int64"),
        ([1.0, math.nan, 0.5, -0.0, 0.0], "float64"),
        ([0.1, 1.0, math.nan], "float32"),
        ([True, False], "bool"),
        ([1, None, 2], "Int64"),
        ([1, True, "1", 1.0, None], "object"),
    ],
)
def test_every_number_of_a_category_has_its_own_name(values, dtype):
    column = pd.Series(values, dtype=dtype)
    expected = [None if pd.isna(value) else category_name(value) for value in column.astype(object)]
    assert as_kind(column, "category").tolist() == expected
