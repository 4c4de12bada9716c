"""The lock of a run folder: one process works in it, and others learn which one.

The operating system releases the lock when its process ends for any reason, so nothing is left to clear up. The holder
notes its host and process beside the lock, for the messages of others.
"""

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from collapsar.errors import UsageError

logger = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", ".holder"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def held(folder: Path, *, waits: bool) -> Iterator[None]:
    """Hold a run folder for this process; if `waits`, wait for another process that holds it, else raise UsageError."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        if not waits:
            raise UsageError(
                f"{holder_of(folder)} is working in {folder}: set wait_for_lock=true to wait for it, or choose another "
                "folder with hydra.run.dir"
            ) from error
        logger.info("waiting for %s, which is working in %s", holder_of(folder), folder)
        lock.acquire()
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
            raise
        raise UsageError(
            f"{folder} cannot be locked ({error}): its file system has no locks; choose a folder on another one with "
            "hydra.run.dir"
        ) from error
    try:
        (folder / HOLDER).write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder_of(folder: Path) -> str:
    """The process that holds a folder, in words."""
    try:
        holder = json.loads((folder / HOLDER).read_text())
        return f"process {int(holder['process'])} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
