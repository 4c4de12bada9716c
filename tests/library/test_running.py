"""Chains from Python: the command in this process."""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collapsar.foundations.errors import UsageError
from collapsar.library.composing import run


@pytest.fixture
def run_tiny(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *overrides, **settings: run([*tiny, "tracking=none", "model.width=4", *overrides], **settings)


def test_a_chain_gives_a_row_for_each_generation(run_tiny):
    table = run_tiny(num_generations=2, model={"latent_dim": 3})
    folder = Path(table.attrs["folder"])
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert table["generation"].tolist() == [0, 1]
    assert table["fid"].tolist() == [line["metrics"]["fid"] for line in lines]
    assert (table.loc[0, "data"], table.loc[0, "model"], table.loc[0, "seed"]) == ("digits", "vae", 0)
    assert table.attrs["failures"] == []


def test_a_second_call_continues_the_chain(run_tiny):
    first = run_tiny("num_generations=1")
    records = Path(first.attrs["folder"], "records.jsonl")
    line = records.read_text()
    second = run_tiny("num_generations=2")
    assert second.attrs["folder"] == first.attrs["folder"]
    assert records.read_text().startswith(line)
    assert len(second) == 2


def test_a_multirun_gives_the_rows_of_its_own_chains_only(run_tiny):
    run_tiny("num_generations=1", seed=7)
    table = run_tiny("num_generations=1", "seed=0,1", is_multirun=True)
    assert table["seed"].tolist() == [0, 1]
    assert Path(table.attrs["folder"]).name == "study"


def test_keyword_arguments_sweep_too(run_tiny):
    assert run_tiny(num_generations=1, seed="0,1", is_multirun=True)["seed"].tolist() == [0, 1]


def test_jobs_in_other_processes_give_their_rows(run_tiny):
    table = run_tiny("num_generations=1", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "-m")
    assert table["seed"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("overrides", "settings", "text"),
    [
        (["modell=vae"], {}, "did you mean model?"),
        (["num_generations"], {}, "an override is KEY=VALUE"),
        (["=1"], {}, "cannot read =1: an override is KEY=VALUE"),
        (["data=5"], {}, "a group, such as model, takes one name"),
        ([], {"seed": np.array([1, 2])}, "seed: Value '.1, 2.' of type 'list' could not be converted to Integer"),
        (["bias=scaled_latents", "bias.spread=[1]"], {}, "bias.spread has a wrong value.*should be a valid number"),
        (["selection=discriminated", "selection.kept_fraction=1e-320"], {}, "or choose a selection that draws fewer"),
        (["selection=farthest", "selection.kept_fraction=1e-320"], {}, "or choose a selection that draws fewer"),
        (["selection=curated", "selection.num_choices=99999999"], {}, "the samples of a generation would take .* GB"),
        (["--no-such-option"], {}, "there is no option --no-such-option"),
        ([], {"nam": "x"}, "nam is not an option: did you mean name?"),
        ([], {"seed": -1}, "seed must be at least 0: got -1"),
        (["seed=0,-1"], {"is_multirun": True, "num_generations": 1}, "seed must be at least 0: got -1"),
    ],
)
def test_a_mistake_raises_a_usage_error(run_tiny, overrides, settings, text):
    with pytest.raises(UsageError, match=text):
        run_tiny(*overrides, **settings)


def test_a_chain_that_breaks_down_warns_and_keeps_its_records(run_tiny):
    breaking = ("num_generations=2", "model.learning_rate=1e30", "seed=0")
    with pytest.raises(UsageError, match="generation 0"):
        run_tiny(*breaking)


def test_arms_that_broke_down_leave_the_others(run_tiny):
    with pytest.warns(UserWarning, match="generation 0"):
        table = run_tiny("num_generations=1", "model.learning_rate=0.001,1e30", is_multirun=True)
    assert len(table) == 1
    assert "generation 0" in table.attrs["failures"][0]


def test_a_dry_run_trains_nothing(run_tiny):
    table = run_tiny("dry_run=true")
    assert isinstance(table, pd.DataFrame)
    assert table.empty


def test_the_caller_keeps_its_arguments_logging_and_environment(run_tiny):
    before = (sys.argv, logging.getLogger().handlers[:], logging.getLogger().level, dict(os.environ))
    run_tiny("dry_run=true")
    assert (sys.argv, logging.getLogger().handlers[:], logging.getLogger().level, dict(os.environ)) == before
