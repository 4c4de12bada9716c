"""The speed and memory table: our metrics beside the packages one would use otherwise, in one process.

Runs are interleaved, ours and theirs in turn, so that a busy machine slows both; the fastest of each is shown, of short
tasks the mean of as many as take a fifth of a second. Memory is the highest resident size above that before, in a run
of its own, because watching it takes time.
"""

import contextlib
import ctypes
import gc
import io
import os
import sys
import threading
import timeit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from rich.table import Table
from torch import Tensor

from collapsar.foundations.errors import UsageError
from collapsar.metrics.frechet import compute_moments, frechet_distance_from_moments
from collapsar.metrics.neighbours.scores import RealSide, count_members, neighbour_scores, prepare_real_side, summarise

NUM_NEIGHBOURS = 5
FRECHET_DIMENSIONS = (64, 256, 512)


@dataclass(frozen=True)
class Case:
    """One row of the table: the same task done by us and by another package."""

    task: str
    other: str
    ours_run: Callable[[], object]
    other_run: Callable[[], object]


@dataclass(frozen=True)
class Cost:
    """The fastest run in seconds, and the extra memory of one in bytes."""

    seconds: float
    extra_bytes: int


def make_cases(*, num_samples: int, feature_dim: int) -> list[Case]:
    """Neighbour scores against prdc and torch-fidelity, the Fréchet distance of moments against torchmetrics.

    Raises:
        UsageError: one of these packages is not installed.
    """
    return [
        *_neighbour_cases(num_samples=num_samples, feature_dim=feature_dim),
        *(_frechet_case(feature_dim=dim) for dim in FRECHET_DIMENSIONS),
    ]


def make_table(cases: Sequence[Case], *, repeats: int) -> Table:
    """Run every case `repeats` times on either side.

    Raises:
        UsageError: `repeats` is below one.
    """
    if repeats < 1:
        raise UsageError(f"repeats must be at least 1: got {repeats}")
    table = Table(title=f"{torch.get_num_threads()} threads, fastest of {repeats}, extra memory in MB")
    for heading in ("task", "other", "ours s", "other s", "times faster", "ours MB", "other MB"):
        table.add_column(heading, justify="left" if heading in {"task", "other"} else "right")
    for case in cases:
        ours, other = measure(case, repeats=repeats)
        table.add_row(
            case.task,
            case.other,
            f"{ours.seconds:.4f}",
            f"{other.seconds:.4f}",
            f"{other.seconds / ours.seconds:.1f}",
            f"{ours.extra_bytes / 2**20:.0f}",
            f"{other.extra_bytes / 2**20:.0f}",
        )
    return table


def measure(case: Case, *, repeats: int) -> tuple[Cost, Cost]:
    """Our cost and the other's, from runs in turn."""
    tasks = (case.ours_run, case.other_run)
    extra_bytes = [_measure_memory(task) for task in tasks]
    seconds = [[_measure_seconds(task) for task in tasks] for _ in range(repeats)]
    ours, other = (
        Cost(min(times), extra) for times, extra in zip(zip(*seconds, strict=True), extra_bytes, strict=True)
    )
    return ours, other


def _neighbour_cases(*, num_samples: int, feature_dim: int) -> Iterator[Case]:
    prdc = _import("prdc")
    fidelity = _import("torch_fidelity.metric_prc")
    for dtype in (torch.float32, torch.float64):
        real, synthetic = (_draw(num_samples, feature_dim, seed=seed, dtype=dtype) for seed in (0, 1))
        side = prepare_real_side(real, num_neighbours=NUM_NEIGHBOURS)

        # Bound as defaults: each case keeps the features of its own turn of the loop.
        def whole(real: Tensor = real, synthetic: Tensor = synthetic) -> object:
            return neighbour_scores(real=real, synthetic=synthetic, num_neighbours=NUM_NEIGHBOURS)

        def cached(side: RealSide = side, synthetic: Tensor = synthetic) -> object:
            return summarise(count_members(real=side, synthetic=synthetic), real=side)

        def by_prdc(real: Tensor = real, synthetic: Tensor = synthetic) -> object:
            return prdc.compute_prdc(real.numpy(), synthetic.numpy(), NUM_NEIGHBOURS)

        def by_fidelity(real: Tensor = real, synthetic: Tensor = synthetic) -> object:
            return fidelity.calculate_precision_recall_full(synthetic, real, NUM_NEIGHBOURS)

        name = f"{num_samples} x {feature_dim} {str(dtype).removeprefix('torch.')}"
        yield Case(f"neighbour scores, {name}", "prdc", whole, by_prdc)
        yield Case(f"the same, real side cached, {name}", "prdc", cached, by_prdc)
        yield Case(f"neighbour scores, {name}", "torch-fidelity (two of four)", whole, by_fidelity)


def _frechet_case(*, feature_dim: int) -> Case:
    torchmetrics = _import("torchmetrics.image.fid")
    real, synthetic = (
        compute_moments(_draw(4 * feature_dim, feature_dim, seed=seed, dtype=torch.float64)) for seed in (0, 1)
    )
    return Case(
        f"Fréchet distance of moments, {feature_dim}",
        "torchmetrics",
        lambda: frechet_distance_from_moments(real=real, synthetic=synthetic),
        lambda: torchmetrics._compute_fid(real.mean, real.covariance, synthetic.mean, synthetic.covariance),
    )


def _draw(num_samples: int, feature_dim: int, *, seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, feature_dim, generator=generator, dtype=dtype)


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        package = name.split(".", maxsplit=1)[0].replace("_", "-")
        raise UsageError(f"{package} is needed to compare with: install it with pip install {package}") from error


def _measure_seconds(task: Callable[[], object]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):  # prdc prints
        num_runs, seconds = timeit.Timer(task).autorange()
    return seconds / num_runs


def _measure_memory(task: Callable[[], object]) -> int:
    with _watch_memory() as peak, contextlib.redirect_stdout(io.StringIO()):
        task()
    return peak[0]


@contextlib.contextmanager
def _watch_memory() -> Iterator[list[int]]:
    """A list whose one entry becomes the highest resident size within the block, above that at its start."""
    _return_freed_memory()
    start, peak, is_done = _resident_bytes(), [0], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.002):
            peak[0] = max(peak[0], _resident_bytes() - start)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        is_done.set()
        watcher.join()


def _return_freed_memory() -> None:
    """Give freed memory back to the system, else a run that takes it again shows no growth."""
    gc.collect()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc has it, musl does not
        libc.malloc_trim(0)


def _resident_bytes() -> int:
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # only Linux tells; elsewhere the column stays zero
        return 0
    return int(statistics.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
