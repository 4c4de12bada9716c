"""Chains that take a second, composed from conf as the command line would."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from rich.console import Console

from collapsar import composition
from collapsar.records import GenerationRecord
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


def pretend_it_was_begun(folder: Path, **changes):
    """Let a chain look as if it was begun on another machine."""
    machine = json.loads((folder / "machine.json").read_text()) | changes
    (folder / "machine.json").write_text(json.dumps(machine))
    records = [GenerationRecord.from_json(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    lines = [replace(record, machine=record.machine | changes).to_json() for record in records]
    (folder / "records.jsonl").write_text("".join(f"{line}\n" for line in lines))
