"""The peak of memory holds what was freed again, and is forgotten when a chain starts."""

import os
from pathlib import Path

import numpy as np
import pytest

from collapsar.machine import devices
from collapsar.machine.devices import CLEAR_REFS, forget_peak_memory, peak_memory_bytes

BIG_BYTES = 300_000_000

needs_a_kernel_that_forgets = pytest.mark.skipif(not os.access(CLEAR_REFS, os.W_OK), reason="the kernel keeps peaks")


def allocate_and_free(num_bytes=BIG_BYTES):
    np.ones(num_bytes // 8).sum()


@needs_a_kernel_that_forgets
def test_the_peak_holds_what_was_freed_again():
    forget_peak_memory()
    before = peak_memory_bytes()
    allocate_and_free()
    assert peak_memory_bytes() - before > 0.9 * BIG_BYTES


@needs_a_kernel_that_forgets
def test_a_peak_is_forgotten():
    allocate_and_free()
    before = peak_memory_bytes()
    forget_peak_memory()
    assert before - peak_memory_bytes() > 0.9 * BIG_BYTES


def test_without_the_kernels_files_the_peak_is_that_of_the_process(monkeypatch):
    allocate_and_free()
    monkeypatch.setattr(devices, "CLEAR_REFS", Path("/nowhere"))
    monkeypatch.setattr(devices, "STATUS", Path("/nowhere"))
    forget_peak_memory()
    assert peak_memory_bytes() > BIG_BYTES
