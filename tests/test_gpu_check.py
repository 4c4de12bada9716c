"""`scripts/gpu-check` says of each step how it ended, and goes on after one that failed."""

import json
import sys
from pathlib import Path

import pytest

import gpu_check
from gpu_check import Step, in_words, recorded, steps

RECORD = {"generation": 1, "metrics": {"fid": 3.25, "recall": 0.5}, "seconds": {"train": 2.0}}


@pytest.mark.parametrize(
    ("code", "limit", "outcome"),
    [("print('done')", 60, "passed"), ("raise SystemExit(3)", 60, "exit code 3"), ("while True: pass", 1, "stopped")],
)
def test_a_step_says_how_it_ended(code, limit, outcome, tmp_path):
    step = Step(name="any", command=[sys.executable, "-c", code], limit=limit)
    step.run(tmp_path / "log")
    assert step.outcome.startswith(outcome)
    assert ("output" in step.figures) == (outcome != "passed")


def test_tests_that_were_all_skipped_are_no_pass_where_there_is_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: True)
    for line, outcome in (("== 4 skipped in 1.0s ==", "no test ran"), ("== 3 passed in 1.0s ==", "passed")):
        step = Step(name="tests", command=[sys.executable, "-c", f"print({line!r})"], limit=60)
        step.run(tmp_path / "log")
        assert step.outcome == outcome


def test_the_last_record_of_each_chain_is_told(tmp_path):
    chain = tmp_path / "mnist_vae_replace_seed2_ab"
    chain.mkdir()
    (chain / "records.jsonl").write_text("{}\n" + json.dumps(RECORD) + "\n")
    found = recorded(tmp_path)
    assert found[chain.name]["metrics"]["fid"] == 3.25
    assert in_words(found) == ["seed 2: training 2.0 s, fid 3.25, recall 0.5"]


@pytest.mark.parametrize("is_dry", [False, True])
def test_the_steps_end_within_twelve_minutes(is_dry):
    assert sum(step.limit for step in steps(Path("out"), is_dry=is_dry)) <= 12 * 60


def test_without_a_gpu_one_line_says_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu-check"])
    assert gpu_check.main() == 2
    assert capsys.readouterr().err.count("\n") == 1
