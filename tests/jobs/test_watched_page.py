"""The page of a study that still runs is written again after generations, at little cost, and says so."""

import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
from filelock import FileLock

from collapsar.jobs import multirun
from collapsar.jobs.multirun import WatchedPage
from collapsar.report import page as page_module

NOTICE = "<strong>Not finished:</strong>"


@pytest.fixture
def at_once(monkeypatch):
    """Every page is due at once, however long the last one took."""
    monkeypatch.setattr(multirun, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(multirun, "SHARE", 1e9)


@pytest.fixture
def seen(monkeypatch):
    """What the page says after each generation."""
    texts, original = [], WatchedPage.__call__

    def looking(self):
        original(self)
        texts.append(self.page.read_text().partition(NOTICE)[2].partition(" done at")[0])

    monkeypatch.setattr(WatchedPage, "__call__", looking)
    return texts


def due_at(folder, seconds):
    due = folder / ".report.html.due"
    due.touch()
    os.utime(due, (seconds, seconds))


def left_over(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".report")]


def test_the_page_of_a_chain_follows_it_and_is_whole_at_the_end(at_once, seen, collapsar, tiny):
    assert collapsar(*tiny, "tracking=none", "num_generations=3")[0] == 0
    assert seen == [" 1 generation", " 2 generations", " 3 generations"]
    (folder,) = Path("outputs/study").glob("digits*")
    assert NOTICE not in (folder / "report.html").read_text()
    assert left_over(folder) == []


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_the_page_of_a_study_follows_all_its_chains(launcher, at_once, seen, collapsar, tiny):
    if launcher == "joblib":
        pytest.importorskip("joblib")
    code, _ = collapsar("-m", f"hydra/launcher={launcher}", "seed=0,1", *tiny, "tracking=none")
    assert code == 0
    if launcher == "basic":  # others look in their own processes
        assert seen == [" 0 of 2 chains", " 1 of 2 chains", " 1 of 2 chains", " 2 of 2 chains"]
    page = Path("outputs/study/report.html")
    assert NOTICE not in page.read_text()
    assert left_over(page.parent) == []


@pytest.fixture
def watched(tmp_path, written):
    """A page that was due before the command began, as one is that a kill left."""
    due_at(tmp_path, 0)
    return WatchedPage(tmp_path, num_chains=1)


@pytest.fixture
def written(monkeypatch):
    """When pages were written; each takes a tenth of a second."""
    times = []

    def write(*_, **__):
        times.append(time.time())
        time.sleep(0.1)

    monkeypatch.setattr(page_module, "write_page", write)
    monkeypatch.setattr("collapsar.study.study.read_study", lambda folders: FEW)
    return times


class FEW:
    """A study of one chain without records."""

    class Chain:
        is_open, records = True, ()

    chains = (Chain(),)


def test_a_page_waits_until_writing_takes_a_small_share_of_the_time(watched, written, monkeypatch):
    monkeypatch.setattr(multirun, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(multirun, "SHARE", 0.25)
    start = time.time()
    while time.time() < start + 1.4:
        watched()
        time.sleep(0.01)
    assert 2 <= len(written) <= 4  # at 0, and 0.4 s or more after the end of each
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(written))


def test_a_page_that_was_just_written_by_another_process_waits_too(watched, written, at_once, tmp_path):
    due_at(tmp_path, time.time() + 60)
    watched()
    assert written == []


def test_a_page_that_another_process_writes_is_left_to_it(watched, written, at_once, tmp_path):
    with FileLock(tmp_path / ".report.html.due.lock"):
        watched()
    assert written == []
    watched()
    assert len(written) == 1


def test_short_chains_write_no_page_in_their_first_seconds_but_one_after_them(written, tmp_path):
    WatchedPage(tmp_path, num_chains=2)()
    assert written == []
    assert 5 < (tmp_path / ".report.html.due").stat().st_mtime - time.time() < 15
    due_at(tmp_path, time.time())
    WatchedPage(tmp_path, num_chains=2)()
    assert len(written) == 1


def test_a_page_that_cannot_be_made_ends_no_chain_and_is_said_once(watched, at_once, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("a section of a plug-in")

    monkeypatch.setattr(page_module, "write_page", fail)
    watched()
    watched()
    assert [record.message.partition(" is written")[2] for record in caplog.records] == [
        " when the chains are done: RuntimeError: a section of a plug-in"
    ]
