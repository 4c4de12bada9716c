"""Import a user's modules, which add metrics and sections of the page."""

from collections.abc import Sequence
from importlib import import_module

from collapsar.errors import UsageError


def load_plugins(names: Sequence[str]) -> None:
    """Import a user's modules; raises UsageError if one cannot be imported."""
    for name in names:
        try:
            import_module(name)
        except Exception as error:
            raise UsageError(
                f"plugins names {name!r}, which cannot be imported ({type(error).__name__}: {error}): "
                "set PYTHONPATH to its folder, or leave it out"
            ) from error
