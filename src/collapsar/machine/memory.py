"""Peak memory of a chain: that of its process and of its CUDA device, counted from the chain's start.

On Linux the kernel can reset a peak (`man 5 proc`, clear_refs and VmHWM), so a later chain of the same process does not
inherit an earlier one's. Elsewhere, or if the kernel refuses, the peak is that of the whole process.
"""

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
FORGET_PEAK = "5"


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
