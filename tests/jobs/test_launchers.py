"""Jobs side by side record what they record one after another, and one that fails or dies stops no other."""

import importlib.util
from pathlib import Path

import pytest
from small_job import job_in

from collapsar.jobs import watch
from collapsar.jobs.failures import Outcome
from collapsar.jobs.watch import run_all
from tiny_chains import recorded

LAUNCHERS = {"joblib": "joblib", "submitit_local": "submitit"}
QUICK = ("tracking=none", "num_generations=2", "num_threads=1", "evaluation.metrics=[support]", "seed=0,1")


def needed(launcher, package):
    absent = importlib.util.find_spec(package) is None
    return pytest.param(launcher, marks=pytest.mark.skipif(absent, reason=f"{package} is not installed"))


@pytest.fixture
def run_many(collapsar, tiny):
    """`run_many("name=a")` runs two chains, one after another unless a launcher is chosen."""
    return lambda *overrides: collapsar("-m", *tiny, *QUICK, *overrides)


def folders(name):
    return {path.parent.name: path.parent for path in Path("outputs", name).glob("*/records.jsonl")}


@pytest.fixture(scope="module")
def finished():
    """Exit code, standard error and study folder of what ran side by side, by launcher."""
    return {}


@pytest.fixture
def side_by_side(finished, run_many):
    """`side_by_side("joblib")` runs jobs, two at a time, once for all tests here; a batch of 500 is refused."""

    def call(launcher):
        if launcher not in finished:
            batch_sizes = "32,500" if launcher == "joblib" else "32"
            chosen = (f"hydra/launcher={launcher}", "hydra.launcher.n_jobs=2", f"batch_size={batch_sizes}")
            finished[launcher] = (*run_many("name=side_by_side", *chosen), Path("outputs/side_by_side").resolve())
        return finished[launcher]

    return call


@pytest.mark.parametrize("launcher", [needed(*pair) for pair in LAUNCHERS.items()])
def test_records_are_those_of_jobs_one_after_another(launcher, run_many, side_by_side):
    assert run_many("name=one_by_one")[0] == 0
    *_, study = side_by_side(launcher)
    expected, found = folders("one_by_one"), folders(study)
    assert len(found) == 2
    assert {name: recorded(run) for name, run in found.items()} == {
        name: recorded(run) for name, run in expected.items()
    }


def test_a_job_that_dies_is_named_with_its_reason_and_its_command_and_stops_no_other(run_many, monkeypatch):
    dying = "+hydra.callbacks.dying={_target_:dying_job.Dying,seed:0}"
    code, stderr = run_many("name=study", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", dying)
    assert code == 1
    (name,) = folders("study")
    assert "seed1" in name
    (reason,) = [line for line in stderr.splitlines() if line.startswith("collapsar: ")]
    assert "its process died" in reason
    assert "job.log" in reason
    (command,) = [line for line in stderr.splitlines() if "repeat it with: " in line]
    assert "job 1 failed; repeat it with: collapsar " in command
    assert "seed=0" in command
    assert Path("outputs/study/report.html").exists()


class CountingPlaces:
    """Two places whose jobs run for three glances; notes which folders are in use together."""

    def __init__(self):
        self.running, self.together = [], []

    def start(self, jobs):
        for _, job in jobs:
            self.running.append(job.folder)
        self.together.append(sorted(self.running))
        return [CountingHandle(self, job.folder) for _, job in jobs]


class CountingHandle:
    def __init__(self, places, folder):
        self.places, self.folder, self.num_glances = places, folder, 0

    def done(self):
        self.num_glances += 1
        if self.num_glances == 3:
            self.places.running.remove(self.folder)
        return self.num_glances >= 3

    def result(self):
        return Outcome(objective=self.folder.name)


def test_jobs_of_one_chain_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "GLANCE_SECONDS", 0)
    folders = [tmp_path / name for name in ("a", "a", "b", "a", "b")]
    places = CountingPlaces()
    outcomes = run_all([job_in(folder) for folder in folders], num_places=2, start=places.start)
    assert not places.running
    assert [outcome.objective for outcome in outcomes] == ["a", "a", "b", "a", "b"]
    assert places.together[0] == [tmp_path / "a", tmp_path / "b"]
    assert all(len(set(running)) == len(running) for running in places.together)


def test_lines_of_jobs_side_by_side_go_to_a_log_each(side_by_side):
    code, stderr, study = side_by_side("joblib")
    assert code == 2
    assert "generation 0/1" not in stderr
    logs = {path.parent.name: path.read_text() for path in study.glob("*/job.log")}
    assert len(logs) == 4
    assert all(log.count("generation 0/1") == 1 for name, log in logs.items() if name in folders(study))
    assert stderr.count("collapsar: batch_size must be between 1 and the pool's 200 samples: got 500") == 1
    assert stderr.count("repeat it with: ") == 2


@pytest.mark.parametrize(
    ("launcher", "package", "extra"),
    [("joblib", "joblib", "joblib"), ("submitit_slurm", "submitit", "slurm"), ("ray", "ray", "ray")],
)
def test_a_launcher_whose_package_is_absent_says_how_to_install_it(launcher, package, extra, run_many, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == package else original(name, *of))
    code, stderr = run_many(f"hydra/launcher={launcher}")
    assert code == 2
    assert stderr == (
        f"collapsar: hydra/launcher={launcher} needs {package}: pip install 'collapsar[{extra}]', or choose "
        "hydra/launcher=basic\n"
    )


def test_a_dry_run_is_made_here_and_summed_up(run_many, monkeypatch):
    summed_up = []
    monkeypatch.setattr(
        "collapsar.config.forecast.check_disk", lambda chains, outputs: summed_up.append(len(chains)) or 10**12
    )
    assert run_many("hydra/launcher=joblib", "dry_run=true")[0] == 0
    assert not list(Path("outputs").glob("**/job.log"))
    assert summed_up == [2]
