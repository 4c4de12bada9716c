"""A multirun knows how many jobs it has, and whether its sweeper looks for the best one."""

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

from collapsar.jobs.multirun import count_jobs, is_optimised, job_number

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def sweep(overrides, *, params=None, sweeper=BASIC):
    node = {"sweeper": {"_target_": sweeper, "params": params}, "overrides": {"task": overrides}}
    return OmegaConf.create({"hydra": node})


def job(number, **sweeper):
    return OmegaConf.create({"mode": RunMode.MULTIRUN, "job": {"num": number}, "sweeper": sweeper})


@pytest.mark.parametrize(
    ("overrides", "params", "num_jobs"),
    [
        (["seed=0,1,2", "regime=replace,accumulate"], None, 6),
        (["seed=range(0,4)"], None, 4),
        (["tracking.tags=[a,b]"], None, 1),
        (["seed=0,1"], {"regime": "replace,accumulate", "lever": "[],[a],[a,b]"}, 12),
        (["seed=0,1"], {"seed": "0,1,2"}, 2),
        (["seed=5"], {"seed": "0,1,2"}, 1),
        ([], None, 1),
    ],
)
def test_the_jobs_of_a_multirun_are_counted_as_hydra_makes_them(overrides, params, num_jobs):
    assert count_jobs(sweep(overrides, params=params)) == num_jobs
    typed = [*(f"{key}={value}" for key, value in (params or {}).items()), *overrides]
    batches = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(typed), max_batch_size=None)
    assert sum(map(len, batches)) == num_jobs


def test_jobs_of_an_unknown_sweeper_are_not_counted():
    assert count_jobs(sweep(["seed=interval(0,1)"], sweeper="hydra_plugins.Other")) == 0


def test_a_job_says_how_many_are_left(monkeypatch):
    monkeypatch.setenv("COLLAPSAR_NUM_JOBS", "4")
    assert job_number(job(1)) == "job 2 of 4, 2 left"
    monkeypatch.delenv("COLLAPSAR_NUM_JOBS")
    assert job_number(job(1)) == "job 2"
    assert job_number(OmegaConf.create({"mode": RunMode.RUN})) == ""


def test_a_sweeper_that_optimises_is_known_by_its_settings():
    assert is_optimised(job(0, direction="maximize"))  # Optuna
    assert is_optimised(job(0, at_least=0.5))  # the bisection
    assert not is_optimised(job(0, params=None, max_batch_size=None))
    assert not is_optimised(OmegaConf.create({"mode": RunMode.RUN, "sweeper": {"direction": "maximize"}}))
