"""Jobs side by side never have more threads than there are cores, and take the visible GPUs in turn."""

import pytest

from collapsar.foundations.errors import UsageError
from collapsar.jobs import processes
from collapsar.jobs.processes import Share, count_cores, shares_here, visible_gpus


@pytest.fixture
def shares_of(monkeypatch):
    """`shares_of(5, n_jobs=2, num_cores=8)`: the shares of jobs on a machine with these cores and GPUs."""

    def call(num_jobs, *, n_jobs, num_cores, gpus=(), jobs_per_gpu=1, most_threads=None):
        monkeypatch.setattr(processes, "count_cores", lambda: num_cores)
        monkeypatch.setattr(processes, "visible_gpus", lambda: list(gpus))
        monkeypatch.setenv("OMP_NUM_THREADS", str(most_threads or ""))
        return shares_here(num_jobs, n_jobs=n_jobs, jobs_per_gpu=jobs_per_gpu)

    return call


@pytest.fixture
def slots(shares_of):
    """The shares of as many jobs at once as there are."""
    return lambda num_slots, **machine: shares_of(num_slots, n_jobs=num_slots, **machine)


@pytest.mark.parametrize(("num_slots", "num_cores", "threads"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (9, 8, 1)])
def test_cores_are_divided_among_the_jobs(num_slots, num_cores, threads, slots):
    assert slots(num_slots, num_cores=num_cores) == [Share(threads=threads)] * num_slots


def test_gpus_are_given_in_turn(slots):
    assert [share.gpu for share in slots(5, num_cores=8, gpus=["0", "3"])] == ["0", "3", "0", "3", "0"]


def test_without_a_gpu_none_is_given(slots):
    assert slots(2, num_cores=2)[1].environment() == dict.fromkeys(processes.THREADS, "1")


def test_a_job_is_told_of_its_gpu_by_the_environment():
    assert Share(threads=2, gpu="GPU-7").environment()["CUDA_VISIBLE_DEVICES"] == "GPU-7"


def test_the_gpu_that_a_cluster_chooses_is_left_to_it():
    assert Share(threads=2).environment() == dict.fromkeys(processes.THREADS, "2")


@pytest.mark.parametrize(
    ("wanted", "gpus", "jobs_per_gpu", "num_slots"),
    [
        (None, [], 1, 16),  # a job a core
        (None, ["0", "1"], 1, 2),  # a job a GPU
        (None, ["0", "1"], 4, 8),
        (3, ["0", "1"], 4, 3),
        (200, [], 1, 100),  # no more places than jobs
    ],
)
def test_a_machine_is_filled_unless_a_number_is_asked_for(wanted, gpus, jobs_per_gpu, num_slots, shares_of):
    found = shares_of(100, n_jobs=wanted, num_cores=16, gpus=gpus, jobs_per_gpu=jobs_per_gpu)
    assert len(found) == num_slots


@pytest.mark.parametrize(("wanted", "jobs_per_gpu", "key"), [(0, 1, "n_jobs"), (None, 0, "jobs_per_gpu")])
def test_no_place_at_all_is_refused_by_the_name_of_the_setting(wanted, jobs_per_gpu, key, shares_of):
    with pytest.raises(UsageError, match=rf"hydra.launcher.{key} must be above 0: got 0"):
        shares_of(2, n_jobs=wanted, num_cores=2, gpus=[], jobs_per_gpu=jobs_per_gpu)


@pytest.mark.parametrize(
    ("visible", "gpus"), [("0,2", ["0", "2"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("", []), ("-1", [])]
)
def test_jobs_get_no_gpu_that_the_command_does_not_see(visible, gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == gpus


def driver(folder, monkeypatch, script):
    """A driver that answers like this."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_where_nothing_is_said_of_gpus_the_driver_is_asked(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, "echo GPU-1; echo GPU-2")
    assert visible_gpus() == ["GPU-1", "GPU-2"]


def test_a_driver_that_does_not_answer_is_told_of(tmp_path, monkeypatch):
    driver(tmp_path, monkeypatch, "echo no devices; exit 9")
    with pytest.raises(UsageError, match=r"\(no devices\): set CUDA_VISIBLE_DEVICES"):
        visible_gpus()


def test_no_more_cores_are_counted_than_slurm_gave(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    here = count_cores()
    for given, counted in (("1", 1), ("100000", here)):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
        assert count_cores() == counted


def test_a_limit_of_threads_is_kept(slots):
    assert slots(1, num_cores=8, most_threads=2) == [Share(threads=2)]
    assert slots(8, num_cores=8, most_threads=2)[0] == Share(threads=1)
