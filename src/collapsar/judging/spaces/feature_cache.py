"""The disk cache of feature spaces, real sides and floors: tensors and their checksum."""

import io
import logging
import pickle
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from collapsar.errors import UsageError
from collapsar.files import write_atomically

logger = logging.getLogger(__name__)


def load_or_compute(path: Path, *, key: str, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Load the tensors stored at path under this key, or compute and store them while other processes wait.

    If the file is truncated, damaged or foreign, warn and compute it anew; raise UsageError if it cannot be written.
    """
    if (found := _load(path, key=key)) is not None:
        return found
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if (found := _load(path, key=key)) is None:
                found = {name: tensor.detach().cpu() for name, tensor in compute().items()}
                _save(found, path, key=key)
            return found
    except OSError as error:
        raise UsageError(f"the feature space cannot be cached in {path.parent}: {error.strerror or error}") from error


def _load(path: Path, *, key: str) -> dict[str, Tensor] | None:
    if not path.exists():
        return None
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        tensors: dict[str, Tensor] = stored["tensors"]
        if stored["key"] == key and stored["checksum"] == checksum(tensors):
            return tensors
        reason = "its contents do not match its key and checksum"
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        reason = type(error).__name__
    logger.warning("the cached feature space %s is unusable and is computed anew: %s", path, reason)
    return None


def _save(tensors: dict[str, Tensor], path: Path, *, key: str) -> None:
    content = io.BytesIO()
    torch.save({"key": key, "checksum": checksum(tensors), "tensors": tensors}, content)
    write_atomically(path, content.getvalue())


def checksum(tensors: dict[str, Tensor]) -> str:
    """A stable digest of names, types, shapes and values, the same on every device."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().flatten().numpy().data)  # `tobytes` would copy
    return digest.hexdigest()
