"""Chains of a VAE and a GAN that are asked to stop, or killed, at random instants: they leave in time, and in the end
their records are those of a chain that was left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_chains import recorded

HERE = Path(__file__).parent
CHAINS = {
    "vae": ("model=vae", "regime=replace", "model.width=4", "lever=[early_stopping,ema]"),
    "gan": ("model=gan", "regime=accumulate", "model.generator_width=4", "model.critic_width=4"),
}
TINY = (
    "tracking=none", "num_generations=2", "data.num_train=200", "batch_size=32", "trainer.max_steps=80",
    "evaluation=quick", "evaluation.num_samples=100", "evaluation.metrics=[frechet,classes]",
    "evaluation.num_batches=0", "trainer.accelerator=cpu", "evaluation.accelerator=cpu", "share_generation_0=false",
    "checkpoint_minutes=.002",
)  # fmt: skip
EXIT_CODES = {"SIGINT": (0, 130), "SIGTERM": (0, 143), "SIGUSR1": (0, 143), "SIGKILL": (-9,)}
MOST_SECONDS_TO_LEAVE = 10.0


def told(folder, *, chain, signal, count, seed=0):
    """What happened to each process."""
    command = [sys.executable, str(HERE / "preempted_chain.py"), str(folder), signal, str(count), str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [*command, *TINY, *CHAINS[chain]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(processes, *, signal):
    whole, *rest = processes
    assert whole["code"] == 0
    for process in rest:
        assert process["code"] in (EXIT_CODES[signal] if "delay" in process else (0,)), process
        assert process.get("seconds", 0) <= MOST_SECONDS_TO_LEAVE, process
    for folder in {process["folder"] for process in rest}:
        assert "Traceback" not in Path(f"{folder}.stderr").read_text()
        assert recorded(Path(folder)) == recorded(Path(whole["folder"]))
        assert not list(Path(folder).glob("*unfinished*"))


@pytest.mark.parametrize(
    ("chain", "signal"), [("vae", "SIGTERM"), pytest.param("gan", "SIGKILL", marks=pytest.mark.slow)]
)
def test_a_chain_that_is_stopped_at_a_random_instant_ends_as_one_left_alone(chain, signal, tmp_path):
    check(told(tmp_path, chain=chain, signal=signal, count=2), signal=signal)


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["SIGTERM", "SIGKILL", "SIGUSR1", "SIGINT"])
@pytest.mark.parametrize("chain", CHAINS)
def test_chains_that_are_stopped_at_25_random_instants_end_as_one_left_alone(chain, signal, tmp_path):
    check(told(tmp_path, chain=chain, signal=signal, count=25), signal=signal)
