"""Recipes: Hydra's `_partial_` nodes, called anew for the model and the Trainer of each generation.

Hydra 1.3.8 makes a subclass of `functools.partial`. Python does not flatten it when it is wrapped again, so the wrapper
shows only its own keywords. Read and change recipes through these two functions.
"""

from collections.abc import Callable
from functools import partial
from typing import Any


def flattened(recipe: Callable[..., Any]) -> "partial[Any]":
    """A recipe as one plain partial, however deeply partials are nested."""
    if not isinstance(recipe, partial):
        return partial(recipe)
    inner = flattened(recipe.func)
    return partial(inner.func, *inner.args, *recipe.args, **inner.keywords | recipe.keywords)


def with_arguments(recipe: Callable[..., Any], **arguments: Any) -> "partial[Any]":
    """The recipe with these arguments in place of its own."""
    flat = flattened(recipe)
    return partial(flat.func, *flat.args, **flat.keywords | arguments)
