"""The objective is a number of the last generation or of the profile, and nothing else."""

from dataclasses import replace
from math import inf

import pytest

from collapsar.foundations.errors import UsageError
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.objective import (
    PROFILE_NUMBERS,
    Measured,
    check_objective,
    numbers_of,
    read_objective,
)
from collapsar.journal.profile import profile_chain

FIRST = GenerationRecord(
    generation=0,
    seed=0,
    data="digits",
    model="vae",
    regime="replace",
    pool={},
    num_evaluated=1,
    num_real=1,
    metrics={"recall": 0.8, "fid": 1.0, "pca/recall": 0.5, "recall_floor": 0.9},
    seconds={},
)
LAST = replace(FIRST, generation=1, metrics={"recall": 0.2, "fid": 3, "pca/recall": 0.4, "recall_floor": 0.9})


def read(objective, *records):
    return read_objective(objective, records=records, profile=profile_chain(records).to_dict())


@pytest.mark.parametrize("objective", [None, "final/recall", "final/pca/recall", "profile/x", ["final/a", "profile/b"]])
def test_what_names_numbers_is_allowed(objective):
    check_objective(objective)


@pytest.mark.parametrize("objective", ["recall", "final/", "", "last/recall", 3, [], ["final/recall", "fid"], [[]]])
def test_what_names_no_number_is_refused(objective):
    with pytest.raises(UsageError, match="objective must be null, final/KEY for a metric"):
        check_objective(objective)


def test_a_metric_is_the_last_generations():
    assert read("final/recall", FIRST, LAST) == 0.2
    assert read("final/pca/recall", FIRST, LAST) == 0.4


def test_numbers_are_floats_and_a_list_gives_as_many():
    assert read(["final/fid", "final/recall"], FIRST, LAST) == (3.0, 0.2)
    assert type(read("final/fid", FIRST, LAST)) is float


def test_a_half_life_is_a_number_of_generations_and_infinite_where_recall_was_kept():
    assert 0 < read("profile/recall_half_life", FIRST, LAST) <= 1
    assert read("profile/recall_half_life", FIRST) == inf


def test_a_chain_that_is_dead_from_the_start_has_the_worst_half_life():
    dead = [replace(record, metrics={"recall": 0.0}) for record in (FIRST, LAST)]
    assert read("profile/recall_half_life", *dead) == 0.0


@pytest.mark.parametrize(("synthetic", "generation"), [([1.0, 0.0, 0.0], 0.0), ([0.5, 0.5, 0.0], inf)])
def test_a_chain_that_begins_with_one_class_is_not_the_best_for_never_losing_it(synthetic, generation):
    shares = {"real": [0.4, 0.3, 0.3], "synthetic": synthetic}
    records = [replace(one, metrics={"classes_dropped": 1.0}, class_shares=shares) for one in (FIRST, LAST)]
    assert read("profile/first_dead_generation", *records) == generation


def test_a_chain_that_the_alarm_stopped_counts_with_the_generations_that_it_lasted():
    records = [FIRST, replace(FIRST, generation=1)]
    profile = profile_chain(records, ending="stopped").to_dict()
    assert read_objective("profile/recall_half_life", records=records, profile=profile) == 1.0


def test_what_was_not_measured_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match="objective=final/recal was not measured: this chain has final/fid") as caught:
        read("final/recal", FIRST, LAST)
    assert "profile/recall_half_life" in str(caught.value)
    assert "recall_floor" not in str(caught.value)
    with pytest.raises(UsageError, match="profile/first_dead_generation was not measured"):
        read("profile/first_dead_generation", FIRST, LAST)


def test_the_numbers_that_an_objective_may_name_are_those_of_a_profile():
    metrics = [{"fid": 2.0**t, "recall": 0.5**t, "trace_ratio": 0.5**t, "classes_dropped": float(t)} for t in range(6)]
    records = [replace(FIRST, generation=t, metrics=own) for t, own in enumerate(metrics)]
    found = numbers_of((), profile=profile_chain(records).to_dict())
    assert list(found) == [f"profile/{key}" for key in PROFILE_NUMBERS]


def test_nothing_is_read_where_nothing_was_asked_for():
    assert read(None, FIRST) is None


@pytest.mark.parametrize(
    ("objective", "value"),
    [
        ("final/recall", 0.0),
        ("final/fid", inf),
        ("profile/recall_half_life", 0.0),
        (["final/recall", "final/fid"], (0.0, inf)),
    ],
)
def test_a_chain_whose_numbers_broke_down_is_worth_the_worst(objective, value):
    broken = profile_chain([], ending="broke down").to_dict()
    assert read_objective(objective, records=(), profile=broken) == value


def test_what_a_breakdown_has_no_worst_value_of_is_no_objective():
    with pytest.raises(UsageError, match="objective=final/pca/trace_ratio was not measured"):
        read_objective("final/pca/trace_ratio", records=(), profile=profile_chain([], ending="broke down").to_dict())


MEASURED = Measured(
    groups=["frechet", "support", "recall_by_class", "classes", "diversity"],
    batch_groups=["frechet"],
    spaces=["pca"],
    has_factors=False,
)


@pytest.mark.parametrize(
    "key",
    [
        *("final/fid", "final/fid_low", "final/fid_floor", "final/pca/recall", "final/recall_class_3"),
        *(
            "final/pca/recall_worst_class",
            "final/classes_dropped",
            "profile/recall_half_life",
            "profile/fid_growth.slope",
        ),
        *("profile/first_dead_generation", "profile/variance_half_life", "profile/num_generations"),
    ],
)
def test_what_a_chain_will_have_is_let_through_before_training(key):
    MEASURED.check(key)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("final/recal", "did you mean final/recall?"),
        ("final/kid", "this chain has final/fid"),
        ("final/recall_low", "did you mean final/recall?"),
        ("final/classifier/recall", "this chain has"),
        ("final/pca/classes_dropped", "this chain has"),
        ("final/recall_rare", "this chain has"),
        ("final/column/age/column_shape", "this chain has"),
        ("profile/recall_half_lif", "did you mean profile/recall_half_life?"),
        ("profile/findings", "this chain has profile/num_generations"),
        ("profile/dead_classes", "this chain has profile/num_generations"),
        (["final/fid", "final/fdi"], "objective=final/fdi is not measured: did you mean final/fid?"),
    ],
)
def test_what_no_chain_will_have_is_refused_before_training(key, meant):
    with pytest.raises(UsageError, match="is not measured") as caught:
        MEASURED.check(key)
    assert meant in str(caught.value)


def test_a_half_life_needs_the_metric_that_shows_it():
    without = replace(MEASURED, groups=["frechet"])
    for key in ("recall_half_life", "first_dead_generation"):
        with pytest.raises(UsageError, match=f"objective=profile/{key} is not measured"):
            without.check(f"profile/{key}")


def test_parts_of_tables_are_measured_where_tables_are():
    of_tables = replace(MEASURED, groups=["table_columns", "table_downstream"])
    of_tables.check(["final/column/age/column_shape", "final/group/male/downstream_auc", "final/downstream_auc_linear"])


def test_an_objective_may_be_of_a_metric_that_a_stranger_added():
    replace(MEASURED, groups=["frechet", "my_own"]).check("final/my_own_distance")
