"""Signals that ask a chain to stop: SIGINT (Ctrl-C), SIGTERM and SIGUSR1, which machines send before they go away.

If the chain can leave at once, the handler raises `Stopped`. During a training it only notes the signal, because the
training first stores its progress (`collapsar.training.unfinished`). A second signal ends the process. Python drops
what is raised inside a finaliser (`__del__`), so a signal that comes there is sent again a moment later.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

SECONDS_UNTIL_SENT_AGAIN = 0.01
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class Stopped(SystemExit):
    """A signal asked to stop. If nothing catches this, the process exits with the code of the signal."""


class _Heeded:
    """The state of signal handling in this process.

    Attributes:
        asked: The exit code of the signal that came; None until one comes.
        is_deferred: Whether a signal is only noted.
        previous: The handlers that ours replaced; empty while ours are not installed.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.is_deferred = False
        self.previous: dict[signal.Signals, signal._HANDLER] = {}


_heeded = _Heeded()


@contextmanager
def catch_signals() -> Iterator[None]:
    """Install our signal handlers, and restore the previous ones afterwards.

    Does nothing within another `catch_signals`, and outside the main thread, which alone may install handlers. A signal
    that the process was started to ignore (`nohup`, a background job of a shell) stays ignored.
    """
    if _heeded.previous or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in EXIT_CODES}
    _heeded.previous = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    take_back()
    previous_hook = sys.unraisablehook
    sys.unraisablehook = partial(_send_again, previous_hook)
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
        for number, handler in _heeded.previous.items():
            signal.signal(number, handler)
        _heeded.previous, _heeded.asked = {}, None


def take_back() -> None:
    """Install our handlers again after a library has replaced them."""
    if threading.current_thread() is threading.main_thread():
        for number in _heeded.previous:
            signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Only note signals until this context ends.

    Raises:
        Stopped: a signal came before or within this context.
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
    """Raise Stopped if a signal has come."""
    if _heeded.asked is not None:
        raise Stopped(_heeded.asked)


def _handle(number: int, _frame: FrameType | None) -> None:
    code = EXIT_CODES[signal.Signals(number)]
    if _heeded.asked is not None:
        os._exit(code)
    _heeded.asked = code
    if not _heeded.is_deferred:
        raise Stopped(code)


def _send_again(hook: Callable[[Any], None], unraisable: Any) -> None:
    """Send a signal again if Python dropped its `Stopped`; give the hook any other exception."""
    if not isinstance(unraisable.exc_value, Stopped):
        hook(unraisable)
        return
    number = next(number for number, code in EXIT_CODES.items() if code == unraisable.exc_value.code)
    _heeded.asked = None
    main_thread = threading.main_thread().ident
    assert main_thread is not None, "a running process has one"
    again = threading.Timer(SECONDS_UNTIL_SENT_AGAIN, signal.pthread_kill, (main_thread, number))
    again.daemon = True
    again.start()
