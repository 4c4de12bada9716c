"""Settings as dotted keys: what a chain is, apart from what it is only called, shown or kept as."""

from collections.abc import Mapping
from typing import Any

FREE_SETTINGS = ("name", "num_generations", "tracking", "alarm", "data.root", "evaluation.cache_folder")
"""Settings that do not change what a generation is: a folder may be continued with other values of these."""


def flatten(config: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """A nested config as one level of dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        nested = flatten(value, prefix=f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        flat.update(nested)
    return flat


def is_free(key: str) -> bool:
    """Whether a dotted setting may change within a run folder."""
    return any(key == free or key.startswith(f"{free}.") for free in FREE_SETTINGS)
