"""What chains took: each its own seconds, and a training that several share once."""

from dataclasses import replace

import pytest
from planted_runs import write_run

from collapsar.study.arms import group_arms
from collapsar.study.chains import read_chains
from collapsar.study.summaries import cost_of, study_seconds

LOSS = {"steps": 450.0, "loss": 0.25}


@pytest.fixture
def arms_of(tmp_path):
    """`arms_of(replace={...}, accumulate={...})`: arms of a chain of two generations, the first with these parts."""

    def call(**parts):
        for regime in parts:
            write_run(tmp_path / regime, regime=regime, num_generations=2, with_images=False)
        chains = read_chains([tmp_path])
        return group_arms([with_seconds(chain, parts[chain.label]) for chain in chains])

    return call


def with_seconds(chain, parts):
    first, second = chain.records
    first = replace(first, **{"training": LOSS, "seconds": {"train": 14.0, "sample": 1.0}, **parts})
    second = replace(second, training={"steps": 450.0, "loss": 0.5}, seconds={"train": 12.0, "sample": 1.0})
    return replace(chain, records=(first, second))


TAKEN = {"seconds": {"train": 0.1, "sample": 1.0}, "shared_seconds": {"train": 14.0}}


def one_cost(arms, regime):
    (cost,) = (cost_of(arm) for arm in arms if regime in arm.name)
    return cost


def test_a_chain_counts_what_it_spent_itself_and_the_shared_training_stands_apart(arms_of):
    arms = arms_of(replace={}, accumulate=TAKEN)
    owner, taker = (one_cost(arms, regime) for regime in ("replace", "accumulate"))
    assert (owner.chain_seconds, owner.shared_seconds) == (28.0, 0.0)
    assert (taker.chain_seconds, taker.shared_seconds) == (pytest.approx(14.1), 14.0)


def test_a_shared_training_counts_in_its_phase_as_long_as_it_took(arms_of):
    arms = arms_of(replace={}, accumulate=TAKEN)
    assert [cost.phase_seconds for cost in map(cost_of, arms)] == [{"train": 13.0, "sample": 1.0}] * 2


def test_a_study_counts_a_training_once_that_one_of_its_chains_did(arms_of):
    assert study_seconds(arms_of(replace={}, accumulate=TAKEN)) == pytest.approx(28.0 + 14.1)


def test_a_study_counts_a_training_once_though_the_chain_that_did_it_is_not_here(arms_of):
    assert study_seconds(arms_of(replace=TAKEN, accumulate=TAKEN)) == pytest.approx(2 * 14.1 + 14.0)


def test_trainings_that_ended_otherwise_are_not_taken_for_one(arms_of):
    other = {**TAKEN, "training": {"steps": 450.0, "loss": 0.3}}
    assert study_seconds(arms_of(replace=TAKEN, accumulate=other)) == pytest.approx(2 * 14.1 + 2 * 14.0)
