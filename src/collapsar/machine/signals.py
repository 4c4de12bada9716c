"""Signals that ask a chain to stop: SIGINT (Ctrl-C), SIGTERM and SIGUSR1, which machines send before they go away.

A handler does no work of its own. Where a chain can leave at once it raises `Stopped`; in a training, which first
stores how far it came (`collapsar.training.unfinished`), it only notes the signal. A second signal ends the process.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class Stopped(SystemExit):
    """A signal asked to stop. Who does not catch it leaves with the exit code that stands for the signal."""


class _Heeded:
    """What this process knows of signals.

    Attributes:
        asked: The exit code of the signal that came; None as long as none has.
        is_deferred: Whether a signal is only noted.
        previous: The handlers that ours stand in place of; empty while there are none of ours.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.is_deferred = False
        self.previous: dict[signal.Signals, signal._HANDLER] = {}


_heeded = _Heeded()


@contextmanager
def heeded() -> Iterator[None]:
    """Heed signals by our rules, in the main thread, which alone may; within another `heeded` nothing changes.

    A signal that the process was started to ignore (`nohup`, a background job of a shell) stays ignored.
    """
    if _heeded.previous or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in EXIT_CODES}
    _heeded.previous = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    take_back()
    try:
        yield
    finally:
        for number, handler in _heeded.previous.items():
            signal.signal(number, handler)
        _heeded.previous, _heeded.asked = {}, None


def take_back() -> None:
    """Put our handlers where a library has put its own."""
    if threading.current_thread() is threading.main_thread():
        for number in _heeded.previous:
            signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Let signals only be noted, until the end at the latest.

    Raises:
        Stopped: a signal has come before, or came in the meantime and nobody has left for it.
    """
    leave_if_asked()
    _heeded.is_deferred = True
    try:
        yield
    finally:
        _heeded.is_deferred = False
    leave_if_asked()


def is_asked() -> bool:
    """Whether a signal has come."""
    return _heeded.asked is not None


def leave_if_asked() -> None:
    """Leave if a signal has come.

    Raises:
        Stopped: one has.
    """
    if _heeded.asked is not None:
        raise Stopped(_heeded.asked)


def _handle(number: int, _frame: FrameType | None) -> None:
    code = EXIT_CODES[signal.Signals(number)]
    if _heeded.asked is not None:
        os._exit(code)
    _heeded.asked = code
    if not _heeded.is_deferred:
        raise Stopped(code)
