"""Device helpers: free memory, random state, out-of-memory errors.

A device is named by its class: `cpu`, `cuda` or `mps`.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from collapsar.errors import DeviceMemoryError

HOST_MEMORY_TEXTS = ("DefaultCPUAllocator", "MPS backend out of memory")  # these come as plain RuntimeErrors


def has_device(kind: str) -> bool:
    """Whether this machine has a device of this class."""
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return present.get(kind, False)


def free_bytes(device: torch.device) -> int:
    """Memory of a CUDA or MPS device that new tensors could take now, including memory that torch keeps for reuse."""
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    free, _total = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


@contextmanager
def device_seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Seed a GPU's generator, and restore its state afterwards. No other GPU is touched; a CPU is not seeded."""
    if device.type == "cpu":
        yield
        return
    current = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with torch.random.fork_rng(devices=[device], device_type=device.type), current:
        torch.get_device_module(device).manual_seed(seed)
        yield


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """States of the global generators that training on a device draws from: the CPU's and the device's own."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def set_random_states(device: torch.device, states: dict[str, torch.Tensor]) -> None:
    """Set the global generators to stored states."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type], device)


@contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Restore torch's thread count, its cuDNN and determinism switches, and the CPU's random state afterwards."""
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
    algorithms = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
        torch.use_deterministic_algorithms(algorithms, warn_only=warns)


@contextmanager
def tensor_cores_allowed(device: torch.device) -> Iterator[None]:
    """Compute float32 matrix products by TF32 on a CUDA device; restore the setting afterwards."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def explain_out_of_memory(what: str, *, advice: str) -> Iterator[None]:
    """Replace an out-of-memory error of a device, or of the machine, by a DeviceMemoryError of one sentence.

    `what` is done, such as "training generation 3"; `advice` is what to set, such as "lower batch_size=64".
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_of_host = any(text in str(error) for text in HOST_MEMORY_TEXTS)
        if not is_of_host and not isinstance(error, torch.OutOfMemoryError | MemoryError):
            raise
        raise DeviceMemoryError(f"out of memory in {what}: {advice}; finished generations stay") from error
