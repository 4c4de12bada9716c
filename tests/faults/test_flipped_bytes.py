"""A flipped bit in what a chain has stored is refused in one line, or harmless: the chain then records what it would.

The chain has finished two generations of three; the same command goes on after each flip.
"""

import random
import shutil

import pytest

from collapsar.foundations.errors import UsageError
from tiny_chains import build_and_run, recorded

SHORT = (
    "tracking=none", "data.num_train=100", "batch_size=50", "trainer.accelerator=cpu", "trainer.max_steps=1",
    "model=vae_mlp", "lever=[class_conditional]", "evaluation=quick", "evaluation.metrics=[frechet]",
    "evaluation.num_batches=0", "evaluation.num_samples=20", "evaluation.accelerator=cpu", "share_generation_0=false",
)  # fmt: skip
FILES = ("records.jsonl", "config.yaml", "generation_000/samples.npz", "generation_001/samples.npz")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A chain of two generations, and what one of three records; spaces are fitted once."""
    folder = tmp_path_factory.mktemp("flips")
    settings = (*SHORT, f"evaluation.cache_folder={folder / 'spaces'}")
    build_and_run(folder / "begun", *settings, "num_generations=2")
    build_and_run(folder / "whole", *settings, "num_generations=3")
    return folder, settings, recorded(folder / "whole")


def flip(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("number", [pytest.param(4, id="16"), pytest.param(80, marks=pytest.mark.slow, id="320")])
def test_a_flipped_bit_is_refused_or_harmless(begun, number):
    folder, settings, whole = begun
    num_refused = 0
    for file in FILES:
        rng = random.Random(file)
        for _ in range(number):
            shutil.rmtree(folder / "flipped", ignore_errors=True)
            shutil.copytree(folder / "begun", folder / "flipped")
            flip(folder / "flipped" / file, rng)
            refusal = refusal_of(folder / "flipped", settings)
            assert "\n" not in refusal
            assert refusal or recorded(folder / "flipped") == whole
            num_refused += bool(refusal)
    assert num_refused >= number, "flips in samples are refused, but for those in the name of their checksum"


def refusal_of(folder, settings):
    """What the command says that goes on; empty where it does."""
    try:
        build_and_run(folder, *settings, "num_generations=3")
    except UsageError as error:
        return str(error)
    return ""
