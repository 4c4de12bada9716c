"""Processes for jobs side by side, forked from one that has imported everything: the imports are paid for once.

The server is that of `multiprocessing`. It starts no thread, because a fork copies only the thread that forks.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from types import ModuleType
from typing import Any

from collapsar.jobs.shares import THREADS, Share

CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()
METHOD = "forkserver" if CAN_FORK else "spawn"
PRELOADED = [  # what most chains import
    *("lightning.pytorch", "torchmetrics", "collapsar.chain.run", "collapsar.config.experiment"),
    *("collapsar.config.forecast", "collapsar.jobs.job", "collapsar.report.page", "collapsar.report.tables"),
    "collapsar.training.train",
]
NO_THREAD = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}  # pyarrow's allocator starts one when it is imported
own: Any = multiprocessing.get_context(METHOD)


class Process(own.Process):
    """A process that does not run the caller's script again, which may have no guard against that."""

    @staticmethod
    def _Popen(process: Any) -> Any:  # noqa: N802  the name is that of `multiprocessing`
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            return own.Process._Popen(process)
        finally:
            sys.modules["__main__"] = main


class Context(type(own)):  # type: ignore[misc]
    """The context of such processes."""

    Process = Process


def start(share: Share) -> None:
    """Start the server with the threads of this share, if there is none yet; it imports in the background."""
    if CAN_FORK:
        forkserver.set_forkserver_preload(PRELOADED)
        before = dict(os.environ)
        os.environ |= dict.fromkeys(THREADS, str(share.threads)) | NO_THREAD  # read when libraries are loaded
        try:
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)
