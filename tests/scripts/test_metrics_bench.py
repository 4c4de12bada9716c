import itertools
import sys
import timeit

import pytest
import torch

from benchmarks import metrics
from benchmarks.__main__ import main
from benchmarks.metrics import Case, make_table, measure
from collapsar.foundations.errors import UsageError


def test_table_has_a_row_for_each_case_and_both_sides_run(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(metrics, "FRECHET_DIMENSIONS", (4, 8))
    monkeypatch.setattr(timeit.Timer, "autorange", lambda timer: (1, timer.timeit(1)))
    assert main(["metrics", "--num-samples", "40", "--feature-dim", "4", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "prdc" in printed
    assert "torchmetrics" in printed


def test_a_missing_package_is_one_clear_line_and_exit_code_2(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "prdc", None)
    assert main(["metrics"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "prdc is needed" in line


def test_runs_are_interleaved_and_memory_is_seen():
    order = []

    def ours():
        order.append("ours")

    def other():
        order.append("other")
        for _ in range(5):
            torch.ones(2**24).sum()

    costs = measure(Case("task", "package", ours, other), repeats=2)
    assert order[:2] == ["ours", "other"]  # for memory
    runs = [side for side, _ in itertools.groupby(order[2:])]
    assert runs == ["ours", "other", "ours", "other"]
    assert costs[1].seconds > costs[0].seconds
    assert costs[1].extra_bytes > 2**24 or sys.platform != "linux"


def test_repeats_below_one_are_refused():
    with pytest.raises(UsageError, match="repeats must be at least 1"):
        make_table([], repeats=0)
