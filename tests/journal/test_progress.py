"""The terminal: a live view where there is one, plain lines anywhere else."""

import io
import logging
import re
from dataclasses import replace

import pytest
from rich.console import Console

from collapsar.foundations.record import GenerationRecord
from collapsar.journal.alarm import Fired
from collapsar.journal.live import live_view
from collapsar.journal.progress import ChainProgress, sparkline
from collapsar.journal.tracking import ChainTitle

ALARM = Fired(generation=1, rule="recall_drops", text="recall falls suddenly, from 0.82 to 0.4")


def record(generation, *, recall, fid, dropped):
    return GenerationRecord(
        generation=generation,
        seed=0,
        data="digits",
        model="vae",
        regime="replace",
        pool={},
        num_evaluated=360,
        num_real=360,
        metrics={"recall": recall, "precision": 0.96, "fid": fid, "classes_dropped": float(dropped)},
        seconds={"train": 2.0},
        class_shares={"real": [0.1] * 10, "synthetic": [0.1] * 10},
    )


def make_progress(console, *, records=()):
    return ChainProgress(
        console,
        title=ChainTitle(
            name="digits_vae", study="s", data="digits", model="vae", regime="replace", num_generations=8, seed=0
        ),
        position="job 2 of 4, 2 left",
        steps_per_generation=450,
        records=records,
    )


def shown(progress, *, width=100):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(progress.view())
    return console.export_text()


@pytest.fixture
def progress():
    """A chain on a terminal, continued in its third generation."""
    progress = make_progress(
        Console(force_terminal=True, file=io.StringIO()), records=[record(0, recall=0.9, fid=9.0, dropped=0)]
    )
    progress.finished(record(1, recall=0.4, fid=18.0, dropped=3))
    return progress


def test_the_view_says_which_chain_which_job_and_where_it_is(progress):
    progress.trained(12, 270)
    text = shown(progress)
    assert "digits_vae  job 2 of 4, 2 left" in text
    assert "generation 2/7, epoch 12, step 270" in text
    assert re.search(r"left \S*:\S*", text)


def test_a_generation_that_another_chain_trained_leaves_the_estimate_to_those_that_are_trained_here():
    progress = make_progress(Console(force_terminal=True, file=io.StringIO()))
    progress.finished(replace(record(0, recall=0.9, fid=9.0, dropped=0), shared_seconds={"train": 14.2}))
    (task,) = progress._bar.tasks
    assert (task.completed, task.total) == (0, 7 * 450)
    progress.trained(1, 100)
    assert (task.completed, task.total) == (100, 7 * 450)


def test_the_view_draws_metrics_of_stored_and_new_generations(progress):
    lines = {line.split("  ")[0]: line.split() for line in shown(progress).splitlines()}
    assert lines["recall"][-2:] == ["0.4", "█▄"]
    assert lines["fid"][-2:] == ["18", "▅█"]
    assert lines["classes alive"][-2:] == ["7", "█▆"]


def test_the_view_shows_the_last_alarm(progress):
    progress.alarmed(ALARM)
    assert str(ALARM) in shown(progress)


def test_the_view_fits_a_narrow_terminal(progress):
    assert max(map(len, shown(progress, width=60).splitlines())) <= 60


def test_on_a_terminal_each_generation_leaves_its_line_above_the_view(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(io.StringIO())])
    terminal = Console(force_terminal=True, file=io.StringIO(), width=200)
    with live_view(terminal, (progress := make_progress(terminal)).view):
        for generation in (6, 7):
            progress.finished(record(generation, recall=0.9, fid=9.0, dropped=0))
    drawn = terminal.file.getvalue()
    assert "generation 6/7: fid 9, precision 0.96, recall 0.9, classes_dropped 0 (2.0 s, about 14 s left)" in drawn
    assert "generation 7/7: fid 9" in drawn


def test_log_lines_stand_above_the_view_and_go_their_own_way_again(monkeypatch):
    terminal = io.StringIO()
    handler = logging.StreamHandler(plain := io.StringIO())
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    console = Console(force_terminal=True, file=terminal)
    with live_view(console, make_progress(console).view):
        logging.getLogger("collapsar").warning("a line [0, 1]")
    assert "a line [0, 1]" in terminal.getvalue()
    assert plain.getvalue() == ""
    logging.getLogger("collapsar").warning("another")
    assert plain.getvalue() == "another\n"
    assert "another" not in terminal.getvalue()


def test_without_a_terminal_a_generation_and_an_alarm_are_a_line_each(caplog):
    caplog.set_level(logging.INFO)
    drawn = io.StringIO()
    console = Console(file=drawn)
    progress = make_progress(console)
    with live_view(console, progress.view):
        progress.trained(1, 20)
        progress.finished(record(0, recall=0.9, fid=9.0, dropped=0))
        progress.alarmed(ALARM)
    assert drawn.getvalue() == ""
    assert [line.getMessage() for line in caplog.records] == [
        "generation 0/7: fid 9, precision 0.96, recall 0.9, classes_dropped 0 (2.0 s, about 14 s left)",
        str(ALARM),
    ]


def test_a_log_file_of_a_multirun_has_no_control_characters(collapsar, tiny, tmp_path):
    code, stderr = collapsar("-m", *tiny, "num_generations=1", "seed=0,1", "tracking=none")
    assert code == 0
    text = collapsar.printed + stderr
    assert "generation 0/0: fid" not in text
    logs = [log.read_text() for log in tmp_path.glob("outputs/study/*/job.log")]
    assert [log.count("generation 0/0: fid") for log in logs] == [1, 1]
    text += "".join(logs)
    assert [character for character in text if ord(character) < 32 and character not in "\n\t"] == []


@pytest.mark.parametrize(
    ("values", "top", "bars"), [([0.0, 0.5, 1.0], 1.0, "▁▅█"), ([9.0, 18.0], 18.0, "▅█"), ([0.0], 0.0, "▁")]
)
def test_a_sparkline_goes_from_nothing_to_the_top(values, top, bars):
    assert sparkline(values, top=top) == bars
