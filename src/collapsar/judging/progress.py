"""How far a long computation has come, told to whoever listens: samples embedded, steps trained, metrics measured."""

from collections.abc import Callable

listeners: list[Callable[[str, int, int], None]] = []
"""They hear what is done, how many of it now, and of how many in all."""


def advance(what: str, number: int = 1, *, of: int) -> None:
    """Say that so many of something are done, of a total."""
    for listener in listeners:
        listener(what, number, of)
