"""Scores of pairs of columns: closed forms, and the same as SDMetrics'."""

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collapsar.cases.tables.columns import (
    association_matrix,
    bin_edges,
    contingency_similarity,
    contingency_tables,
    correlation_similarities,
    cramers_v,
    pair_scores,
)
from collapsar.cases.tables.schema import Column
from mixed_tables import mixed_rows, mixed_table

SDMETRICS = json.loads(Path(__file__).with_name("sdmetrics_scores.json").read_text())
NUMBERS = [Column(name, "continuous", place, place + 1, (), 0.0, 1.0) for place, name in enumerate("xy")]


@pytest.fixture(scope="module")
def real():
    return mixed_rows(400)


@pytest.fixture(scope="module")
def synthetic():
    return mixed_rows(300, shift=0.2, twist=0.4)


@pytest.fixture(scope="module")
def columns(real):
    return mixed_table(real).columns


def line(slope, *, num_rows=50):
    x = np.linspace(0.0, 1.0, num_rows)
    return pd.DataFrame({"x": x, "y": slope * x})


def test_scores_of_all_pairs_are_those_of_sdmetrics(columns, real, synthetic):
    numbers = [column for column in columns if column.is_number]
    of_numbers = correlation_similarities(columns, real=real, synthetic=synthetic)
    others = [pair for pair in combinations(columns, 2) if not all(column.is_number for column in pair)]
    of_real, of_synthetic = (contingency_tables(columns, real=real, rows=rows) for rows in (real, synthetic))
    found = {
        f"{first.name}, {second.name}": score
        for (first, second), score in [
            *zip(combinations(numbers, 2), of_numbers, strict=True),
            *zip(others, map(contingency_similarity, of_real.values(), of_synthetic.values()), strict=True),
        ]
    }
    assert found == pytest.approx(SDMETRICS["pairs"], abs=1e-6)


def test_column_pairs_is_the_mean_over_all_pairs(columns, real, synthetic):
    scores = pair_scores(columns, real=real, synthetic=synthetic)
    assert scores["column_pairs"] == pytest.approx(np.mean([*SDMETRICS["pairs"].values()]), abs=1e-6)


def test_the_same_rows_are_perfect(columns, real):
    scores = pair_scores(columns, real=real, synthetic=real)
    assert (scores["correlation_similarity"], scores["contingency_similarity"], scores["column_pairs"]) == (
        1.0,
        1.0,
        1.0,
    )
    assert scores["cramers_v_difference"] == 0.0


@pytest.mark.parametrize(("start", "step"), [(1e9, 1.2e-7), (1.0, 2.3e-16), (0.0, 5e-324)])
def test_numbers_that_are_neighbours_in_float64_have_bins(start, step):
    numbers = start + step * (np.arange(50) % 3)
    edges = bin_edges(pd.Series(numbers))
    assert (np.diff(edges) > 0).all()
    assert len(np.unique(np.digitize(numbers, edges))) == 3


def test_a_correlation_that_turns_round_scores_zero():
    assert correlation_similarities(NUMBERS, real=line(1.0), synthetic=line(-1.0)).item() == pytest.approx(0.0)


def test_a_synthetic_constant_is_correlated_with_nothing():
    assert correlation_similarities(NUMBERS, real=line(1.0), synthetic=line(0.0)).item() == pytest.approx(0.5)


def test_a_real_constant_leaves_its_pairs_out():
    scores = pair_scores(NUMBERS, real=line(0.0), synthetic=line(1.0))
    assert math.isnan(scores["correlation_similarity"])
    assert math.isnan(scores["column_pairs"])


def test_a_column_that_shrank_shows_beside_a_category(columns, real):
    shrunken = real.assign(age=50.0 + 0.01 * real["age"])
    assert pair_scores(columns, real=real, synthetic=shrunken)["contingency_similarity"] < 0.9


def test_independent_columns_lose_their_association(columns, real):
    shuffled = real.assign(outcome=real["outcome"].to_numpy()[np.arange(len(real)) * 7 % len(real)])
    scores = pair_scores(columns, real=real, synthetic=shuffled)
    assert scores["correlation_similarity"] == 1.0
    assert scores["cramers_v_difference"] > 0.05


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        ([[5, 0], [0, 5]], 1.0),
        ([[4, 4], [2, 2]], 0.0),
        ([[30, 10], [10, 30]], 0.5),  # phi of a two by two table
        ([[7, 0], [0, 0]], 0.0),
        ([[3, 4], [0, 0]], 0.0),
    ],
)
def test_cramers_v_of_a_table_of_counts(counts, value):
    assert cramers_v(np.array(counts)) == pytest.approx(value)


def test_association_matrix_has_correlations_of_numbers_and_cramers_v_of_the_rest(columns, real):
    matrix = association_matrix(columns, real=real, rows=real)
    names = [column.name for column in columns]
    assert np.allclose(matrix, matrix.T)
    assert matrix[0, 2] == pytest.approx(real["age"].corr(real["income"]))
    assert 0.5 < matrix[names.index("age"), names.index("outcome")] <= 1.0


def test_orientation_real_and_synthetic_are_not_alike(columns, real, synthetic):
    """Bins are of the real numbers, so that the two sides are told apart."""
    there = pair_scores(columns, real=real, synthetic=synthetic)["contingency_similarity"]
    back = pair_scores(columns, real=synthetic, synthetic=real)["contingency_similarity"]
    assert there != back
