"""The lock of a run folder: one process works in it, and notes its host and process for the messages of others.

The operating system releases the lock when its process ends for any reason, so nothing is left to clear up.
"""

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
        holder = "another process"
        with suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads((folder / HOLDER).read_text())
            holder = f"process {int(noted['process'])} on {noted['host']}"
        if not waits:
            raise UsageError(
                f"{holder} is working in {folder}: set wait_for_lock=true to wait for it, or choose another folder "
                "with hydra.run.dir"
            ) from error
        logger.info("waiting for %s, which is working in %s", holder, folder)
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
