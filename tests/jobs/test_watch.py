"""The view of jobs that run side by side: one line each, and how long the rest will take."""

import io

import pytest
from rich.console import Console
from small_job import job_in

from collapsar.jobs.watch import MultirunView, Watched, seconds_left


def job(folder, number=1, *, num_generations=4, num_lines=0):
    run = folder / str(number)
    run.mkdir()
    if num_lines:
        (run / "records.jsonl").write_text("{}\n" * num_lines)
    return Watched(job_in(run, number=number, title=f"seed={number}", num_generations=num_generations))


def drawn(jobs, *, height=25):
    console = Console(file=io.StringIO(), width=80, height=height)
    console.print(MultirunView(jobs, console=console).view())
    return console.file.getvalue().splitlines()


def test_a_job_waits_until_its_process_says_something(tmp_path):
    waiting = job(tmp_path)
    view = MultirunView([waiting], console=Console(file=io.StringIO()))
    view.look()
    assert waiting.state == "waiting"
    (waiting.job.folder / "job.log").write_text("hello\n")
    view.look()
    assert waiting.state == "running"


def test_what_an_earlier_run_said_does_not_count(tmp_path):
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "job.log").write_text("long ago\n")
    waiting = Watched(job_in(folder))
    MultirunView([waiting], console=Console(file=io.StringIO())).look()
    assert waiting.state == "waiting"


def test_each_job_has_one_line_and_the_whole_another(tmp_path):
    jobs = [job(tmp_path, number) for number in (1, 2, 3)]
    jobs[0].state, jobs[1].state, jobs[2].state, jobs[2].reason = "done", "running", "failed", "no disk"
    assert drawn(jobs) == [
        "   3 failed  0/4  seed=3: no disk",
        "   2 running 0/4  seed=2",
        "   1 done    0/4  seed=1",
        "1 failed, 1 running, 1 done",
    ]


def test_more_jobs_than_a_terminal_has_lines_are_counted(tmp_path):
    lines = drawn([job(tmp_path, number) for number in range(1, 21)], height=8)
    assert len(lines) == 7
    assert "and 15 more" in lines[5]


def test_a_long_line_is_cut_and_does_not_wrap(tmp_path):
    assert len(drawn([Watched(job_in(tmp_path, title="x" * 200))])) == 2


def test_the_rest_takes_as_long_as_the_part_before(tmp_path):
    jobs = [job(tmp_path, 1), job(tmp_path, 2)]
    jobs[0].num_finished, jobs[0].state = 2, "running"
    assert seconds_left(jobs, elapsed=10.0) == pytest.approx(10.0 * 6 / 2)


def test_generations_of_an_earlier_command_are_not_taken_for_quick_ones(tmp_path):
    continued = job(tmp_path, num_lines=2)
    continued.state = "running"
    assert seconds_left([continued], elapsed=10.0) is None
    (tmp_path / "1" / "records.jsonl").write_text("{}\n" * 3)
    continued.num_finished = continued.count()
    assert seconds_left([continued], elapsed=10.0) == pytest.approx(10.0)


def test_a_failed_job_is_not_waited_for(tmp_path):
    failed = job(tmp_path)
    failed.state = "failed"
    assert seconds_left([failed], elapsed=10.0) == 0.0
