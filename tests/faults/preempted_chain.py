"""Run chains that get signals at random instants until so many came; print one line of JSON for each process.

    python preempted_chain.py FOLDER SIGNAL COUNT SEED OVERRIDE...

The first chain is whole. Everything is imported once; each process is a fork.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from drawn_settings import import_everything

from collapsar import __main__ as program
from collapsar.journal import journal  # noqa: F401  imported before the forks
from collapsar.report import page  # noqa: F401


def start(folder, overrides):
    """A process that runs the command, told of when its `main` begins; its standard error goes to a file."""
    begun, begins = os.pipe()
    if (child := os.fork()) == 0:
        code = 99
        try:
            code = run(folder, overrides, begins=begins)
        finally:
            os._exit(code)
    os.read(begun, 1)
    os.close(begun)
    os.close(begins)
    return child


def run(folder, overrides, *, begins):
    """The exit code of the command in this process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(f"{folder}.stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    sys.argv = ["collapsar", *overrides, f"hydra.run.dir={folder}"]
    code = 0
    try:
        with program.signals.catch_signals():
            os.write(begins, b".")
            program.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as end:
        sys.stderr.write(f"Traceback: {type(end).__name__}: {end}\n")
        code = 99
    sys.stderr.flush()
    return code or 0


def wait(child, *, seconds):
    """The exit code of a process, or None if it still runs after so long."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= end:
            return None
        time.sleep(0.002)


def main():
    root, name, count, seed, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    Path(root).mkdir(exist_ok=True)
    import_everything(Path(root) / "first", overrides)
    instants, number = random.Random(int(seed)), signal.Signals[name]
    begin = time.monotonic()
    tell(folder=Path(root) / "whole", code=wait(start(Path(root) / "whole", overrides), seconds=600))
    whole_seconds = time.monotonic() - begin
    num_sent, num_chains, code = 0, 0, 0
    while num_sent < int(count) or code != 0:
        num_chains += code == 0
        folder = Path(root) / f"chain_{num_chains}"
        child, delay = start(folder, overrides), instants.uniform(0, whole_seconds)
        code = wait(child, seconds=delay if num_sent < int(count) else 600)
        if code is None:
            os.kill(child, number)
            sent, num_sent = time.monotonic(), num_sent + 1
            code = wait(child, seconds=60)
            tell(
                folder=folder, code=code, delay=delay, seconds=time.monotonic() - sent,
                in_training=(folder / "unfinished.ckpt").exists(),
            )  # fmt: skip
        else:
            tell(folder=folder, code=code)


def tell(**what):
    """Print what happened."""
    sys.stdout.write(f"{json.dumps({key: str(value) if key == 'folder' else value for key, value in what.items()})}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
