"""Counted nouns, lists and durations for all texts that a reader sees: 1 class, 2 classes, 5 min."""

from collections.abc import Sequence

ES = ("s", "x", "ch", "sh")  # nouns that end so take -es


def counted(number: int | float | str, noun: str) -> str:
    """A number, as text if it is rounded, and a noun, given in the singular: 1 class, 1.4 generations, 2 more seeds."""
    text = number if isinstance(number, str) else f"{number:.12g}"
    return f"{text} {noun if text == '1' else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    return f"{noun}es" if noun.endswith(ES) else f"{noun}s"


def listed(names: Sequence[str], *, most: int) -> str:
    """The first names, and how many more there are."""
    return "; ".join([*names[:most], *([f"and {len(names) - most} more"] if len(names) > most else [])])


def duration_text(seconds: float) -> str:
    """A duration in rounded seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
