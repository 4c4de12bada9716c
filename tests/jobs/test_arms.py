"""A multirun of arms: a list of overrides, each with every seed; and levers that do not go together are refused."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from collapsar.config import composition
from collapsar.config.choices import check_levers, composed_levers
from collapsar.foundations.errors import UsageError
from collapsar.jobs.multirun import arm_jobs, count_jobs, is_grid

ARMS_SWEEPER = "hydra_plugins.collapsar_arms.ArmsSweeper"
ARMS = ["", "lever=[gradient_clipping]", "regime=mix regime.real_fraction=0.1"]
QUICK = ("num_generations=1", "name=study", "tracking=none", "evaluation.metrics=[support]")


def jobs(*typed, arms=ARMS, params=("seed=0,1",)):
    return arm_jobs(arms, params=params, typed=typed)


def test_every_arm_has_every_seed():
    assert len(jobs()) == 3 * 2
    assert ["seed=1", "regime=mix", "regime.real_fraction=0.1"] in jobs()


def test_every_arm_has_its_first_seed_before_any_has_its_second():
    assert [job[0] for job in jobs()] == ["seed=0"] * 3 + ["seed=1"] * 3


def test_what_is_typed_comes_last_and_wins():
    assert ["seed=7", "regime=mix", "regime.real_fraction=0.5"] in jobs("seed=7", "regime.real_fraction=0.5")


def test_what_an_arm_sweeps_is_swept():
    assert len(jobs(arms=["", "regime=mix regime.real_fraction=0.1,0.3"])) == (1 + 2) * 2


def test_arms_that_what_is_typed_makes_the_same_are_one_job():
    assert jobs("lever=[]", arms=["lever=[a]", "lever=[b]"], params=()) == [["lever=[]"]]


def test_a_lone_baseline_is_a_job():
    assert jobs(arms=[""], params=()) == [[]]


def test_a_comparison_without_arms_is_refused():
    with pytest.raises(UsageError, match=r"hydra.sweeper.arms must name at least one arm"):
        jobs(arms=[])


def config_of(typed):
    sweeper = {"_target_": ARMS_SWEEPER, "arms": ARMS, "params": {"seed": "0,1,2"}}
    return OmegaConf.create({"hydra": {"sweeper": sweeper, "overrides": {"task": typed}}})


@pytest.mark.parametrize(("typed", "num_jobs"), [([], 9), (["seed=4"], 3), (["model=vae,gan"], 18)])
def test_jobs_of_arms_are_counted(typed, num_jobs):
    assert count_jobs(config_of(typed)) == num_jobs


def test_arms_are_a_grid_whose_errors_are_ours_to_tell():
    assert is_grid(config_of([]).hydra)


def test_arms_of_the_command_line_are_run_with_the_command_lines_seeds(tiny, collapsar):
    code, _ = collapsar("-m", "hydra/sweeper=arms", f"hydra.sweeper.arms={ARMS[:2]}", "seed=3,4", *tiny, *QUICK)
    assert code == 0
    seeds = sorted(folder.name.split("_")[-2] for folder in Path("outputs/study").glob("digits_vae_replace_*"))
    assert seeds == ["seed3", "seed3", "seed4", "seed4"]


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ("lever=[gradient_cliping]", "gradient_cliping"),
        ("regime=mixed", "mixed"),
        ("regime=mix regime.real_fracton=0.1", "real_fracton"),
        ("regime=[", "regime=["),
    ],
)
def test_a_mistyped_arm_is_one_line_before_any_job_trains(arm, told, tiny, collapsar):
    code, error = collapsar("-m", "hydra/sweeper=arms", f"hydra.sweeper.arms=['','{arm}']", *tiny, *QUICK)
    assert code == 2
    assert told in error
    assert [line for line in error.splitlines() if line.startswith("collapsar: ")] == error.splitlines()
    assert not list(Path("outputs/study").glob("digits*"))


def test_a_mistyped_value_of_a_sweep_is_one_line_before_any_job_trains(tiny, collapsar):
    code, error = collapsar(
        "-m", "hydra/sweeper=arms", "hydra.sweeper.arms=['','bias=none']", "seed=0,x", *tiny, *QUICK
    )
    assert (code, error.count("\n")) == (2, 1)
    assert "'x'" in error
    assert not list(Path("outputs/study").glob("digits*"))


def test_two_levers_that_set_one_key_are_refused_with_both_and_the_key():
    levers = {"ema": {"training.average": 0.9}, "other": {"training.average": 0.99}}
    with pytest.raises(UsageError, match=r"levers ema and other both set training.average, to 0.9 and 0.99"):
        check_levers(levers)


@pytest.mark.parametrize(
    "levers",
    [{}, {"a": {"x": 1}}, {"a": {"x": 1}, "b": {"y": 1}}, {"a": {"x.y": 1, "z": 0}, "b": {"x.y": 1}}],
    ids=str,
)
def test_levers_that_agree_combine(levers):
    check_levers(levers)


@pytest.fixture
def own_conf(tmp_path):
    """`--config-dir` with levers that clash, one that is made from another, and experiments that choose them."""
    for name, text in {
        "lever/gentle": "training:\n  gradient_clip_norm: 0.1\n",
        "lever/gentle_and_slow": "defaults:\n  - gentle\ntraining:\n  warmup_fraction: 0.5\n",
        "experiment/clash": "defaults:\n  - override /lever: [gradient_clipping, gentle]\n",
    }.items():
        path = tmp_path / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# @package _global_\n{text}")
    return tmp_path / "conf"


@pytest.mark.parametrize(
    "chosen", ["experiment=clash", "lever=[gradient_clipping,gentle]", "lever=[gradient_clipping,gentle_and_slow]"]
)
def test_levers_that_clash_are_refused_wherever_they_were_chosen(chosen, own_conf, tiny, collapsar):
    code, error = collapsar("--config-dir", str(own_conf), chosen, *tiny, *QUICK)
    assert code == 2
    assert error.startswith("collapsar: levers gradient_clipping and gentle")
    assert "both set training.gradient_clip_norm, to 1.0 and 0.1: choose one of them" in error


def test_a_lever_that_is_made_from_another_sets_what_that_one_does(own_conf):
    composition.register()
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        found = composed_levers("config", [f"hydra.searchpath=[file://{own_conf}]", "lever=[gentle_and_slow]"])
    assert set(found) == {"gentle_and_slow"}
    assert {key for key in found["gentle_and_slow"] if key.startswith("training.")} == {
        "training.gradient_clip_norm",
        "training.warmup_fraction",
    }
