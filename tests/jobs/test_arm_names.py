"""Arms have one name each, made of what was chosen: in folders, on the terminal, in W&B, on the page and in exports."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir

from collapsar.config import composition
from collapsar.config.choices import SHARED_VARIABLE
from collapsar.foundations.chosen import CHOICES, Chosen, chosen_in, in_folder_name, read_chosen, told_apart
from collapsar.jobs.multirun import arm_jobs
from collapsar.report.__main__ import main as report
from collapsar.report.page import write_report
from wandb_files import read_wandb_file

ONE = "num_generations=1"
DIGEST = re.compile(r"[0-9a-f]{8}$")


@pytest.fixture
def run(collapsar, tiny):
    """`run("seed=1")` runs the command with tiny settings."""
    return lambda *overrides: collapsar(*tiny, ONE, *overrides)


@pytest.fixture
def run_untracked(run):
    return lambda *overrides: run("tracking=none", *overrides)


def runs(study="study"):
    return sorted(Path("outputs", study).glob(composition.RUNS))


def arms(study="study"):
    return [read_chosen(folder).arm for folder in runs(study)]


def composed(*overrides):
    composition.register()
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=True)


def preset_jobs(preset):
    sweeper = composed(f"experiment={preset}").hydra.sweeper
    return arm_jobs(list(sweeper.arms), params=["seed=0"], typed=[f"experiment={preset}"])


def test_the_29_arms_of_a_comparison_have_29_names_and_folders_without_a_digest(monkeypatch):
    preset = "what_prevents_collapse"
    monkeypatch.setenv(SHARED_VARIABLE, json.dumps([f"experiment={preset}"]))
    configs = [composed("hydra.mode=MULTIRUN", *job) for job in preset_jobs(preset)]
    names = [composition.chosen_arm(config, beside=()).arm for config in configs]
    assert len(set(names)) == len(names) == 29
    assert {"replace", "accumulate", "replace, lever=early_stopping", "mix, regime.real_fraction=0.1"} < set(names)
    assert not any(map(DIGEST.search, names))
    parts = [DIGEST.sub("", composition.chain_name(_root_=config)) for config in configs]
    assert len(set(parts)) == 29
    assert "digits_vae_replace_lever-early_stopping_seed0_" in parts


@pytest.mark.slow
def test_every_arm_of_a_comparison_has_its_name_everywhere(run):
    code, stderr = run("experiment=what_prevents_collapse", "seed=0", "data.num_train=1000")  # as many as anchors
    assert code == 0, stderr[-2000:]
    check_names_everywhere("what_prevents_collapse", num_arms=29)


def test_an_arm_of_a_multirun_has_its_name_everywhere(run):
    code, stderr = run("-m", "regime=mix", "regime.real_fraction=0.1,0.5", "lever=[gradient_clipping,ema]")
    assert code == 0
    assert arms() == ["mix, regime.real_fraction=0.1", "mix, regime.real_fraction=0.5"]
    assert "regime.real_fraction" in stderr  # each chain's own table
    check_names_everywhere("study", num_arms=2)


def run_of(path):
    """The run in a .wandb file."""
    return next(record["run"] for record in read_wandb_file(path) if record["type"] == "run")


def check_names_everywhere(study, *, num_arms):
    folders, names = runs(study), arms(study)
    assert len(set(names)) == len(names) == num_arms
    page = write_report([Path("outputs", study)], Path("page.html")).read_text()
    assert report([str(Path("outputs", study)), "--csv", "all.csv"]) == 0
    assert set(pd.read_csv("all.csv")["arm"]) == set(names)
    for folder, name in zip(folders, names, strict=True):
        assert folder.name.startswith(f"digits_vae_{in_folder_name(name, without=())}_seed0_")
        assert name in page
        (tracked,) = folder.glob("wandb/offline-run-*/*.wandb")
        logged = run_of(tracked)
        assert (logged["display_name"], logged["job_type"]) == (f"{name}, seed 0", name)
        assert name[:64] in logged["tags"]
        assert logged["config"]["update"]["arm"] == name
        assert logged["config"]["update"]["choices"]["regime"] == name.split(", ")[0]


def test_what_was_chosen_is_stored_with_the_chain_lists_too(run_untracked):
    assert run_untracked("lever=[gradient_clipping,ema]", "model.beta=2")[0] == 0
    (chosen,) = chosen_in(runs())
    assert chosen.arm == "replace, lever=gradient_clipping+ema, model.beta=2"
    assert {"data", "model", "regime", "size", "evaluation"} <= chosen.choices.keys()
    assert (chosen.choices["lever"], chosen.choices["model.beta"]) == ("gradient_clipping+ema", 2)
    assert chosen.choices["evaluation"] == "quick"
    assert not {"seed", "tracking", "num_generations", "hydra/launcher"} & chosen.choices.keys()


def test_a_folder_that_an_earlier_version_named_is_continued_by_the_same_command(run_untracked):
    command = ("lever=[gradient_clipping]",)
    assert run_untracked(*command)[0] == 0
    (folder,) = runs()
    earlier = folder.rename(folder.with_name(folder.name.replace("_lever-gradient_clipping", "")))
    (earlier / CHOICES).unlink()
    assert run_untracked("num_generations=2", *command)[0] == 0
    assert runs() == [earlier]
    assert len((earlier / "records.jsonl").read_text().splitlines()) == 2
    assert arms() == ["replace, lever=gradient_clipping"]


def test_an_arm_keeps_its_name_whatever_is_typed_for_another_seed(run_untracked):
    assert run_untracked("seed=0")[0] == run_untracked("seed=1", "model=vae", "lever=[]")[0] == 0
    assert arms() == ["replace", "replace"]


def test_two_arms_of_a_study_never_share_a_name(run_untracked):
    multirun = ("-m", "lever=[],[ema]", "hydra/launcher=basic")
    for command in (["trainer.max_steps=4"], ["trainer.max_steps=3"], [*multirun, "model.beta=2"]):
        assert run_untracked(*command)[0] == 0
    assert sorted(arms()) == [
        "replace",
        "replace, lever=ema",
        "replace, lever=none",
        "replace, trainer.max_steps=3",
    ]
    assert run_untracked(*multirun, "model.beta=1")[0] == 0
    assert {"replace, lever=ema, model.beta=1", "replace, lever=none, model.beta=1"} < set(arms())


def test_an_arm_alone_is_named_by_all_that_was_chosen_for_it_however_many_seeds_it_has(run_untracked):
    assert run_untracked("-m", "seed=0,1", "lever=[ema]")[0] == 0
    assert arms() == ["replace, lever=ema"] * 2
    assert [folder.name[:-9] for folder in runs()] == [f"digits_vae_replace_lever-ema_seed{seed}" for seed in (0, 1)]


def chosen(arm="replace", settings="a", **choices):
    return Chosen(arm=arm, choices=choices, settings=settings)


def test_arms_that_differ_in_no_choice_are_numbered():
    known = [chosen(), chosen("replace (2)", "b")]
    assert told_apart(chosen(settings="c"), known, settings={}).arm == "replace (3)"


def test_what_another_arm_chose_is_told_by_the_value_that_this_one_has():
    found = told_apart(chosen(settings="b"), [chosen(**{"model.beta": 2})], settings={"model.beta": 1.0})
    assert found.arm == "replace, model.beta=1.0"


@pytest.mark.parametrize(
    ("arm", "part"),
    [
        ("replace", ""),
        ("gan, replace, lever=sgd+ema", "lever-sgd-ema"),
        ("replace, data.path=/a b/ü.csv", "data.path-a-b-.csv"),
        ("replace, " + "x" * 200, "x" * 60),
    ],
)
def test_an_arm_in_the_name_of_a_folder_is_short_and_safe(arm, part):
    assert in_folder_name(arm, without=["digits", "gan", "replace"]) == part
