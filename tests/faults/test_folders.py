"""A run folder that vanishes, or that nobody may write, and a clock that jumps."""

import shutil
import time

from collapsar.journal import store
from collapsar.training import train as train_module
from tiny_chains import build_and_run, recorded


def test_a_run_folder_that_vanishes_is_one_line_and_the_same_command_starts_anew(
    collapsar, tiny, tmp_path, monkeypatch
):
    def vanishing(recipe, pool, **arguments):
        if arguments["generation"] == 1:
            shutil.rmtree(tmp_path / "run")
        return original(recipe, pool, **arguments)

    original = train_module.train
    command = (*tiny, "tracking=none", f"hydra.run.dir={tmp_path / 'run'}")
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", vanishing)
        code, stderr = collapsar(*command)
    assert code == 2
    assert stderr.splitlines()[-1].startswith(f"collapsar: cannot use {tmp_path / 'run'}")
    assert "Traceback" not in stderr
    assert collapsar(*command)[0] == 0
    assert [record["generation"] for record in recorded(tmp_path / "run")] == [0, 1]


def test_a_run_folder_that_may_not_be_written_is_one_line(collapsar, tiny, tmp_path, monkeypatch):
    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(store, "write_atomically", refuse)  # root may write where others may not
    code, stderr = collapsar(*tiny, "tracking=none", f"hydra.run.dir={tmp_path / 'run'}")
    assert code == 2
    assert stderr == f"collapsar: cannot write to the run folder {tmp_path / 'run'}: Permission denied\n"


def test_a_clock_that_jumps_back_makes_no_time_negative(tiny, tmp_path, monkeypatch):
    hours = iter(range(10_000_000, 0, -1))
    monkeypatch.setattr(time, "time", lambda: 3600.0 * next(hours))
    records = build_and_run(tmp_path / "run", *tiny, "tracking=none")
    assert all(0 <= seconds < 600 for record in records for seconds in record.seconds.values())
