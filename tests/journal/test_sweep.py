"""W&B sweeps: what an agent would call composes, and its run id and parameters are honoured offline."""

import gc
import itertools
import json
import warnings

import pytest
import wandb
import yaml
from test_tracking import every, first, wandb_files
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from collapsar.config.composition import build, config_folder
from tiny_chains import build_and_run, compose_settings

SWEEP = yaml.safe_load((config_folder() / "sweep.yaml").read_text())


def choices():
    """Every choice of the shipped grid, as an agent is given them."""
    values = [entry.get("values", [entry.get("value")]) for entry in SWEEP["parameters"].values()]
    return [dict(zip(SWEEP["parameters"], row, strict=True)) for row in itertools.product(*values)]


def arguments(parameters):
    """The command line that W&B's agent makes of parameters."""
    flags = create_sweep_command_args({"args": {key: {"value": value} for key, value in parameters.items()}})
    assert SWEEP["command"] == ["collapsar", "${args_no_hyphens}"]
    return flags["args_no_hyphens"]


def test_every_run_of_the_shipped_sweep_composes():
    for parameters in choices():
        experiment = build(compose_settings(*arguments(parameters)))
        assert experiment.seed == parameters["seed"]
        assert experiment.name == "mix_sweep"


def test_the_grid_is_three_shares_of_real_data_by_three_seeds():
    assert len(choices()) == 9


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """What an agent sets in the environment of a run, and of no later one in this process."""
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"wandb_version": 1, "seed": {"value": 0}, "model.width": {"value": 32}}))
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    monkeypatch.setenv("WANDB_RUN_ID", "fromagent")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(path))
    wandb.teardown()  # W&B reads the environment once a process
    yield
    wandb.teardown()
    with warnings.catch_warnings(action="ignore"):  # W&B leaves the file of parameters open
        gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the same file
def test_a_run_of_a_sweep_has_the_agents_id_sweep_and_parameters(agent, tiny, tmp_path):
    build_and_run(tmp_path / "run", *tiny, "num_generations=1")
    (path,) = wandb_files(tmp_path / "run")
    run = first(path, "run")
    assert (run["run_id"], run["sweep_id"]) == ("fromagent", "sweep1")
    assert run["config"]["update"]["model.width"] == 32
    assert any("final/recall" in json.dumps(update) for update in every(path, "summary"))
