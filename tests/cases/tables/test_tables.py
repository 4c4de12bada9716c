"""Rows of mixed columns as vectors: nothing is lost on the way there and back, and any vector is near a row."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from collapsar.cases.tables.numerals import typed
from collapsar.cases.tables.schema import NormalScores, fit_scale, fit_table, has_spread
from collapsar.foundations.errors import UsageError

KINDS = {"size": "continuous", "visits": "count", "colour": "category", "target": "category"}
SCALES = ("quantile", "standardise")
NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def columns_of(num_rows):
    """Values of each column, some of them missing, but for the target."""
    some = {"size": NUMBERS, "visits": st.integers(0, 10**6), "colour": st.sampled_from(["red", "blue", "grün"])}
    lists = {name: st.lists(st.none() | values, min_size=num_rows, max_size=num_rows) for name, values in some.items()}
    return st.fixed_dictionaries(lists | {"target": st.lists(st.booleans(), min_size=num_rows, max_size=num_rows)})


FRAMES = st.integers(3, 30).flatmap(columns_of).map(pd.DataFrame)


def has_numbers(frame, train):
    return all(frame[name].iloc[train].notna().any() for name in ("size", "visits")) and frame.colour.notna().any()


ONE_SIZE_IN_TRAINING = pd.DataFrame(
    {
        "size": [None] * 4 + [0.0, 1.5e-124],
        "visits": [None] * 4 + [0, None],
        "colour": [None] * 5 + ["red"],
        "target": [False] * 6,
    }
)
NO_SPREAD_IN_TRAINING = pd.DataFrame(
    {
        "size": [None] * 3 + [0.0, 8e-45, 1.0],
        "visits": [0] * 6,
        "colour": ["red"] * 6,
        "target": [False] * 6,
    }
)
FAR_FROM_TRAINING = NO_SPREAD_IN_TRAINING.assign(size=[None] * 3 + [0.0, 1.2e-19, 1.0])
CASES = given(FRAMES, st.integers(1, 30), st.sampled_from(SCALES), st.integers(0, 2**32))


def table_of(frame, num_train, scale):
    """The frame as its table decodes it, and the table, fitted on so many of its rows."""
    train = np.arange(min(num_train, len(frame)))
    if not has_numbers(frame, train):
        frame.loc[0, ["size", "visits", "colour"]] = [1.5, 3, "red"]
    frame = typed(frame, KINDS)
    return frame, fit_table(frame, train=train, kinds=KINDS, target="target", scale=scale)


def random_vectors(table, seed):
    return 3 * torch.randn(20, table.columns[-1].stop, generator=torch.Generator().manual_seed(seed))


def refusal_of(encode):
    """The message with which a column is refused; empty if it is encoded."""
    try:
        encode()
    except UsageError as error:
        return str(error)
    return ""


def has_far_numbers(frame, num_train):
    """Whether a number is further from those of the training rows than vectors of float32 can tell apart."""
    for name in ("size", "visits"):
        numbers = frame[name].dropna().to_numpy(dtype=np.float64)
        in_training = frame[name].iloc[:num_train].dropna().to_numpy(dtype=np.float64)
        if np.abs(numbers - in_training.mean()).max() > 1e17 * in_training.std() > 0:
            return True
    return False


@settings(deadline=None, max_examples=40)
@CASES
@example(FAR_FROM_TRAINING, 5, "quantile", 0)
@example(ONE_SIZE_IN_TRAINING, 5, "quantile", 0)
@example(NO_SPREAD_IN_TRAINING, 5, "quantile", 0)
@example(NO_SPREAD_IN_TRAINING, 5, "standardise", 0)
def test_decoding_undoes_encoding(frame, num_train, scale, seed):
    frame, table = table_of(frame, num_train, scale)
    refused = refusal_of(lambda: table.encode(frame))
    if refused:
        assert has_far_numbers(frame, num_train), refused
        return
    decoded = table.decode(table.encode(frame))
    others = ["colour", "target"]
    pd.testing.assert_frame_equal(decoded[others], frame[others])
    for name in ("size", "visits"):
        assert decoded[name].isna().equals(frame[name].isna())
        numbers, expected = (part[name].dropna().to_numpy(dtype=np.float64) for part in (decoded, frame))
        span = np.abs(expected).max() if len(expected) else 0.0
        in_training = frame[name].iloc[:num_train].dropna().to_numpy(dtype=np.float64)
        slope = in_training.std() if has_spread(in_training) else 1.0  # of the lines beyond them
        assert numbers == pytest.approx(expected, abs=1e-5 * max(span, slope) + (name == "visits"))


@settings(deadline=None, max_examples=40)
@CASES
def test_numbers_that_were_seen_in_training_come_back_exactly_from_normal_scores(frame, num_train, scale, seed):
    frame, table = table_of(frame, len(frame), "quantile")
    pd.testing.assert_frame_equal(table.decode(table.encode(frame)), frame, check_exact=True)


@settings(deadline=None, max_examples=40)
@CASES
def test_the_vector_of_a_row_is_valid_as_it_is(frame, num_train, scale, seed):
    frame, table = table_of(frame, len(frame), "quantile")
    values = table.encode(frame)
    assert torch.equal(table.valid(values), values)


@settings(deadline=None, max_examples=40)
@CASES
def test_what_is_made_valid_has_one_category_each_and_whole_counts(frame, num_train, scale, seed):
    _, table = table_of(frame, num_train, scale)
    rows = table.valid(random_vectors(table, seed))
    for column in table.columns:
        if column.kind == "category":
            assert torch.equal(rows[:, column.block].sort(1).values.sum(0)[-1], torch.tensor(20.0))
            assert set(rows[:, column.block].unique().tolist()) <= {0.0, 1.0}
    visits = table.decode(rows).visits.dropna()
    assert (visits == visits.round()).all()


@settings(deadline=None, max_examples=40)
@CASES
def test_any_vector_decodes_to_known_categories_and_integer_counts(frame, num_train, scale, seed):
    _, table = table_of(frame, num_train, scale)
    decoded = table.decode(random_vectors(table, seed))
    assert str(decoded.visits.dtype) in ("int64", "Int64")
    known = {column.name: set(column.categories) for column in table.columns if not column.is_number}
    assert all(set(decoded[name].dropna()) <= categories for name, categories in known.items())


def fitted(frame, kinds, *, scale="quantile", target="target", threshold=None):
    frame = typed(pd.DataFrame(frame), kinds)
    train = np.arange(len(frame))
    return frame, fit_table(frame, train=train, kinds=kinds, target=target, scale=scale, threshold=threshold)


def test_counts_come_back_exactly_from_far_apart_and_from_many_equal_ones():
    counts = [0] * 400 + [1, 2, 3, 7, 10**6, 10**9]
    frame, table = fitted({"visits": counts}, {"visits": "count"}, target="visits")
    assert table.decode(table.encode(frame)).visits.tolist() == counts


def test_a_column_is_scaled_to_normal_scores_of_its_ranks():
    _, table = fitted({"x": [10.0, 20.0, 30.0, 1000.0]}, {"x": "continuous"}, target="x")
    scores = table.encode(pd.DataFrame({"x": [10.0, 20.0, 30.0, 1000.0]}))
    assert scores.squeeze(1).tolist() == pytest.approx(norm.ppf([0.125, 0.375, 0.625, 0.875]))


def test_many_equal_numbers_share_a_score_and_all_of_their_ranks_lead_back_to_them():
    scale = NormalScores(np.array([0.0] * 6 + [1.0, 2.0, 3.0, 4.0]))
    assert scale.transform(np.zeros(1)) == pytest.approx(norm.ppf([0.3]))
    assert scale.inverse_transform(norm.ppf([0.1, 0.3, 0.54])).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", SCALES)
def test_rows_that_miss_every_number_of_a_column_are_valid(scale):
    kinds = {"x": "continuous", "target": "category"}
    _, table = fitted({"x": [1.0, None, 2.0], "target": ["a", "b", "a"]}, kinds, scale=scale)
    rows = table.valid(torch.tensor([[0.3, 0.9, 1.0, 0.0], [-0.2, 0.8, 0.4, 0.6]]))
    assert rows.tolist() == [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]


@pytest.mark.parametrize("scale", SCALES)
def test_numbers_beyond_the_training_set_are_not_cut_off(scale):
    fitted_scale = fit_scale(scale, np.array([1.0, 2.0, 4.0]))
    beyond = np.array([[-7.0], [0.5], [5.0], [40.0]])
    assert fitted_scale.inverse_transform(fitted_scale.transform(beyond)) == pytest.approx(beyond)


def test_a_column_of_one_value_comes_back():
    frame, table = fitted({"x": [2.5] * 5}, {"x": "continuous"}, target="x")
    assert table.decode(table.encode(frame)).x.tolist() == [2.5] * 5


def test_a_number_has_a_value_and_an_indicator_where_any_is_missing_and_a_category_one_place_more():
    frame = {"x": [1.0, None, 2.0], "colour": ["red", "blue", None], "target": ["a", "b", "a"]}
    _, table = fitted(frame, {"x": "continuous", "colour": "category", "target": "category"})
    assert list(table.blocks()) == [("number", 0, 1), ("flag", 1, 2), ("choice", 2, 5), ("choice", 5, 7)]
    assert [column.may_be_missing for column in table.columns] == [True, True, False]


def test_a_missing_number_is_encoded_as_nothing_but_its_indicator():
    frame, table = fitted({"x": [1.0, None, 2.0], "target": ["a", "b", "a"]}, {"x": "continuous", "target": "category"})
    assert table.encode(frame)[1].tolist() == [0.0, 1.0, 0.0, 1.0]


def test_the_valid_domain_is_that_of_the_training_rows():
    frame = typed(pd.DataFrame({"x": [1.0, 2.0, 99.0]}), {"x": "continuous"})
    table = fit_table(frame, train=np.array([0, 1]), kinds={"x": "continuous"}, target="x", scale="quantile")
    assert (table.columns[0].minimum, table.columns[0].maximum) == (1.0, 2.0)


def test_classes_are_the_targets_categories_in_order():
    frame, table = fitted({"target": ["well", "ill", "well"]}, {"target": "category"})
    assert table.class_names == ("ill", "well")
    assert table.classes(table.encode(frame)).tolist() == [1, 0, 1]


def test_classes_of_a_target_of_numbers_are_told_apart_by_the_threshold():
    frame, table = fitted({"target": [0, 3, 1, 4]}, {"target": "count"}, threshold=2.0)
    assert table.class_names == ("at most 2", "above 2")
    assert table.classes(table.encode(frame)).tolist() == [0, 1, 0, 1]


def test_a_target_of_numbers_without_a_threshold_has_no_classes():
    frame, table = fitted({"target": [0, 3, 1, 4]}, {"target": "count"})
    assert table.classes(table.encode(frame)) is None
    assert table.class_names == ()


def test_rows_given_other_classes_differ_in_their_target_only():
    frame, table = fitted({"x": [1.0, 2.0], "target": ["a", "b"]}, {"x": "continuous", "target": "category"})
    changed = table.with_classes(table.encode(frame), torch.tensor([1, 1]))
    assert table.decode(changed).target.tolist() == ["b", "b"]
    assert torch.equal(changed[:, :1], table.encode(frame)[:, :1])


def test_true_and_false_and_whole_numbers_are_named_alike_with_and_without_missing_ones():
    assert typed(pd.DataFrame({"x": [0.0, 1.0, None]}), {"x": "category"}).x.tolist() == ["0", "1", None]
    assert typed(pd.DataFrame({"x": [0, 1]}), {"x": "category"}).x.tolist() == ["0", "1"]


def test_numbers_that_stand_for_one_value_are_made_the_same():
    _, table = fitted({"x": [0.0] * 6 + [1.0, 2.0, 3.0, 4.0]}, {"x": "continuous"}, target="x")
    values = torch.tensor([[-1.2], [-0.5], [0.0]])
    assert table.valid(values).unique().tolist() == pytest.approx([norm.ppf(0.3)])


@settings(deadline=None, max_examples=40)
@CASES
def test_making_valid_changes_no_row_that_is_read(frame, num_train, scale, seed):
    _, table = table_of(frame, num_train, scale)
    values = random_vectors(table, seed)
    valid, expected = table.decode(table.valid(values)), table.decode(values)
    pd.testing.assert_frame_equal(valid, expected, rtol=1e-4, atol=1e-4 * (expected["size"].abs().max() or 1.0))
