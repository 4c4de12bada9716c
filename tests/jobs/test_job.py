"""One job: how it prepares this process for its chain."""

import gc
from types import SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from collapsar.foundations.errors import UsageError
from collapsar.jobs import job


def test_nobody_looks_for_garbage_while_a_job_imports(monkeypatch, tmp_path):
    collecting = []

    def check(config):
        collecting.append(gc.isenabled())
        raise UsageError("wrong")

    node = SimpleNamespace(
        mode=RunMode.RUN,
        runtime=SimpleNamespace(output_dir=str(tmp_path)),
        launcher=SimpleNamespace(_target_="another.Launcher"),  # gets the error itself
    )
    monkeypatch.setattr(job, "HydraConfig", SimpleNamespace(get=lambda: node))
    monkeypatch.setattr(job.multirun, "run_folders", [])
    monkeypatch.setattr(job.composition, "check", check)
    with pytest.raises(UsageError, match="wrong"):
        job.run_job(OmegaConf.create())
    assert collecting == [False]
    assert gc.isenabled()
