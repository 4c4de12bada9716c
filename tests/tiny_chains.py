"""Chains that take a second, composed from conf as the command line would."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from collapsar.config import composition
from collapsar.foundations.record import GenerationRecord
from collapsar.training import train as train_module

TINY = (
    "data.num_train=200",
    "batch_size=32",
    "num_generations=2",
    "trainer.accelerator=cpu",
    "trainer.max_steps=5",
    "evaluation.accelerator=cpu",
    "evaluation=quick",
    "evaluation.metrics=[frechet,support,classes]",
    "evaluation.num_batches=0",
    "evaluation.num_samples=100",
    "share_generation_0=false",  # chains of one test that lie side by side are trained each for itself
    "judge.budget.num_steps=5",
    "judge.min_accuracy=0.0",
)

NARROW = {  # networks, by model
    "vae": ("model.width=8",),
    "gan": ("model.generator_width=8", "model.critic_width=8"),
    "flow": ("model.width=8", "model.num_steps=2"),
}


@cache
def compose_settings(*overrides: str):
    """The composed configuration, as the command line would have it."""
    composition.register()
    with initialize_config_dir(str(composition.config_folder()), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def build_and_run(folder: Path, *overrides: str):
    """Records of a chain in a folder, run without the command line."""
    config = compose_settings(*overrides)
    experiment = composition.build(config)
    settings = composition.settings(config)
    return experiment.run(folder, chain="chain", config=settings, console=Console(quiet=True), position="")


def fail_in(generation, *, error=KeyboardInterrupt):
    """A `train` that is interrupted in one generation."""
    original = train_module.train

    def interrupted(recipe, pool, **arguments):
        if arguments["generation"] == generation:
            raise error
        return original(recipe, pool, **arguments)

    return interrupted


def recorded(folder: Path):
    """All that stands in the records of a chain, but for what time and memory it took."""
    varying = ("seconds", "shared_seconds", "peak_memory_bytes", "checksum")
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in varying} for line in lines]


def killed_and_whole(folder: Path, monkeypatch, *overrides: str):
    """What a chain records that is killed in its generation 2 and continued, and what a whole one does."""
    build_and_run(folder / "whole", *overrides)
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(2))
        with pytest.raises(KeyboardInterrupt):
            build_and_run(folder / "killed", *overrides)
    build_and_run(folder / "killed", *overrides)
    return recorded(folder / "killed"), recorded(folder / "whole")


def pretend_it_was_begun(folder: Path, **changes):
    """Let a chain look as if it was begun on another machine."""
    machine = json.loads((folder / "machine.json").read_text()) | changes
    (folder / "machine.json").write_text(json.dumps(machine))
    records = [GenerationRecord.from_json(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines = [replace(record, machine=record.machine | changes).to_json() for record in records]
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
