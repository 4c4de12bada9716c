"""Tiny chains for the tests of the loop, and the command line without a process of its own."""

import atexit
import gc
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable
from importlib import import_module

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import collapsar.__main__ as command
from collapsar.jobs.failures import failed_jobs
from composed_once import compose_once
from tiny_chains import TINY, build_and_run

LONGEST = (
    "test_findings_command.py", "test_drawn_settings.py", "test_composition.py", "test_main.py", "test_shared.py",
    "test_combinations.py", "test_levers_in_chains.py", "test_experiment.py", "test_outages.py", "test_documents.py",
    "test_training_bench.py", "test_failing_calls.py", "test_fork_server.py", "test_preempted_chains.py",
    "test_launchers.py", "test_precision.py", "test_metrics_bench.py",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Files that take longest come first, then those with most tests, so that processes side by side end together."""
    places = {name: place for place, name in enumerate(LONGEST)}
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (places.get(item.path.name, len(LONGEST)), -counts[item.path]))


def pytest_collection_finish():
    """What was imported stays: the garbage collector need not look through it again and again.

    When Hypothesis is imported, it asks the collector what refers to a generator, so it is imported before.
    """
    import_module("hypothesis")
    gc.freeze()
    atexit.register(gc.unfreeze)


@pytest.fixture(autouse=True)
def no_network_tracking(monkeypatch):
    """W&B stays offline whatever the machine's own settings are."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture(scope="session", autouse=True)
def choices_are_composed_once():
    with pytest.MonkeyPatch.context() as patched:
        compose_once(patched)
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> tuple[str, ...]:
    """Overrides of a chain that takes a second; feature spaces are fitted once a session."""
    return (*TINY, f"evaluation.cache_folder={tmp_path_factory.mktemp('spaces')}")


@pytest.fixture(scope="session")
def run_chain(tiny) -> Callable:
    """`run_chain(folder, "seed=1")` runs a tiny chain without tracking and gives its records."""
    return lambda folder, *overrides: build_and_run(folder, *tiny, "tracking=none", *overrides)


@pytest.fixture
def collapsar(tmp_path, monkeypatch, capfd) -> Callable[..., tuple[int, str]]:
    """`collapsar("seed=1")` runs the command in a folder of its own: exit code and standard error.

    `collapsar.printed` is its standard output.
    """
    monkeypatch.chdir(tmp_path)

    def call(*overrides: str) -> tuple[int, str]:
        handlers = logging.getLogger().handlers[:]
        monkeypatch.setattr(sys, "argv", ["collapsar", *overrides])
        failed_jobs.clear()
        monkeypatch.setenv("HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", ""))  # the command sets it
        capfd.readouterr()
        code = 0
        try:
            command.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None  # or later tests would take this command's choices for their own
            logging.getLogger().handlers[:] = handlers
        call.printed, stderr = capfd.readouterr()
        return code, stderr

    return call


@pytest.fixture(scope="session")
def digits():
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from collapsar.data.real_data import RealData
    from collapsar.foundations.samples import Samples

    scanned = load_digits()
    images = torch.tensor(scanned.images / 16 * 255).round().to(torch.uint8)[:, None]
    train, test = train_test_split(range(len(images)), test_size=360, stratify=scanned.target, random_state=0)
    labels = torch.tensor(scanned.target)
    return RealData(
        train=Samples(images[train], labels[train]), test=Samples(images[test], labels[test]), num_classes=10
    )
