"""`collapsar-bench training`: how fast the shipped models train, beside the plain way and a loop by hand.

Everything is measured in one run, each time in a fresh process, so that its memory is its own; the ways take turns, so
that a busy machine slows all of them, and medians are told.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from benchmarks.composed import Case
from benchmarks.processes import Fresh, fresh_processes
from benchmarks.quality import OLD, SHIPPED, Quality, measure_quality
from benchmarks.shares import other_seconds
from benchmarks.ways import WARM_STEPS, WAYS, Pace, Work, describe_work, measure_pace
from collapsar.foundations.errors import UsageError

QUALITY_DATA = "mnist"  # what the recipes of version 0.2 are for
NUM_STEPS, QUICK_STEPS = 200, 15
QUICK_WARM_STEPS = 5

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        repeats: Processes for each way.
        is_quick: Whether few steps are timed, images are random, few samples are scored, and no recipe runs to its end.
    """

    repeats: int
    is_quick: bool

    @property
    def num_steps(self) -> int:
        """Training steps in each process; ours are timed whenever losses are read, so some more."""
        return QUICK_STEPS if self.is_quick else NUM_STEPS

    @property
    def warm_steps(self) -> int:
        """Steps before the clock starts."""
        return QUICK_WARM_STEPS if self.is_quick else WARM_STEPS


def measure_everything(cases: Sequence[Case], effort: Effort, *, tell: Tell) -> dict[str, Any]:
    """All there is to measure, as plain values.

    Args:
        cases: Models on data sets.
        effort: How much.
        tell: Takes a line whenever something is measured.

    Raises:
        UsageError: fewer than one repeat, or settings that no experiment has.
    """
    if effort.repeats < 1:
        raise UsageError(f"repeats must be at least 1: got {effort.repeats}")
    with fresh_processes() as fresh:
        return {
            "machine": machine(),
            "effort": asdict(effort) | {"num_steps": effort.num_steps},
            "cases": [measure_case(case, effort, fresh=fresh, tell=tell) for case in cases],
            "quality": [] if effort.is_quick else measure_qualities(cases, fresh=fresh, tell=tell),
        }


def measure_case(case: Case, effort: Effort, *, fresh: Fresh, tell: Tell) -> dict[str, Any]:
    """The paces of all ways, and what a generation is made of where its images can be read."""
    work: Work = fresh(describe_work, case)
    paces: dict[str, list[Pace]] = {way: [] for way in WAYS}
    for repeat in range(effort.repeats):
        for way, found in paces.items():
            found.append(
                fresh(
                    measure_pace,
                    case,
                    way,
                    warm_steps=effort.warm_steps,
                    num_steps=effort.num_steps,
                    is_random=effort.is_quick or not work.has_files,
                )
            )
            tell(f"{case}: {way}, {repeat + 1} of {effort.repeats}: {found[-1].images_per_second:,.0f} images/s")
    ways = {way: summarise(found, work) for way, found in paces.items()}
    pace = {way: found["images_per_second"] for way, found in ways.items()}
    seconds: dict[str, float] = {}
    if work.has_files:
        train = work.num_steps * work.batch_size / pace["ours"]
        seconds = {"train": train, **fresh(other_seconds, case, is_quick=effort.is_quick)}
        tell(f"{case}: a generation, {', '.join(f'{phase} {value:.2f} s' for phase, value in seconds.items())}")
    return {
        "data": case.data,
        "model": case.model,
        **asdict(work),
        "ways": ways,
        "times_plain": pace["ours"] / pace["plain"],
        "times_by_hand": pace["ours"] / pace["by_hand"],
        "phase_seconds": seconds,
        "phase_shares": {phase: value / sum(seconds.values()) for phase, value in seconds.items()},
    }


def summarise(paces: Sequence[Pace], work: Work) -> dict[str, Any]:
    """A way's medians, and its largest memory; `matrix_share` is what it makes of the machine's best."""
    flops_per_image = work.step_flops / work.batch_size
    return {
        "images_per_second": median(pace.images_per_second for pace in paces),
        "precision": paces[0].precision,
        "matrix_flops": median(pace.matrix_flops for pace in paces),
        "matrix_share": median(pace.images_per_second * flops_per_image / pace.matrix_flops for pace in paces),
        "peak_bytes": max(pace.peak_bytes for pace in paces),
        "peak_device_bytes": max(pace.peak_device_bytes for pace in paces),
    }


def measure_qualities(cases: Sequence[Case], *, fresh: Fresh, tell: Tell) -> list[dict[str, Any]]:
    """Seconds to quality of both recipes, where there are two and the images can be read."""
    found = []
    for case in cases:
        if case.data != QUALITY_DATA or not fresh(describe_work, case).has_files:
            continue
        for recipe in (OLD, SHIPPED):
            quality: Quality = fresh(measure_quality, case, recipe)
            tell(f"{case}: {recipe}, {quality}")
            found.append({"data": case.data, "model": case.model, **asdict(quality)})
    return found


def machine() -> Mapping[str, Any]:
    """What numbers depend on."""
    has_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if has_gpu else "cpu",
        "cpu": platform.processor() or platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
