"""What is told of the jobs that failed."""

from pathlib import Path

from omegaconf import OmegaConf

from collapsar.jobs.failures import Outcome, command_of, lines


def failed(number, reason):
    return Outcome(number=number, reason=reason, exit_code=1, command=f"collapsar seed={number}")


def test_each_failed_job_is_named_below_its_reason_with_the_command_that_repeats_it():
    assert list(lines([failed(1, "no disk"), failed(3, "nan"), failed(4, "no disk")], num_jobs=5)) == [
        "collapsar: no disk",
        "  job 1 failed; repeat it with: collapsar seed=1",
        "  job 4 failed; repeat it with: collapsar seed=4",
        "collapsar: nan",
        "  job 3 failed; repeat it with: collapsar seed=3",
    ]


def test_a_reason_that_all_jobs_share_is_told_once():
    assert list(lines([failed(1, "wrong"), failed(2, "wrong")], num_jobs=2)) == ["collapsar: wrong"]


def test_a_single_chain_has_a_reason_only():
    assert list(lines([Outcome(reason="wrong", exit_code=2)], num_jobs=0)) == ["collapsar: wrong"]


def test_the_command_can_be_pasted_into_a_shell():
    command = command_of(hydra_config(task=["seed=1", "lever=[ema,cosine]"]), folder=Path("run"))
    assert command == "collapsar --config-dir /my/conf seed=1 'lever=[ema,cosine]'"


def hydra_config(*typed, task=("seed=1",)):
    sources = [{"provider": "main", "path": "/conf"}, {"provider": "command-line", "path": "/my/conf"}]
    overrides = {"task": list(task), "hydra": list(typed)}
    return OmegaConf.create({"runtime": {"config_sources": sources}, "overrides": overrides})


def test_conf_of_the_users_own_is_part_of_the_command():
    command = command_of(hydra_config("hydra/launcher=joblib"), folder=Path("outputs/study/run"))
    assert command == "collapsar --config-dir /my/conf seed=1"


def test_a_folder_that_was_asked_for_is_part_of_the_command():
    command = command_of(hydra_config("hydra.sweep.dir=/big"), folder=Path("/big/run"))
    assert command.endswith(" seed=1 hydra.run.dir=/big/run")
