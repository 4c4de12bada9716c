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
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any

SECONDS_UNTIL_SENT_AGAIN = 0.01
EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


class Stopped(SystemExit):
    """A signal asked to stop. If nothing catches this, the process exits with the code of the signal."""


@dataclass
class _State:
    asked: int | None = None  # exit code of the signal that came
    is_deferred: bool = False  # whether a signal is only noted
    previous: "dict[signal.Signals, signal._HANDLER]" = field(default_factory=dict)  # what ours replaced


_state = _State()


@contextmanager
def catch_signals() -> Iterator[None]:
    """Install our signal handlers, and restore the previous ones afterwards.

    Does nothing within another `catch_signals`, and outside the main thread, which alone may install handlers. A signal
    that the process was started to ignore (`nohup`, a background job of a shell) stays ignored.
    """
    if _state.previous or threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in EXIT_CODES}
    _state.previous = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}
    take_back()
    previous_hook = sys.unraisablehook
    sys.unraisablehook = partial(_send_again, previous_hook)
    try:
        yield
    finally:
        sys.unraisablehook = previous_hook
        for number, handler in _state.previous.items():
            signal.signal(number, handler)
        _state.previous, _state.asked = {}, None


def take_back() -> None:
    """Install our handlers again after a library has replaced them."""
    if threading.current_thread() is threading.main_thread():
        for number in _state.previous:
            signal.signal(number, _handle)


@contextmanager
def deferred() -> Iterator[None]:
    """Only note signals until this context ends; raise Stopped for one that came before or within it."""
    leave_if_asked()
    _state.is_deferred = True
    try:
        yield
    finally:
        _state.is_deferred = False
    leave_if_asked()


def is_asked() -> bool:
    """Whether a signal has come."""
    return _state.asked is not None


def leave_if_asked() -> None:
    """Raise Stopped if a signal has come."""
    if _state.asked is not None:
        raise Stopped(_state.asked)


def _handle(number: int, _frame: FrameType | None) -> None:
    code = EXIT_CODES[signal.Signals(number)]
    if _state.asked is not None:
        os._exit(code)
    _state.asked = code
    if not _state.is_deferred:
        raise Stopped(code)


def _send_again(hook: Callable[[Any], None], unraisable: Any) -> None:
    if not isinstance(unraisable.exc_value, Stopped):
        hook(unraisable)
        return
    number = next(number for number, code in EXIT_CODES.items() if code == unraisable.exc_value.code)
    _state.asked = None
    main_thread = threading.main_thread().ident
    assert main_thread is not None, "a running process has one"
    again = threading.Timer(SECONDS_UNTIL_SENT_AGAIN, signal.pthread_kill, (main_thread, number))
    again.daemon = True
    again.start()
