"""What a generation is made of besides training: a short chain is run, and its second generation timed.

The first generation also fits, measures and loads what stays for the chain, so the second is the one that is like all
others. Training is cut short and not counted here: its time is the budget at the pace that was measured.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.composed import Case
from benchmarks.ways import quiet
from collapsar.foundations.record import GenerationRecord
from collapsar.journal.store import RunFolder
from collapsar.journal.tracking import NoTracking

TRAINED_STEPS, QUICK_STEPS = 40, 5
QUICK_SAMPLES = 1_000


class NoteTimes(NoTracking):
    """Notes when each generation is stored."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def log(self, store: RunFolder, record: GenerationRecord) -> None:
        self.times.append(time.perf_counter())


def other_seconds(case: Case, *, is_quick: bool) -> dict[str, float]:
    """Seconds of a generation by phase, but for training: sample, evaluate, store, and all else.

    Args:
        case: What is trained.
        is_quick: Whether fewer samples are drawn and measured than a chain would.
    """
    num_steps = QUICK_STEPS if is_quick else TRAINED_STEPS
    short = [f"trainer.max_steps={num_steps}", "num_generations=2", "share_generation_0=false"]
    with quiet(), tempfile.TemporaryDirectory() as folder:
        experiment, _ = case.composed(*short)
        if is_quick:
            count = min(QUICK_SAMPLES, experiment.data.sizes.test)
            short += [
                f"{key}={count}" for key in ("num_synthetic", "evaluation.num_samples", "evaluation.num_training")
            ]
        experiment, settings = case.composed(*short)
        noted = NoteTimes()
        experiment = replace(experiment, tracking=noted)
        with timed_calls(RunFolder, "write_generation") as store_seconds:
            records = experiment.run(Path(folder) / "run", chain="bench", config=settings, console=Console(quiet=True))
    whole, seconds = noted.times[1] - noted.times[0], records[1].seconds
    phases = {"sample": seconds["sample"], "evaluate": seconds["evaluate"], "store": store_seconds[1]}
    return phases | {"other": max(whole - seconds["train"] - sum(phases.values()), 0.0)}


@contextmanager
def timed_calls(owner: type, name: str) -> Iterator[list[float]]:
    """A list that gets the seconds of each call of a method within the block."""
    original: Callable[..., Any] = getattr(owner, name)
    seconds: list[float] = []

    def timed(*arguments: Any, **keywords: Any) -> Any:
        start = time.perf_counter()
        result = original(*arguments, **keywords)
        seconds.append(time.perf_counter() - start)
        return result

    setattr(owner, name, timed)
    try:
        yield seconds
    finally:
        setattr(owner, name, original)
