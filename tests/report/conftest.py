"""Run folders for the tests of the report; what they hold is planted in planted_runs.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
from planted_runs import write_run, write_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """{vae, gan} x {replace, accumulate} over three seeds; one chain of each kind of trouble."""
    folder = tmp_path / "sweep"
    write_sweep(folder)
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run folder below the test's own folder: `make_run("name", seed=1)`."""
    return lambda place="run", **options: write_run(tmp_path / place, **options)
