"""Each call that changes the run folder may fail: one line says so, and the same command ends with the same records.

The calls (open, write, flush, rename, mkdir, truncate, lock) fail one by one in the C library, as a full or broken disk
or a folder that may not be written would let them, until a chain passes without meeting the failure.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from collapsar.foundations.files import line_is_whole
from tiny_chains import recorded

HERE = Path(__file__).parent
CHAINS = {
    "vae": ("model=vae", "regime=replace", "model.width=4"),
    "gan": ("model=gan", "regime=accumulate", "model.generator_width=4", "model.critic_width=4"),
}
TINY = (
    "tracking=none", "num_generations=2", "data.num_train=200", "batch_size=32", "trainer.max_steps=3",
    "evaluation=quick", "evaluation.num_samples=100", "evaluation.metrics=[frechet,classes]",
    "evaluation.num_batches=0", "trainer.accelerator=cpu", "evaluation.accelerator=cpu", "share_generation_0=false",
)  # fmt: skip
DONE, BROKE_DOWN, REFUSED = 0, 1, 2


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library that lets calls fail, compiled."""
    if sys.platform != "linux" or not (compiler := shutil.which("gcc") or shutil.which("cc")):
        pytest.skip("needs Linux and a C compiler")
    path = tmp_path_factory.mktemp("faults") / "failing_calls.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", path, HERE / "failing_calls.c", "-ldl"], check=True)
    return path


def records(folder):
    """What was recorded, but for what time and memory it took."""
    lines = (Path(folder) / "records.jsonl").read_text().splitlines()
    assert all(map(line_is_whole, lines))
    return recorded(Path(folder))


def failing_chains(library, folder, *, chain, first, stride):
    """What happened for the first call, for that after a stride, and so on, until none is left to fail."""
    command = [sys.executable, str(HERE / "failing_chain.py"), str(folder), str(first), str(stride)]
    environment = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [*command, *TINY, *CHAINS[chain]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(outcomes):
    whole = outcomes[-1]
    assert whole["code"] == DONE
    expected = records(whole["folder"])
    for outcome in outcomes:
        assert outcome["code"] in (DONE, BROKE_DOWN, REFUSED), outcome
        assert "Traceback" not in outcome["stderr"] + outcome["again_stderr"], outcome
        if outcome["code"] != DONE:
            said = [line for line in outcome["stderr"].splitlines() if line.startswith("collapsar: ")]
            assert len(said) == 1, outcome
            assert outcome["folder"] in said[0] or "cannot write below .hydra in the run folder" in said[0], outcome
        assert outcome["again"] == DONE, outcome
        assert records(outcome["folder"]) == expected, outcome


def test_a_failing_call_is_told_in_one_line_and_the_same_command_ends_with_the_same_records(library, tmp_path):
    outcomes = failing_chains(library, tmp_path, chain="vae", first=3, stride=30)
    assert len(outcomes) > 4
    check(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("chain", CHAINS)
def test_every_failing_call_is_survived(chain, library, tmp_path):
    check(failing_chains(library, tmp_path, chain=chain, first=1, stride=1))
