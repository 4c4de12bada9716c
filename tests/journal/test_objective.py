"""The objective is a number of the last generation or of the profile, and nothing else."""

from dataclasses import replace
from math import inf

import pytest

from collapsar.errors import UsageError
from collapsar.journal.objective import check_objective, read_objective
from collapsar.journal.profile import profile_chain
from collapsar.records.record import GenerationRecord

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


def test_what_was_not_measured_is_refused_with_what_there_is():
    with pytest.raises(UsageError, match="objective=final/recal was not measured: this chain has final/fid") as caught:
        read("final/recal", FIRST, LAST)
    assert "profile/recall_half_life" in str(caught.value)
    assert "recall_floor" not in str(caught.value)
    with pytest.raises(UsageError, match="profile/first_dead_generation was not measured"):
        read("profile/first_dead_generation", FIRST, LAST)


def test_nothing_is_read_where_nothing_was_asked_for():
    assert read(None, FIRST) is None
