"""The run folder: atomic, locked, faithful to its settings, and honest about what is finished."""

import json
import os
import random
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from collapsar.foundations import files as damage
from collapsar.foundations import files as files_module
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import append_flushed, write_atomically
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import FREE_SETTINGS, flatten, is_free, read_config
from collapsar.journal import store as store_module
from collapsar.journal.store import RunFolder, image_grid
from test_records import RECORD

CONFIG = {
    "name": "study",
    "seed": 0,
    "num_generations": 2,
    "data": {"_target_": "Digits", "root": None, "num_train": None},
    "model": {"width": 32, "adam_betas": [0.5, 0.99]},
    "evaluation": {"cache_folder": None, "num_neighbours": 5},
    "tracking": {"project": "collapsar"},
}
HOLD_LOCK = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def images(generation):
    return torch.full((10, 1, 8, 8), generation, dtype=torch.uint8)


def write(folder, generation, *, samples=None, labels=None, strip=None):
    folder.write_generation(
        replace(RECORD, generation=generation),
        samples=Samples(images(generation) if samples is None else samples, labels),
        strip=strip,
        save_model=lambda path: path.write_bytes(b"weights"),
    )


def claimed(folder, config):
    with folder.claim(config):
        pass


def kill_in_line(monkeypatch, *, num_bytes):
    """Let a kill come when so many bytes of the next line are written."""

    def fail(path, content):
        append_flushed(path, content[:num_bytes])
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "append_flushed", fail)


def test_a_generation_holds_the_files_of_the_contract(folder):
    write(folder, 0)
    assert {path.name for path in folder.generation_path(0).iterdir()} == {"model.ckpt", "samples.npz", "grid.png"}


def test_vectors_have_no_grid(folder):
    write(folder, 0, samples=torch.zeros(10, 3))
    assert not (folder.generation_path(0) / "grid.png").exists()


def test_the_picture_of_a_table_is_stored_beside_its_samples(folder):
    folder.write_generation(
        RECORD, samples=Samples(torch.zeros(10, 3)), save_model=lambda path: path.touch(), table={"columns": []}
    )
    assert json.loads((folder.generation_path(RECORD.generation) / "table.json").read_text()) == {"columns": []}


def test_samples_come_back_as_they_were(folder):
    samples = torch.randint(256, (10, 3, 8, 8), dtype=torch.uint8)
    write(folder, 0, samples=samples)
    assert torch.equal(folder.synthetic(0).values, samples)
    assert folder.synthetic(0).labels is None


def test_labels_come_back_as_they_were(folder):
    labels = torch.tensor([3, -1, 0, 1, 2, 3, 4, 5, 6, 7])
    write(folder, 0, labels=labels)
    assert torch.equal(folder.synthetic(0).labels, labels)


def test_labels_are_stored_as_int64_beside_the_samples(folder):
    write(folder, 0, labels=torch.arange(10))
    with np.load(folder.generation_path(0) / "samples.npz") as arrays:
        assert {name: arrays[name].dtype for name in arrays} == {"samples": np.uint8, "labels": np.int64}


def test_a_stored_generation_leaves_nothing_temporary(folder):
    write(folder, 0)
    assert [path.name for path in folder.path.rglob("*partial*")] == []


def test_records_are_in_the_order_they_were_written(folder):
    for generation in range(3):
        write(folder, generation)
    assert [record.generation for record in folder.records()] == [0, 1, 2]
    assert len((folder.path / "records.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("num_bytes", [0, 1, 40, -1], ids=lambda num_bytes: f"after {num_bytes} bytes")
def test_a_kill_before_the_end_of_the_line_leaves_the_generation_unfinished(num_bytes, folder, monkeypatch):
    write(folder, 0)
    with monkeypatch.context() as patched:
        kill_in_line(patched, num_bytes=num_bytes)
        with pytest.raises(KeyboardInterrupt):
            write(folder, 1)
    assert [record.generation for record in folder.records()] == [0]
    claimed(folder, CONFIG)
    write(folder, 1, samples=images(99))
    assert [record.generation for record in folder.records()] == [0, 1]
    assert torch.equal(folder.synthetic(1).values, images(99))


def test_a_torn_first_line_leaves_an_empty_file(folder):
    (folder.path / "records.jsonl").write_bytes(RECORD.to_json().encode()[:-1])
    claimed(folder, CONFIG)
    assert (folder.path / "records.jsonl").read_bytes() == b""


def test_refused_settings_leave_a_torn_line_alone(folder):
    claimed(folder, CONFIG)
    (folder.path / "records.jsonl").write_bytes(b"torn")
    with pytest.raises(UsageError, match="other settings"):
        claimed(folder, {**CONFIG, "seed": 1})
    assert (folder.path / "records.jsonl").read_bytes() == b"torn"


def test_a_line_is_added_without_touching_those_before(folder, monkeypatch):
    for generation in range(3):
        write(folder, generation)
    written = []
    monkeypatch.setattr(store_module, "append_flushed", lambda path, content: written.append((path.name, content)))
    monkeypatch.setattr(GenerationRecord, "from_json", None)  # nothing is read again
    write(folder, 3)
    assert written == [("records.jsonl", f"{replace(RECORD, generation=3).to_json()}\n".encode())]


def test_added_lines_are_on_disk_before_the_call_returns(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files_module.os, "fsync", lambda file: synced.append((tmp_path / "lines").read_bytes()))
    append_flushed(tmp_path / "lines", b"one\n")
    append_flushed(tmp_path / "lines", b"two\n")
    assert synced == [b"one\n", b"one\ntwo\n"]


def test_a_kill_while_the_folder_is_written_leaves_the_generation_unfinished(folder):
    def die(path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.write_generation(replace(RECORD, generation=0), samples=Samples(images(0)), save_model=die)
    assert folder.records() == []
    assert not folder.generation_path(0).exists()
    write(folder, 0)
    assert (folder.generation_path(0) / "model.ckpt").read_bytes() == b"weights"
    assert [path.name for path in folder.path.rglob("*partial*")] == []


def test_a_write_that_fails_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(path):
        raise OSError("no space left on device")

    monkeypatch.setattr(files_module, "flush_to_disk", fail)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_the_settings_are_kept_beside_the_records(folder):
    claimed(folder, CONFIG)
    assert (folder.path / "config.yaml").read_text().startswith("name: study\nseed: 0\n")


def test_the_same_settings_may_go_on(folder):
    claimed(folder, CONFIG)
    claimed(folder, CONFIG)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed was 0 and is now 1"),
        ({"model": {"width": 64, "adam_betas": [0.5, 0.99]}}, "model.width was 32 and is now 64"),
        ({"model": {"width": 32, "adam_betas": [0.9, 0.99]}}, r"model.adam_betas was \[0.5, 0.99\]"),
        ({"evaluation": {"cache_folder": None, "num_neighbours": 3}}, "evaluation.num_neighbours was 5"),
        ({"regime": {"budget": 3}}, "regime.budget was None and is now 3"),
    ],
)
def test_other_settings_are_refused_and_named(folder, change, named):
    claimed(folder, CONFIG)
    with pytest.raises(UsageError, match=named):
        claimed(folder, {**CONFIG, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"num_generations": 20},
        {"name": "other"},
        {"tracking": {"project": "elsewhere"}},
        {"data": {**CONFIG["data"], "root": "elsewhere"}},
        {"evaluation": {**CONFIG["evaluation"], "cache_folder": "elsewhere"}},
    ],
)
def test_settings_that_change_no_generation_may_differ(folder, change):
    claimed(folder, CONFIG)
    claimed(folder, {**CONFIG, **change})


def test_refused_settings_leave_the_kept_ones_alone(folder):
    claimed(folder, CONFIG)
    before = (folder.path / "config.yaml").read_bytes()
    with pytest.raises(UsageError):
        claimed(folder, {**CONFIG, "seed": 1})
    assert (folder.path / "config.yaml").read_bytes() == before


def test_every_free_setting_is_a_whole_key_or_below_one():
    assert all(is_free(key) and is_free(f"{key}.part") and not is_free(f"{key}s") for key in FREE_SETTINGS)


def test_flatten_joins_keys_with_dots_and_keeps_lists_whole():
    assert flatten({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}}) == {"a.b.c": 1, "a.d": [1, {"e": 2}]}


def test_a_folder_that_another_process_works_in_is_refused(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(folder.path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=r"another process is working in .*: set wait_for_lock=true to wait"):
            claimed(folder, CONFIG)
        holder.stdin.close()
    claimed(folder, CONFIG)


def test_the_process_that_works_in_a_folder_is_named(folder):
    with folder.claim(CONFIG), pytest.raises(UsageError, match=f"process {os.getpid()} on {socket.gethostname()} is"):
        claimed(folder, CONFIG)


def test_a_process_that_is_waited_for_is_named_and_its_folder_taken_when_it_ends(folder, caplog):
    caplog.set_level("INFO")
    command = [sys.executable, "-c", HOLD_LOCK, str(folder.path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.3, holder.kill).start()
        claimed(folder, CONFIG | {"wait_for_lock": True})
    assert "waiting for another process, which is working in" in caplog.text


def test_a_file_system_without_locks_is_named(folder, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("collapsar.journal.store.FileLock.acquire", acquire)
    with pytest.raises(UsageError, match=r"cannot be locked .*: its file system has no locks"):
        claimed(folder, CONFIG)


def test_the_lock_is_given_back_when_a_chain_fails(folder):
    with pytest.raises(RuntimeError), folder.claim(CONFIG):
        raise RuntimeError
    claimed(folder, CONFIG)


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to the run folder"):
        claimed(RunFolder(tmp_path / "file" / "run"), CONFIG)


def test_a_damaged_line_and_all_after_it_count_as_not_written_and_are_kept_aside(folder, caplog):
    for generation in range(3):
        write(folder, generation)
    path = folder.path / "records.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    damaged = lines[1].replace("31.2", "31.3")
    path.write_text(lines[0] + damaged + lines[2])
    claimed(folder, CONFIG)
    assert [record.generation for record in folder.records()] == [0]
    assert (folder.path / "damaged_records.jsonl").read_text() == damaged + lines[2]
    assert "line 2 is damaged: generation 1 and those after it are made again" in caplog.text


def test_lines_without_a_checksum_are_taken_as_they_are_and_said_to_be(folder, caplog):
    caplog.set_level("INFO")
    write(folder, 0)
    path = folder.path / "records.jsonl"
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content) + "\n")
    claimed(folder, CONFIG)
    assert len(folder.records()) == 1
    assert "1 line without a checksum" in caplog.text


def flipped(content, rng):
    """The content with one bit of it the other way."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def test_a_flipped_bit_in_the_records_never_changes_one(folder):
    for generation in range(3):
        write(folder, generation)
    path, rng = folder.path / "records.jsonl", random.Random(0)
    content, whole = path.read_bytes(), folder.records()
    for _ in range(200):
        path.write_bytes(flipped(content, rng))
        claimed(folder, CONFIG)
        left = folder.records()
        assert left == whole[: len(left)]


def test_a_flipped_bit_in_the_settings_is_refused_or_changes_nothing(folder):
    claimed(folder, CONFIG)
    path, rng = folder.path / "config.yaml", random.Random(0)
    content = path.read_bytes()
    for _ in range(200):
        path.write_bytes(flipped(content, rng))
        found = CONFIG
        with suppress(UsageError):
            found = read_config(path)
        assert found == CONFIG


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"a"'])
def test_a_damaged_small_file_counts_as_absent(folder, content):
    (folder.path / "status.json").write_bytes(content)
    assert folder.read_json("status.json") == {}


@pytest.fixture
def hashed(monkeypatch):
    """The archives whose checksum was computed, in order."""
    found = []
    original = damage._archive_checksum
    monkeypatch.setattr(damage, "_archive_checksum", lambda path: found.append(path.parent.name) or original(path))
    return found


def test_an_archive_is_hashed_once_when_it_is_written_and_once_when_it_is_read(folder, hashed):
    write(folder, 0, strip=images(3))
    assert len(hashed) == 1
    again = RunFolder(folder.path)
    for _ in range(2):
        again.synthetic(0)
        again.strip(0)
    assert hashed[1:] == ["generation_000"]


def test_what_was_just_written_is_shown_without_opening_the_archive(folder, hashed):
    strip = images(3)
    write(folder, 0, strip=strip)
    (folder.generation_path(0) / "samples.npz").unlink()
    assert torch.equal(folder.strip(0), strip)
    assert folder.grid(0).size == image_grid(images(0)).size
    assert len(hashed) == 1


def test_a_grid_that_was_not_stored_is_made_of_the_samples(folder):
    write(folder, 0)
    (folder.generation_path(0) / "grid.png").unlink()
    assert folder.grid(0).size == image_grid(images(0)).size
    write(folder, 1, samples=torch.zeros(4, 2))
    assert folder.grid(1) is None


def test_missing_samples_are_named(folder):
    write(folder, 0)
    (folder.generation_path(0) / "samples.npz").unlink()
    with pytest.raises(UsageError, match="samples of generation 0 are missing or damaged in"):
        folder.synthetic(0)


@pytest.mark.parametrize("num_bytes", [0, 10, 700])
def test_truncated_samples_are_named(folder, num_bytes):
    write(folder, 0)
    path = folder.generation_path(0) / "samples.npz"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(UsageError, match="samples of generation 0 are missing or damaged in"):
        folder.synthetic(0)


def test_samples_with_flipped_bits_are_named(folder):
    write(folder, 0)
    path = folder.generation_path(0) / "samples.npz"
    content = bytearray(path.read_bytes())
    content[300] ^= 255
    path.write_bytes(content)
    with pytest.raises(UsageError, match="samples of generation 0 are missing or damaged in"):
        folder.synthetic(0)


def test_samples_are_read_without_pickled_code(folder):
    write(folder, 0)
    np.savez(folder.generation_path(0) / "samples.npz", samples=np.array([{}], dtype=object))
    with pytest.raises(UsageError, match="missing or damaged"):
        folder.synthetic(0)


@pytest.mark.parametrize(("side", "expected"), [(8, 32), (28, 28), (32, 32)])
def test_a_grid_enlarges_small_images_by_a_whole_factor(side, expected):
    grid = image_grid(torch.zeros(64, 1, side, side, dtype=torch.uint8))
    assert isinstance(grid, Image.Image)
    assert grid.size == (8 * (expected + 2) + 2,) * 2
