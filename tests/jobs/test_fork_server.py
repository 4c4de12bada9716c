"""Jobs side by side are forks of one process that has imported everything, and started no thread."""

import gc
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest

from collapsar.jobs.processes import ForkContext, Share, start_fork_server

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")


def threads_of(process):
    return len(list(Path(f"/proc/{process}/task").iterdir()))


def seen():
    """What a process of the server finds when it begins: its parent, what is imported, and its own threads."""
    names = [name for name in ("torch", "lightning.pytorch", "collapsar.training.train") if name in sys.modules]
    return os.getppid(), names, threads_of("self"), threads_of(os.getppid())


def test_processes_begin_with_everything_imported_and_the_server_has_one_thread():
    start_fork_server(Share(threads=1))
    context = ForkContext()
    with ProcessPoolExecutor(1, mp_context=context) as first, ProcessPoolExecutor(1, mp_context=context) as second:
        (parent, names, threads, server_threads), other = (pool.submit(seen).result(120) for pool in (first, second))
    assert parent == other[0] == forkserver._forkserver._forkserver_pid
    assert names == ["torch", "lightning.pytorch", "collapsar.training.train"]
    assert server_threads == 1
    assert threads <= 2  # its own, and the one that concurrent.futures makes for its queue


SCRIPT = """
import collapsar
table = collapsar.run(["-m", "size=tiny", "tracking=none", "seed=0,1", "hydra/launcher=joblib"])
print(len(table), "rows")
"""


def test_a_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    assert [line for line in done.stdout.splitlines() if line.endswith("rows")] == ["4 rows"]


def collector():
    return gc.isenabled(), gc.get_freeze_count()


def test_what_the_server_imported_is_frozen_and_its_processes_collect_garbage():
    start_fork_server(Share(threads=1))
    with ProcessPoolExecutor(1, mp_context=ForkContext()) as pool:
        is_enabled, num_frozen = pool.submit(collector).result(120)
    assert is_enabled
    assert num_frozen > 100_000
