"""The W&B server that a run goes to, its key, whether it answers, and the upload, in a process of its own.

That process follows the file of the run (`wandb beta sync --live`). It ends with the chain: its standard input is a
pipe that closes when the chain's process ends for any reason.
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

import requests
from requests.utils import get_netrc_auth

from collapsar.foundations.errors import UsageError

DEFAULT_SERVER = "https://api.wandb.ai"

YES, NO = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
MODES = ("online", "offline", "disabled", "shared")
EARLIER_MODES = {"dryrun": "offline", "run": "online"}  # old names that W&B still takes
QUIET = {"WANDB_ERROR_REPORTING": "false"}  # W&B's reports of its own errors delay its end if a server hangs


def chosen_mode() -> str:
    """The mode that WANDB_DISABLED or WANDB_MODE sets; else online with an API key, offline without one."""
    disabled, mode = (os.environ.get(variable, "").strip() for variable in ("WANDB_DISABLED", "WANDB_MODE"))
    if disabled.lower() not in (*YES, *NO):
        raise UsageError(f"WANDB_DISABLED must be true or false: got {disabled!r}")
    if disabled.lower() in YES:
        return "disabled"
    mode = EARLIER_MODES.get(mode, mode) or ("online" if api_key() else "offline")
    if mode not in MODES:
        raise UsageError(f"WANDB_MODE must be one of {', '.join(MODES)}: got {mode!r}")
    return mode


def server() -> str:
    """The address of W&B."""
    return os.environ.get("WANDB_BASE_URL", DEFAULT_SERVER).rstrip("/")


def api_key() -> str | None:
    """The key of WANDB_API_KEY or of `wandb login`; None if there is none."""
    from_login = get_netrc_auth(server())
    return os.environ.get("WANDB_API_KEY") or (from_login[1] if from_login else None)


def default_entity(*, timeout_seconds: float) -> str:
    """The account that the key belongs to; a RequestException, KeyError or TypeError if W&B does not say it in time."""
    answer = requests.post(
        f"{server()}/graphql",
        json={"query": "query Viewer { viewer { entity } }"},
        auth=("api", api_key() or ""),
        timeout=timeout_seconds,
    )
    answer.raise_for_status()
    return str(answer.json()["data"]["viewer"]["entity"])


class Upload:
    """The upload of W&B's folder of one run (`offline-run-...`); it writes `upload.log` there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "upload.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "collapsar.journal.wandb_server", str(folder)],
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
