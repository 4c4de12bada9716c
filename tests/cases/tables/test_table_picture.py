"""What is stored of a table for the page."""

import json

import numpy as np
import pandas as pd
import pytest

from collapsar.cases.tables.columns import MOST_CATEGORIES, NUM_ROWS, histogram, picture_edges, table_picture
from collapsar.cases.tables.numerals import typed
from collapsar.cases.tables.schema import Column
from mixed_tables import KINDS, mixed_rows, mixed_table


@pytest.fixture(scope="module")
def picture():
    real = typed(mixed_rows(400), KINDS)
    return table_picture(mixed_table(real), real=real, synthetic=typed(mixed_rows(300, shift=0.2), KINDS))


def test_it_is_json(picture):
    assert json.loads(json.dumps(picture, allow_nan=False)) == picture


def test_shares_and_what_is_missing_add_up_to_one(picture):
    for column in picture["columns"]:
        for side in ("real", "synthetic"):
            assert sum(column[side]) + column["missing"][side] == pytest.approx(1.0, abs=5e-3), column["name"]


def test_rows_are_synthetic_ones_and_few(picture):
    first = mixed_rows(1, shift=0.2)
    assert len(picture["rows"]) == NUM_ROWS
    assert picture["rows"][0][[*KINDS].index("sex")]["text"] == first["sex"][0]


def test_values_out_of_range_are_marked():
    real = typed(mixed_rows(100), KINDS)
    rows = real.assign(age=real["age"].where(real.index != 2, -5.0))
    marked = [row[0]["is_outside"] for row in table_picture(mixed_table(real), real=real, synthetic=rows)["rows"]]
    assert marked == [False, False, True] + [False] * (NUM_ROWS - 3)


def test_numbers_beyond_the_edges_fall_into_the_outer_bins():
    column = Column("x", "continuous", 0, 1, (), 0.0, 1.0)
    drawn = histogram(column, real=pd.Series(np.linspace(0, 1, 500)), synthetic=pd.Series([-9.0, 9.0, 9.0, 9.0]))
    assert (drawn["synthetic"][0], drawn["synthetic"][-1]) == (0.25, 0.75)


def test_bins_of_counts_hold_whole_numbers_alike():
    edges = picture_edges(Column("n", "count", 0, 1, (), 0.0, 5.0), pd.Series([0, 1, 2, 3, 4, 5]))
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5]


def test_labels_of_counts_are_whole_numbers():
    values = pd.Series([0, 1, 2, 3, 4, 5])
    assert histogram(Column("n", "count", 0, 1, (), 0.0, 5.0), real=values, synthetic=values)["labels"] == ["0", "5"]


def test_a_constant_column_has_one_bin():
    drawn = histogram(
        Column("x", "continuous", 0, 1, (), 3.0, 3.0), real=pd.Series([3.0, 3.0]), synthetic=pd.Series([4.0])
    )
    assert (drawn["real"], drawn["synthetic"]) == ([1.0], [1.0])


def test_of_many_categories_the_rarest_are_added_up():
    names = tuple(f"c{number:02d}" for number in range(MOST_CATEGORIES + 5))
    values = pd.Series([name for place, name in enumerate(names) for _ in range(place + 1)], dtype=object)
    drawn = histogram(Column("c", "category", 0, len(names), names), real=values, synthetic=values)
    assert drawn["labels"][0] == names[-1]
    assert drawn["labels"][-1] == "others"
    assert drawn["real"][-1] == pytest.approx((1 + 2 + 3 + 4 + 5) / len(values), abs=1e-4)


def test_names_from_data_are_printable_and_short():
    wild = "a\x1b[31m\n" + "x" * 500
    column = Column(wild, "category", 0, 1, (wild,))
    drawn = histogram(column, real=pd.Series([wild], dtype=object), synthetic=pd.Series([wild], dtype=object))
    assert drawn["name"] == drawn["labels"][0]
    assert drawn["name"].isprintable()
    assert len(drawn["name"]) <= 60
