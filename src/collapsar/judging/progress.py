"""How far a long computation has come, told to whoever listens: samples embedded, steps trained, metrics measured."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[str, int, int], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Let `listener` hear, within the context, what is done, how many of it now, and of how many in all."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def advance(what: str, number: int = 1, *, of: int) -> None:
    """Say that so many of something are done, of a total."""
    if listener := _listener.get():
        listener(what, number, of)
