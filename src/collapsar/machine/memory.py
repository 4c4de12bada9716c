"""The largest memory that a chain took: the peak of its process, counted from the chain's start.

On Linux the kernel forgets a peak when it is told to (`man 5 proc`, clear_refs and VmHWM), so a later chain of the same
process does not inherit an earlier one's. Elsewhere, or where the kernel refuses, the peak is the whole process's.
"""

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

from collapsar.machine.devices import forget_peak_device_memory

CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
FORGET_PEAK = "5"


def forget_peak_memory() -> None:
    """Count the peaks of the process and of its device from here on, where the system can."""
    forget_peak_device_memory()
    with suppress(OSError):
        CLEAR_REFS.write_text(FORGET_PEAK)


def peak_memory_bytes() -> int:
    """The largest resident set of this process since its peak was last forgotten."""
    if STATUS.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
