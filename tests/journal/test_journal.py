"""The journal: a finished turn is kept, shown, mirrored and watched once; what was finished before is read once."""

import importlib.metadata
import io
import json
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from rich.console import Console
from test_alarm import chain, lose_classes, shipped
from test_memory import BIG_BYTES, allocate_and_free, needs_a_kernel_that_forgets

from collapsar.foundations.errors import NonFiniteError
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.samples import Samples
from collapsar.journal import journal as journal_module
from collapsar.journal.alarm import Alarm
from collapsar.journal.journal import Journal
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import ChainTitle, NoTracking, Tracking

COLLAPSING = {
    "recall": [0.89, 0.82, 0.40, 0.12, 0.10, 0.00],
    "fid": [9, 16, 40, 90, 130, 170],
    "classes_dropped": [0, 0, 1, 4, 4, 6],
}
HEALTHY = {"recall": [0.9] * 4, "fid": [9] * 4, "classes_dropped": [0] * 4}


class NotedTracking(Tracking):
    """Notes what it is asked for."""

    def __init__(self):
        self.calls = []

    def begin(self, store, *, title, config):
        return True

    def start(self, store, *, title, config, records):
        self.calls.append(("start", [record.generation for record in records]))

    def log(self, store, record):
        self.calls.append(("log", record.generation))

    def alert(self, title, text):
        self.calls.append(("alert", title))

    def finish(self, *, has_failed):
        self.calls.append(("finish", has_failed))


@pytest.fixture
def opened(tmp_path):
    """`opened()`: a journal of six generations in one folder, quiet and not mirrored."""

    @contextmanager
    def call(*, tracking=None, alarm=None, num_generations=6):
        title = ChainTitle(
            name="chain",
            study="s",
            data="digits",
            model="vae",
            regime="replace",
            num_generations=num_generations,
            seed=0,
        )
        store, config = RunFolder(tmp_path / "run"), {"seed": 0}
        with store.claim(config):
            yield Journal(
                store,
                title=title,
                config=config,
                tracking=tracking or NoTracking(),
                alarm=alarm or Alarm(action="warn", rules={}),
            )

    return call


def shown(journal):
    return journal.shown(Console(file=io.StringIO()), position="", steps_per_generation=5)


def keep(journal, record):
    record = journal.completed(record)
    journal.store.write_generation(
        record, samples=Samples(torch.zeros(4, 2)), save_model=lambda path: path.write_bytes(b"")
    )
    journal.add(record)


def keep_all(opened, records, **choices):
    with opened(**choices) as journal, shown(journal):
        for record in records:
            keep(journal, replace(record, pool={"size": 4, "real_fraction": 0.0}))
            if journal.is_over:
                break


def content(tmp_path, name):
    return json.loads((tmp_path / "run" / name).read_text())


def alarm_lines(tmp_path):
    path = tmp_path / "run" / "alarms.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def plant_records(tmp_path, records):
    """Records of generations without folders."""
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run" / "records.jsonl").write_text("".join(f"{record.to_json()}\n" for record in records))


def test_a_kept_generation_is_in_memory_as_it_is_on_disk(opened, tmp_path):
    with opened() as journal, shown(journal):
        for record in chain(**COLLAPSING):
            keep(journal, record)
            assert journal.records == RunFolder(tmp_path / "run").records()
            assert len(journal.store.synthetic(record.generation)) == 4


def test_what_a_chain_returns_is_what_a_later_one_reads(run_chain, tmp_path):
    assert run_chain(tmp_path / "run") == RunFolder(tmp_path / "run").records()


def test_records_are_parsed_once_when_the_journal_opens(opened, tmp_path, monkeypatch):
    first, then = chain(**COLLAPSING)[:3], chain(**COLLAPSING)[3:]
    keep_all(opened, first)
    original, parsed = GenerationRecord.from_json, []
    monkeypatch.setattr(GenerationRecord, "from_json", lambda line: parsed.append(line) or original(line))
    keep_all(opened, then)
    assert len(parsed) == 3


def test_a_damaged_line_and_those_after_it_are_made_again(opened, tmp_path):
    records = chain(**HEALTHY)
    plant_records(tmp_path, records)
    path = tmp_path / "run" / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1].replace('"seed": 0', '"seed": 1'), *lines[2:]]))
    with opened() as journal:
        assert journal.records == records[:1]


def test_a_torn_line_is_made_again(opened, tmp_path):
    records = chain(**COLLAPSING)
    keep_all(opened, records[:3])
    path = tmp_path / "run" / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    with opened() as journal:
        assert [record.generation for record in journal.records] == [0, 1]
    keep_all(opened, records[2:])
    assert [record.generation for record in RunFolder(tmp_path / "run").records()] == [0, 1, 2, 3, 4, 5]


def test_what_is_made_from_the_records_is_made_again_when_the_journal_opens(opened, tmp_path):
    keep_all(opened, chain(**COLLAPSING), alarm=shipped())
    before = {name: (tmp_path / "run" / name).read_bytes() for name in ("profile.json", "alarms.jsonl")}
    (tmp_path / "run" / "profile.json").unlink()  # a kill came after the last record
    (tmp_path / "run" / "alarms.jsonl").write_text(before["alarms.jsonl"].decode()[:30])
    with opened(alarm=shipped()) as journal:
        assert journal.is_over
    assert {name: (tmp_path / "run" / name).read_bytes() for name in before} == before


# The alarm


def test_alarms_are_those_of_a_replay_however_often_the_chain_was_killed(opened, tmp_path):
    records = chain(**COLLAPSING)
    for start, end in ((0, 1), (1, 4), (4, 6)):
        keep_all(opened, records[start:end], alarm=shipped())
        assert alarm_lines(tmp_path) == [found.to_json() for found in shipped().fired(records[:end])]


def test_a_new_generation_is_all_that_the_alarm_looks_at(opened, monkeypatch):
    looked_at = []
    monkeypatch.setattr(Alarm, "fired_by_last", lambda self, records: looked_at.append(len(records)) or [])
    keep_all(opened, chain(**COLLAPSING))
    assert looked_at == [1, 2, 3, 4, 5, 6]


def test_an_alarm_that_stops_is_said_once_each_time(opened, tmp_path, caplog):
    records = chain(**COLLAPSING)
    keep_all(opened, records, alarm=shipped("stop"))
    said = [line.getMessage() for line in caplog.records if "stopped by" in line.getMessage()]
    assert len(said) == 1
    assert content(tmp_path, "status.json") == {
        "state": "stopped",
        "message": said[0].removesuffix("; alarm=default goes on"),
    }
    with opened(alarm=shipped("stop")) as journal:
        assert journal.is_over
    assert [line.getMessage() for line in caplog.records if "stopped by" in line.getMessage()] == said * 2


def test_a_chain_that_is_complete_is_finished_though_its_alarm_would_stop_it(opened, tmp_path):
    keep_all(opened, chain(**COLLAPSING))
    with opened(alarm=shipped("stop")) as journal:
        assert journal.is_over
    assert content(tmp_path, "status.json") == {"state": "finished"}


# Shown and mirrored


def test_generations_are_mirrored_once_and_those_before_at_the_start(opened):
    records = chain(**HEALTHY)
    first, then = NotedTracking(), NotedTracking()
    keep_all(opened, records[:2], tracking=first)
    keep_all(opened, records[2:], tracking=then)
    assert first.calls == [("start", []), ("log", 0), ("log", 1), ("finish", False)]
    assert then.calls == [("start", [0, 1]), ("log", 2), ("log", 3), ("finish", False)]


def test_an_alarm_that_notifies_is_an_alert_and_one_that_warns_is_not(opened):
    warned, notified = NotedTracking(), NotedTracking()
    keep_all(opened, chain(**COLLAPSING)[:2], tracking=warned, alarm=shipped("default"))
    notifying = shipped("default")
    notifying.action = "notify"
    keep_all(opened, chain(**COLLAPSING)[2:3], tracking=notified, alarm=notifying)
    assert [call for call in warned.calls if call[0] == "alert"] == []
    (title,) = [call[1] for call in notified.calls if call[0] == "alert"]
    assert title.startswith("Collapse alarm: recall_drops")


def test_only_the_first_generation_with_an_alarm_is_an_alert_and_it_names_every_rule(opened):
    tracking, alarm = NotedTracking(), shipped("default")
    alarm.action = "notify"
    keep_all(opened, chain(**COLLAPSING)[:2], tracking=tracking, alarm=alarm)
    keep_all(opened, chain(**COLLAPSING)[2:], tracking=tracking, alarm=alarm)
    alerts = [call[1] for call in tracking.calls if call[0] == "alert"]
    assert len(alerts) == 1
    assert alerts[0].startswith("Collapse alarm: recall_drops")


@pytest.mark.parametrize("choices", [(), ("alarm=stop", "num_generations=3")], ids=["finished", "stopped"])
def test_a_chain_that_is_over_is_neither_mirrored_nor_shown_again(choices, run_chain, tmp_path, monkeypatch):
    lose_classes(monkeypatch)
    records = run_chain(tmp_path / "run", *choices)
    monkeypatch.setattr(NoTracking, "start", fail)
    monkeypatch.setattr("collapsar.journal.journal.live_view", fail)
    state = content(tmp_path, "status.json")
    assert run_chain(tmp_path / "run", *choices) == records
    assert content(tmp_path, "status.json") == state


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "interrupted: the same command continues"),
    ],
)
def test_a_chain_that_breaks_off_says_why_and_ends_its_run(error, message, opened, tmp_path):
    tracking = NotedTracking()
    with pytest.raises(type(error)), opened(tracking=tracking) as journal, shown(journal):
        raise error
    assert content(tmp_path, "status.json") == {"state": "failed", "message": message}
    assert tracking.calls == [("start", []), ("finish", True)]


def test_numbers_that_break_down_end_the_profile_until_the_chain_goes_on(opened, tmp_path):
    keep_all(opened, chain(**COLLAPSING)[:1])
    with pytest.raises(NonFiniteError), opened() as journal, shown(journal):
        raise NonFiniteError("loss is nan")
    profile = content(tmp_path, "profile.json")
    assert (profile["ending"], profile["recall_half_life"]) == ("broke down", 1.0)
    with opened():
        assert content(tmp_path, "profile.json")["ending"] == ""


def test_a_running_chain_says_so_with_its_versions(opened, tmp_path):
    with opened() as journal, shown(journal):
        assert content(tmp_path, "status.json") == {"state": "running"}
        assert content(tmp_path, "versions.json")["torch"] == importlib.metadata.version("torch")


@pytest.fixture
def opened_by(opened, monkeypatch, tmp_path):
    """`opened_by("abc")` opens and closes the chain with code of this commit; gives what versions.json then holds."""

    def call(commit, *, version="0.2.0", tracking=None):
        monkeypatch.setattr(journal_module, "commit", lambda: commit)
        monkeypatch.setattr(journal_module, "__version__", version)
        with opened(**({} if tracking is None else {"tracking": tracking})) as journal, shown(journal):
            if not journal.records:
                keep(journal, chain(**HEALTHY)[0])
        return content(tmp_path, "versions.json")

    return call


def test_a_chain_that_goes_on_with_the_code_that_began_it_says_nothing_of_it(opened_by, caplog):
    assert opened_by("abc")["commit"] == opened_by("abc")["commit"] == "abc"
    assert "goes on with" not in caplog.text


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"commit": "def"}, "collapsar 0.2.0, commit def"),
        ({"commit": "abc+changes.1a"}, "collapsar 0.2.0, commit abc+changes.1a"),
        ({"commit": "abc", "version": "0.3.0"}, "collapsar 0.3.0, commit abc"),
        ({"commit": None}, "collapsar 0.2.0, commit unknown"),
    ],
    ids=str,
)
def test_a_chain_that_goes_on_with_other_code_says_so_in_one_line_and_keeps_both(other, words, opened_by, caplog):
    opened_by("abc")
    versions = opened_by(**other)
    (line,) = [record.getMessage() for record in caplog.records if "goes on with" in record.getMessage()]
    assert f"was made by collapsar 0.2.0, commit abc and goes on with {words}: " in line
    assert (versions["commit"], versions["begun_by"]) == (other["commit"], "collapsar 0.2.0, commit abc")
    assert opened_by(**other)["begun_by"] == "collapsar 0.2.0, commit abc"  # not forgotten the third time


# What it costs


@needs_a_kernel_that_forgets
def test_a_chain_does_not_inherit_the_peak_of_an_earlier_one(opened, tmp_path):
    with opened() as journal, shown(journal):
        allocate_and_free()
        keep(journal, chain(**HEALTHY)[0])
    keep_all(opened, chain(**HEALTHY)[1:2])
    first, second = (record.peak_memory_bytes for record in RunFolder(tmp_path / "run").records())
    assert first - second > 0.9 * BIG_BYTES


def noisy_chain(num_generations):
    generator, t = np.random.default_rng(0), np.arange(num_generations)
    noise = partial(generator.normal, size=num_generations)
    return chain(
        recall=0.9 * np.exp(-3 * t / num_generations) + 0.02 * noise(),
        precision=0.9 - 0.0001 * t + 0.01 * noise(),
        fid=9 + 0.5 * t + noise(),
        classes_dropped=t // 30,
    )


def test_bookkeeping_of_the_thousandth_generation_takes_less_than_a_fifth_of_a_second(opened, tmp_path):
    *before, last = noisy_chain(1000)
    plant_records(tmp_path, before)
    with opened(alarm=shipped(), num_generations=1001) as journal, shown(journal):
        start = time.process_time()
        keep(journal, last)
        assert time.process_time() - start < 0.2


def test_a_line_is_as_quick_to_add_to_a_thousand_as_to_none(opened, tmp_path, monkeypatch):
    plant_records(tmp_path, noisy_chain(1000))
    size = (tmp_path / "run" / "records.jsonl").stat().st_size
    with opened(num_generations=1001) as journal, shown(journal):
        written = []
        monkeypatch.setattr("collapsar.journal.store.append_flushed", lambda path, line: written.append(len(line)))
        keep(journal, chain(**HEALTHY)[0])
    assert len(written) == 1
    assert written[0] < size / 500


def fail(*_, **__):
    raise AssertionError("a chain that is over starts nothing")
