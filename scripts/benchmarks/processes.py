"""Fresh processes for measurements, forked, where that can be, from one server that has imported everything.

Importing takes longer than many a measurement, so the server may be started before this process itself imports.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
PRELOADED = ["benchmarks.preloaded"]
SCRIPTS = str(Path(__file__).parents[1])

Fresh = Callable[..., Any]
"""Calls a function with its arguments in a fresh process, and gives what it returns."""


def start_importing() -> None:
    """Start the server, which imports meanwhile; does nothing where there is none, or it runs already."""
    if HAS_SERVER:
        # The server does not take over sys.path, and skips in silence what it cannot import (CPython issue 117378).
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SCRIPTS, os.environ.get("PYTHONPATH"))))
        forkserver.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    """What calls functions in processes of their own, one at a time."""
    start_importing()
    context = multiprocessing.get_context("forkserver" if HAS_SERVER else "spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as executor:
        yield lambda function, *arguments, **keywords: executor.submit(function, *arguments, **keywords).result()
