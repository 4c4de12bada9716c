"""W&B offline: a run for each chain, every metric against generation, and nothing on the network."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from collapsar import tracking as tracking_module
from collapsar.errors import UsageError
from collapsar.tracking import chosen_mode, kept_run_id
from tiny_chains import build_and_run

FILE_HEADER_BYTES, CHUNK_HEADER_BYTES, BLOCK_BYTES = 7, 7, 32768
WHOLE, LAST = 1, 4  # kinds of chunk, in the log format of LevelDB


def read_wandb_file(path: Path) -> Iterator[Record]:
    """The records of a .wandb file, which W&B offers no reader for: LevelDB's log format after a header."""
    content, position, collected = path.read_bytes(), FILE_HEADER_BYTES, b""
    assert content[:4] == b":W&B"
    while position + CHUNK_HEADER_BYTES <= len(content):
        if (left := BLOCK_BYTES - position % BLOCK_BYTES) < CHUNK_HEADER_BYTES:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", content[position : position + CHUNK_HEADER_BYTES])
        position += CHUNK_HEADER_BYTES
        collected += content[position : position + size]
        position += size
        if kind in (WHOLE, LAST):
            record = Record()
            record.ParseFromString(collected)
            collected = b""
            yield record


def wandb_files(folder):
    return sorted(folder.rglob("run-*.wandb"))


def history(path):
    """What was logged, one row a call."""
    rows = []
    for record in read_wandb_file(path):
        if record.HasField("history"):
            items = record.history.item
            rows.append({(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in items})
    return rows


def generation_rows(path):
    """The rows of metrics; W&B repeats the last generation in rows of training losses too."""
    return [row for row in history(path) if "fid" in row]


def first(path, field):
    return next(getattr(record, field) for record in read_wandb_file(path) if record.HasField(field))


@pytest.fixture(scope="module")
def tracked(tiny, tmp_path_factory):
    """A tiny tracked chain, kept offline: its folder, the W&B file and its records."""
    folder = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        records = build_and_run(folder, *tiny, "tracking=wandb", "tracking.tags=[a,b]", "name=trial")
    (path,) = wandb_files(folder)
    return folder, path, records


def test_every_metric_of_every_generation_is_logged_against_generation(tracked):
    _, path, records = tracked
    rows = generation_rows(path)
    assert [row["generation"] for row in rows] == [0, 1]
    for record, logged in zip(records, rows, strict=True):
        assert {key: logged[key] for key in record.metrics} == record.metrics


def test_metrics_are_drawn_over_generation(tracked):
    metrics = [record.metric for record in read_wandb_file(tracked[1]) if record.HasField("metric")]
    steps = {metric.name or metric.glob_name: metric.step_metric for metric in metrics}
    assert steps["*"] == "generation"
    assert steps["training/*"] == "training/total_step"


def test_pool_and_seconds_are_logged(tracked):
    _, path, records = tracked
    row = generation_rows(path)[1]
    assert row["pool/size"] == records[1].pool["size"]
    assert row["pool/real_fraction"] == 0.0
    assert row["seconds/train"] == records[1].seconds["train"]


def test_pictures_and_the_class_histogram_are_logged(tracked):
    keys = {key.split(".")[0] for key in generation_rows(tracked[1])[0]}
    assert {"samples", "strip", "class_histogram"} <= keys


def test_training_steps_go_on_from_generation_to_generation(tracked):
    steps = [row["training/total_step"] for row in history(tracked[1]) if "training/total_step" in row]
    assert steps == [5, 10]


def test_the_run_is_named_grouped_and_tagged(tracked):
    run = first(tracked[1], "run")
    assert (run.run_group, run.job_type, run.display_name) == ("trial", "vae/replace", "chain")
    assert list(run.tags) == ["a", "b"]
    assert run.run_id == (tracked[0] / "wandb_run_id").read_text()


def test_the_resolved_config_is_logged(tracked):
    updates = first(tracked[1], "run").config.update
    config = {update.key: json.loads(update.value_json) for update in updates}
    assert config["seed"] == 0
    assert config["model"]["sample_shape"] == [1, 8, 8]


def test_the_run_is_finished(tracked):
    assert first(tracked[1], "exit").exit_code == 0


def test_two_jobs_of_a_multirun_are_two_finished_runs(collapsar, tiny, tmp_path):
    code, stderr = collapsar("-m", *tiny, "num_generations=1", "seed=0,1", "name=pair")
    assert code == 0, stderr
    files = wandb_files(tmp_path / "outputs" / "pair")
    assert len(files) == 2
    assert [first(path, "exit").exit_code for path in files] == [0, 0]
    assert len({first(path, "run").run_id for path in files}) == 2
    assert {first(path, "run").run_group for path in files} == {"pair"}


def test_a_chain_that_fails_is_a_failed_run(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("collapsar.experiment.train", lambda **arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        build_and_run(tmp_path / "run", *tiny, "tracking=wandb")
    (path,) = wandb_files(tmp_path / "run")
    assert first(path, "exit").exit_code == 1


def test_without_tracking_no_wandb_folder_is_written(run_chain, tmp_path):
    run_chain(tmp_path / "run", "num_generations=1")
    assert [path for path in tmp_path.rglob("*") if "wandb" in path.name] == []


@pytest.fixture
def bare_environment(monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracking_module, "get_netrc_auth", lambda server: None)


def test_without_a_key_a_run_is_offline(bare_environment):
    assert chosen_mode() == "offline"


def test_with_a_key_a_run_is_online(bare_environment, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert chosen_mode() == "online"


def test_with_a_netrc_entry_a_run_is_online(bare_environment, monkeypatch):
    monkeypatch.setattr(tracking_module, "get_netrc_auth", lambda server: ("user", "0" * 40))
    assert chosen_mode() == "online"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_the_environment_decides_where_it_is_set(bare_environment, monkeypatch, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert chosen_mode() == mode


def test_a_mode_that_wandb_does_not_have_is_refused(bare_environment, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(UsageError, match="WANDB_MODE must be one of online, offline, disabled, shared: got 'ofline'"):
        chosen_mode()


def test_a_run_folder_keeps_its_run_id(tmp_path):
    assert kept_run_id(tmp_path) == kept_run_id(tmp_path)
    (tmp_path / "other").mkdir()
    assert kept_run_id(tmp_path / "other") != kept_run_id(tmp_path)
