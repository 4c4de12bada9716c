"""`collapsar-verify`: checks the loop against closed forms.

The chains use the same regimes, pools, data sources and model classes as every experiment (see `protocols`); only the
laws in `theory` are independent of them. Standard errors are taken over blocks, because the chains of a block share the
regime's draws. The threshold is a quantile of Student's t: true laws fail in less than one run of a thousand, all
checks together. The size and the real weight of pools are checked as exact numbers.
"""

import math
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import stats
from torch import Tensor

from collapsar.seeding import derive_seed
from collapsar.verification.protocol import Protocol, Statistic, make_part
from collapsar.verification.protocols import protocols

FALSE_ALARM_RATE = 5e-4  # of a whole run; 1e-3 is promised, but skewed statistics have longer tails than Student's t
NUM_WORKERS = 2  # each runs one protocol at a time; the tensors are too small to split


@dataclass(frozen=True, kw_only=True)
class Check:
    """One law compared with the loop."""

    law: str  # name of the statistic, and the setting it was measured in
    regime: str
    measured: float  # mean over blocks
    expected: float  # the law's value or lower bound
    standard_error: float  # of `measured`; 0 if all blocks agree, as exact numbers do
    z: float | None  # (measured - expected) / standard_error; None if an exact number is wrong
    passed: bool  # whether z is within the threshold; for a lower bound, any positive z passes too


def check(protocol: Protocol, *, seed: int, num_checks: int) -> list[Check]:
    """Check every law of a protocol over all its blocks; all `num_checks` of a run share the rate of false alarms."""
    measured = torch.zeros(protocol.num_blocks, len(protocol.statistics), dtype=torch.float64)
    for block in range(protocol.num_blocks):
        chain = protocol.run(derive_seed(seed, block, "block"))
        measured[block] = torch.tensor([own.measure(chain) for own in protocol.statistics], dtype=torch.float64)
    threshold = float(stats.t.isf(FALSE_ALARM_RATE / num_checks / 2, protocol.num_blocks - 1))
    return [
        compare(statistic, regime=make_part(protocol.regime).name, blocks=blocks, threshold=threshold)
        for statistic, blocks in zip(protocol.statistics, measured.T, strict=True)
    ]


def compare(statistic: Statistic, *, regime: str, blocks: Tensor, threshold: float) -> Check:
    """Compare the expectation with the values of all blocks [block]."""
    measured, expected = blocks.mean().item(), statistic.expected
    difference, standard_error = measured - expected, (blocks.std() / math.sqrt(len(blocks))).item()
    rounding = 1e-9 * max(abs(expected), 1.0)
    z: float | None
    if standard_error > rounding:
        z = difference / standard_error
    else:
        standard_error, z = 0.0, 0.0 if abs(difference) <= rounding else None
    return Check(
        law=statistic.name,
        regime=regime,
        measured=measured,
        expected=expected,
        standard_error=standard_error,
        z=z,
        passed=z is not None and (z >= -threshold if statistic.is_lower_bound else abs(z) <= threshold),
    )


def verify(*, seed: int, console: Console) -> list[Check]:
    """Run every protocol and check its laws."""
    everything = protocols()
    num_checks = sum(len(protocol.statistics) for protocol in everything)
    torch.set_num_threads(1)
    can_fork = sys.platform == "linux"  # forks run the code that this process has loaded; elsewhere they are not safe
    pool = ProcessPoolExecutor(NUM_WORKERS, get_context("fork")) if can_fork else ThreadPoolExecutor(NUM_WORKERS)
    with pool as workers:
        results = workers.map(partial(check_numbered, seed=seed, num_checks=num_checks), range(len(everything)))
        progress = track(results, total=len(everything), description="verifying", console=console, transient=True)
        return [result for results_of_one in progress for result in results_of_one]


def check_numbered(number: int, *, seed: int, num_checks: int) -> list[Check]:
    """The checks of one protocol, chosen by number because protocols cannot be sent to another process."""
    return check(protocols()[number], seed=seed, num_checks=num_checks)


def as_table(checks: Sequence[Check]) -> Table:
    """The checks as a table for the terminal."""
    table = Table("law", "regime", title="the loop against its closed forms")
    for column in ("measured", "expected", "std. error", "z", ""):
        table.add_column(column, justify="right")
    for check in checks:
        z = "-" if check.z is None else f"{check.z:+.2f}"
        verdict = "[green]passed[/]" if check.passed else "[bold red]FAILED[/]"
        numbers = (f"{check.measured:.5f}", f"{check.expected:.5f}", f"{check.standard_error:.1e}")
        table.add_row(check.law, check.regime, *numbers, z, verdict)
    return table
