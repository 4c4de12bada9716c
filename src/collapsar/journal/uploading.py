"""A W&B run on its way to the server, beside the chain and never in its way.

A chain writes its W&B run into its own folder only. This process follows that file and uploads it while it grows
(`wandb beta sync --live`), so a server that refuses, hangs or fails is this process's trouble. It ends with the chain:
its standard input is a pipe that closes when the chain's process is gone, however that came about.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

QUIET = {
    "WANDB_ERROR_REPORTING": "false"
}  # W&B's reports about itself hold up the end of a process when a server hangs


class Upload:
    """The upload of one W&B run.

    Args:
        folder: The run as W&B keeps it (`offline-run-...`); holds `upload.log` too.
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
                start_new_session=True,  # Ctrl-C is for the chain, which ends the run first
            )

    def finish(self, *, timeout_seconds: float) -> bool:
        """Wait for the end of a run that is complete on disk, and stop; whether everything was uploaded."""
        try:
            self._process.wait(timeout=timeout_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
        return any(self.folder.glob("*.wandb.synced"))


def follow(folder: Path) -> int:
    """Upload a run until it is complete, or until standard input closes; W&B's exit code."""
    command = [sys.executable, "-m", "wandb", "beta", "sync", "--live", str(folder)]
    sync = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def stop_with_the_chain() -> None:
        os.read(0, 1)
        sync.kill()

    threading.Thread(target=stop_with_the_chain, daemon=True).start()
    return sync.wait()


if __name__ == "__main__":
    sys.exit(follow(Path(sys.argv[1])))
