"""Device helpers: free memory, peak memory, random state, out-of-memory errors.

A device is named by its class: `cpu`, `cuda` or `mps`. Peaks are counted from the start of a chain: on Linux the kernel
can reset that of a process (`man 5 proc`, clear_refs and VmHWM); elsewhere it is the peak of the whole process.
"""

import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import torch

from collapsar.foundations.errors import DeviceMemoryError

HOST_MEMORY_TEXTS = ("DefaultCPUAllocator", "MPS backend out of memory")  # these come as plain RuntimeErrors
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
FORGET_PEAK = "5"


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


def forget_peak_memory() -> None:
    """Restart the peak counts of the process and of its device, if the system can."""
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        CLEAR_REFS.write_text(FORGET_PEAK)


def peak_memory_bytes() -> int:
    """The largest resident set of this process since its peak count was restarted."""
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_memory_bytes() -> int | None:
    """Peak memory of tensors on the CUDA device since its count was restarted; None if CUDA is not in use."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else None


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
