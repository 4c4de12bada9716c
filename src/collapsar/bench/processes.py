"""Fresh processes for measurements, forked, where that can be, from one server that has imported everything.

Importing takes longer than many a measurement, so the server may be started before this process itself imports.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any

HAS_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
PRELOADED = ["collapsar.bench.preloaded"]

Fresh = Callable[..., Any]
"""Calls a function with its arguments in a fresh process, and gives what it returns."""


def start_importing() -> None:
    """Start the server, which imports meanwhile; does nothing where there is none, or it runs already."""
    if HAS_SERVER:
        forkserver.set_forkserver_preload(PRELOADED)
        forkserver.ensure_running()


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    """What calls functions in processes of their own, one at a time."""
    start_importing()
    context = multiprocessing.get_context("forkserver" if HAS_SERVER else "spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context, max_tasks_per_child=1) as executor:
        yield lambda function, *arguments, **keywords: executor.submit(function, *arguments, **keywords).result()
