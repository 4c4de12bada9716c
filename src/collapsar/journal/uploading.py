"""Uploads a W&B run in a process of its own, so that no server can delay the chain.

A chain writes its W&B run into its own folder only. This process follows that file and uploads it while it grows
(`wandb beta sync --live`). It ends with the chain: its standard input is a pipe that closes when the chain's process
ends for any reason.
"""

# What wandb's own online mode does not do (0.31, tried against the server in tests/loopback_wandb.py): init_timeout and
# finish_timeout bound the start and the upload of metrics, but an artifact is logged only after the server answered,
# `finish` waits without limit for an alert that the server did not take, and after a refused start the run id stays in
# use until `wandb.teardown`, which ends every run of the process.

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

QUIET = {"WANDB_ERROR_REPORTING": "false"}  # W&B's reports of its own errors delay its end if a server hangs


class Upload:
    """The upload of one W&B run.

    Args:
        folder: W&B's folder of the run (`offline-run-...`); `upload.log` is written there too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "upload.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "collapsar.journal.uploading", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **QUIET},
                start_new_session=True,  # only the chain gets Ctrl-C, and ends the run first
            )

    def finish(self, *, timeout_seconds: float) -> bool:
        """Wait until a run that is complete on disk is uploaded, then stop; return whether all of it was uploaded."""
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=timeout_seconds)
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
        return any(self.folder.glob("*.wandb.synced"))


def follow(folder: Path) -> int:
    """Upload a run until it is complete, or until standard input closes; return W&B's exit code."""
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", str(folder)]
    sync = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop_with_the_chain() -> None:
        os.read(0, 1)
        sync.kill()

    threading.Thread(target=stop_with_the_chain, daemon=True).start()
    return sync.wait()


if __name__ == "__main__":
    sys.exit(follow(Path(sys.argv[1])))
