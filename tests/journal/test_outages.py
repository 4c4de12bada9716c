"""A W&B server that refuses, hangs or fails never stops a chain, and costs it no more than the configured seconds."""

import logging
import os
import subprocess
import sys
import time

import pytest
from test_alarm import lose_classes
from test_tracking import generation_rows, wandb_files

from collapsar.journal.rows import panel_key
from collapsar.journal.store import RunFolder
from collapsar.journal.wandb_server import Upload
from collapsar.training import train as train_module
from loopback_wandb import serving
from tiny_chains import build_and_run

CONNECT_SECONDS, FINISH_SECONDS = 1.0, 3.0
SLACK_SECONDS = 10.0  # the chain itself, the start and end of W&B's processes, and a busy machine
KINDS = ("refuses", "hangs", "fails")


@pytest.fixture
def server(monkeypatch):
    with serving() as loopback:
        monkeypatch.delenv("WANDB_MODE")
        monkeypatch.setenv("WANDB_BASE_URL", loopback.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield loopback


@pytest.fixture
def run_online(tiny, tmp_path, caplog):
    """`run_online()`: seconds of a chain of three that is tracked online, and the warnings about W&B."""

    def call(*overrides):
        timeouts = (
            f"tracking.connect_timeout_seconds={CONNECT_SECONDS}",
            f"tracking.finish_timeout_seconds={FINISH_SECONDS}",
        )
        begin = time.perf_counter()
        build_and_run(tmp_path / "run", *tiny, "num_generations=3", *timeouts, *overrides)
        seconds = time.perf_counter() - begin
        warnings = [line.getMessage() for line in caplog.records if line.levelno >= logging.WARNING]
        return seconds, [line for line in warnings if "W&B" in line]

    return call


def before_generation(generation, change, *, monkeypatch):
    """Let something happen just before a generation is trained."""
    original = train_module.train

    def train(recipe, pool, **arguments):
        if arguments["generation"] == generation:
            change()
        return original(recipe, pool, **arguments)

    monkeypatch.setattr(train_module, "train", train)


def check_complete(folder):
    """Every generation is in the records and in the W&B run on disk."""
    assert [record.generation for record in RunFolder(folder).records()] == [0, 1, 2]
    (path,) = wandb_files(folder)
    assert [row["generation"] for row in generation_rows(path)] == [0, 1, 2]


def check_equal(row, record):
    """A row of W&B holds every metric of a record that is drawn."""
    drawn = {key: value for key, value in record.metrics.items() if not key.endswith("_floor")}
    assert {key: row[panel_key(key)] for key in drawn} == drawn


@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_at_the_start_costs_one_try_and_one_line(kind, server, run_online, tmp_path):
    server.behave(kind)
    seconds, warnings = run_online()
    assert len(warnings) == 1
    assert warnings[0].startswith("W&B cannot be reached (http://127.0.0.1")
    assert warnings[0].endswith("this run is kept offline")
    assert seconds < CONNECT_SECONDS + SLACK_SECONDS
    check_complete(tmp_path / "run")


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_an_outage_in_the_middle_costs_the_wait_at_the_end_and_one_line(
    kind, server, run_online, tmp_path, monkeypatch
):
    before_generation(1, lambda: server.behave(kind), monkeypatch=monkeypatch)
    seconds, warnings = run_online()
    assert len(warnings) == 1
    assert "W&B did not take the whole run: it is kept offline; upload it with: wandb sync" in warnings[0]
    assert seconds < FINISH_SECONDS + SLACK_SECONDS
    check_complete(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_outage_at_the_end_costs_the_wait_and_one_line(kind, server, run_online, tmp_path, monkeypatch):
    waited = []

    def once_the_upload_has_begun():
        begin = time.perf_counter()
        while not server.named("UpsertBucket") and time.perf_counter() < begin + 30:
            time.sleep(0.1)
        waited.append(time.perf_counter() - begin)
        server.behave(kind)

    before_generation(2, once_the_upload_has_begun, monkeypatch=monkeypatch)
    seconds, warnings = run_online()
    assert server.named("UpsertBucket")
    assert len(warnings) == 1
    assert seconds < waited[0] + FINISH_SECONDS + SLACK_SECONDS
    check_complete(tmp_path / "run")


def test_an_online_run_is_uploaded_with_its_alerts_and_artifacts(server, run_online, tmp_path, monkeypatch):
    lose_classes(monkeypatch)
    _, warnings = run_online("tracking.finish_timeout_seconds=60.0", "evaluation.metrics=[frechet,support]")
    assert warnings == []
    assert server.is_complete
    records = RunFolder(tmp_path / "run").records()
    rows = [row for _, row in sorted(server.history.items()) if "generation" in row]
    for record, row in zip(records, rows[:-1], strict=True):
        check_equal(row, record)
    assert {"pictures/samples", "pictures/strip", "pictures/film_strip"} <= rows[-2].keys()
    assert "pictures/film" in rows[-1]
    assert len(server.named("NotifyScriptableRunAlert")) == 1
    aliases = [
        alias["alias"] for call in server.named("CreateArtifact") for alias in call["input"]["aliases"]
    ]  # of samples and checkpoints
    assert [alias for alias in aliases if alias != "latest"] == ["generation-0", "generation-2"]
    assert len(server.named("UseArtifact")) == 1  # generation 0's, by the last one
    notes = [call.get("notes") or "" for call in server.named("UpsertBucket")]
    assert notes[-1].startswith("Generations 0 to 2: ")


def test_an_online_run_has_the_load_of_the_machine_and_what_the_command_printed(server, run_online, monkeypatch):
    before_generation(1, lambda: (sys.stdout.write("a line of the user's\n"), time.sleep(1.0)), monkeypatch=monkeypatch)
    run_online("tracking.finish_timeout_seconds=60.0")
    assert any("a line of the user's" in line for line in server.console)
    assert any(key.startswith("system.") for line in server.system_metrics for key in line)


def test_wandb_sync_uploads_what_was_kept_offline(server, run_online, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    run_online()
    (path,) = wandb_files(tmp_path / "run")
    command = [sys.executable, "-m", "wandb", "sync", str(path.parent)]
    environment = {**os.environ, "WANDB_MODE": "online", "WANDB_ERROR_REPORTING": "false"}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    rows = [row for _, row in sorted(server.history.items()) if "generation" in row]
    for record, row in zip(RunFolder(tmp_path / "run").records(), rows[:-1], strict=True):
        check_equal(row, record)
    assert server.named("UpsertBucket")[0]["name"] == path.stem.removeprefix("run-")


def test_an_upload_ends_with_the_process_that_started_it(tmp_path):
    """As a kill does: the pipe between the two closes, and nobody is left behind."""
    program = (
        "import os; from pathlib import Path; from collapsar.journal.wandb_server import Upload; "
        f"print(Upload(Path({str(tmp_path)!r}))._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    uploader = int(killed.stdout)
    deadline = time.monotonic() + 20
    while is_running(uploader) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(uploader)


def test_an_upload_that_is_given_up_is_not_called_complete(tmp_path):
    assert not Upload(tmp_path).finish(timeout_seconds=0.1)


def is_running(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True
