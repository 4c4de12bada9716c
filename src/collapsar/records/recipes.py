"""Recipes: what Hydra makes of a `_partial_` node, called anew for the model and the Trainer of each generation.

Hydra 1.3.8 makes a subclass of `functools.partial`, which Python does not flatten when it is wrapped again: the wrapper
has keywords of its own only. So recipes are read and changed through these two functions.
"""

from collections.abc import Callable
from functools import partial
from typing import Any


def flattened(recipe: Callable[..., Any]) -> "partial[Any]":
    """A recipe as one plain partial, however many are wrapped in each other."""
    if not isinstance(recipe, partial):
        return partial(recipe)
    inner = flattened(recipe.func)
    return partial(inner.func, *inner.args, *recipe.args, **inner.keywords | recipe.keywords)


def with_arguments(recipe: Callable[..., Any], **arguments: Any) -> "partial[Any]":
    """The recipe with these arguments in place of its own."""
    flat = flattened(recipe)
    return partial(flat.func, *flat.args, **flat.keywords | arguments)
