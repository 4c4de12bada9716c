"""Run one chain again and again, each time with another failing call; print one line of JSON for each.

    python failing_chain.py FOLDER FIRST STRIDE OVERRIDE...

Started with the library of failing_calls.c preloaded. Everything is imported once; each chain runs in a fork.
"""

import ctypes
import errno
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from drawn_settings import import_everything

from collapsar import __main__ as program
from collapsar.journal import journal, wandb_tracking  # noqa: F401  imported before the forks
from collapsar.report import page  # noqa: F401

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
faults = ctypes.CDLL(None)
faults.fault_failed.restype = ctypes.c_char_p


def run_forked(folder, overrides, *, number=0, error=0):
    """Exit code, stderr, the calls seen and the call that failed."""
    with tempfile.TemporaryFile("w+") as stderr, tempfile.TemporaryFile("w+") as told:
        if (child := os.fork()) == 0:
            os.dup2(stderr.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["collapsar", *overrides, f"hydra.run.dir={folder}"]
            code = 0
            try:
                faults.fault_arm(str(folder).encode(), number, error)
                program.main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException as end:
                sys.stderr.write(f"Traceback: {type(end).__name__}: {end}\n")
                code = 99
            seen, failed = faults.fault_seen(), faults.fault_failed().decode()
            faults.fault_arm(b"", 0, 0)
            sys.stderr.flush()
            told.write(json.dumps([seen, failed]))
            told.flush()
            os._exit(code or 0)
        _, status = os.waitpid(child, 0)
        stderr.seek(0)
        told.seek(0)
        seen, failed = json.loads(told.read() or '[0, ""]')
        return os.waitstatus_to_exitcode(status), stderr.read(), seen, failed


def main():
    root, first, stride, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    import_everything(Path(root) / "first", overrides)
    number, chain = int(first), 0
    while True:
        folder, error = Path(root) / f"run_{number}", ERRORS[chain % len(ERRORS)]
        code, stderr, _, failed = run_forked(folder, overrides, number=number, error=error)
        again, again_stderr, *_ = run_forked(folder, overrides) if failed else (code, stderr)
        told = {"number": number, "failed": failed, "error": errno.errorcode[error], "code": code, "stderr": stderr}
        told |= {"again": again, "again_stderr": again_stderr, "folder": str(folder)}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
        if not failed:
            break
        number, chain = number + int(stride), chain + 1


if __name__ == "__main__":
    main()
