"""The cache computes once, also when several jobs start together, and leaves nothing half written."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.base import load_or_compute


def test_jobs_that_start_together_compute_once(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        time.sleep(0.2)
        return {"axes": torch.arange(3.0)}

    def job(_):
        return load_or_compute(tmp_path / "space.pt", key="k", compute=compute)["axes"]

    with ThreadPoolExecutor(4) as jobs:
        results = list(jobs.map(job, range(4)))
    assert len(calls) == 1
    assert all(torch.equal(axes, torch.arange(3.0)) for axes in results)


def test_failed_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match=r"cannot be cached in .*No space left on device"):
        load_or_compute(tmp_path / "space.pt", key="k", compute=lambda: {"axes": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_cache_folder_that_is_a_file_is_refused(tmp_path):
    occupied = tmp_path / "cache"
    occupied.write_text("")
    with pytest.raises(UsageError, match="cannot be cached in"):
        load_or_compute(occupied / "space.pt", key="k", compute=lambda: {"axes": torch.zeros(1)})
