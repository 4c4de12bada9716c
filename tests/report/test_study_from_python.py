"""What a notebook asks of a study: chains by name, curves, effects, and the samples and models that were stored."""

import subprocess
import sys

import pandas as pd
import pytest
import torch

from collapsar.foundations.errors import UsageError
from collapsar.foundations.seeding import make_generator
from collapsar.study.study import read_study
from tiny_chains import build_and_run

TORCHLESS = (
    "import sys; from collapsar import read_study; print(read_study({folder!r})); assert 'torch' not in sys.modules"
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, run_chain):
    folder = tmp_path_factory.mktemp("outputs")
    for seed in (0, 1):
        for arm, overrides in {"plain": (), "mixed": ("regime=accumulate",)}.items():
            run_chain(folder / f"{arm}_{seed}", f"seed={seed}", "model.width=4", *overrides)
    return folder


@pytest.fixture(scope="module")
def study(outputs):
    return read_study(str(outputs))


def test_a_study_an_arm_and_a_chain_say_what_they_are(study):
    assert repr(study) == "Study(2 arms, 4 chains: accumulate; replace)"
    assert repr(study.arm("accumulate")) == "Arm('accumulate', seeds 0, 1, up to generation 1)"
    assert repr(study.chain("plain_1")) == "Chain('plain_1', seed 1, 2 generations)"


def test_reading_a_study_needs_no_torch(outputs):
    done = subprocess.run(
        [sys.executable, "-c", TORCHLESS.format(folder=str(outputs))], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Study(2 arms, 4 chains")


def test_a_chain_is_found_by_folder_or_by_arm_and_seed(study, outputs):
    assert study.chain("mixed_1") is study.chain("accumulate", seed=1)
    assert read_study([outputs / "plain_0"]).chain("vae, replace").seed == 0


def test_a_curve_has_a_column_for_each_arm_and_seed(study):
    curves = study.curves("fid")
    assert curves.columns.tolist() == [("accumulate", 0), ("accumulate", 1), ("replace", 0), ("replace", 1)]
    assert curves[("replace", 1)].tolist() == [record.metrics["fid"] for record in study.chain("plain_1").records]
    assert (curves.index.name, curves.index.tolist()) == ("generation", [0, 1])


def test_records_are_rows(study):
    assert len(study.records) == 8
    assert study.records.groupby("arm")["generation"].max().to_dict() == {"replace": 1, "accumulate": 1}


def test_effects_are_rows_with_their_verdict(study):
    assert isinstance(study.effects, pd.DataFrame)
    assert {"arm", "outcome", "difference", "verdict"} <= set(study.effects.columns)


def test_a_stored_model_draws_the_stored_samples(study):
    chain = study.chain("mixed_1")
    for generation in (0, 1):
        stored, model = chain.samples(generation), chain.model(generation)
        assert not model.training
        drawn = model.sample(len(stored), make_generator(1, generation, "sample"))
        assert torch.equal(drawn.values, stored.values)
    assert torch.equal(chain.samples().values, chain.samples(1).values)


def test_a_folder_that_cannot_be_written_is_read(study, outputs):
    folder = outputs / "plain_0"
    folder.chmod(0o500)
    try:
        assert len(study.chain("plain_0").samples(0))
    finally:
        folder.chmod(0o700)


@pytest.mark.parametrize(
    ("ask", "text"),
    [
        (lambda study: study.chain("plain"), "there is no chain 'plain': there are mixed_0, mixed_1, plain_0, plain_1"),
        (lambda study: study.chain("replace"), "'replace' has chains of the seeds 0, 1: choose one with seed="),
        (lambda study: study.arm("x"), "there is no arm 'x': there are accumulate; replace"),
        (lambda study: study.curves("recal"), "no chain has recorded 'recal': there are recall"),
        (lambda study: study.chain("plain_0").model(5), "generation must be from 0 to 1: got 5"),
        (lambda study: study.chain("plain_0").samples(-1), "generation must be from 0 to 1: got -1"),
    ],
)
def test_a_mistake_is_refused_in_one_line(study, ask, text):
    with pytest.raises(UsageError, match=text):
        ask(study)


@pytest.mark.parametrize("target", ["os.system", "collapsar.foundations.errors.UsageError", "no.such.Model"])
def test_settings_that_name_no_model_are_refused(study, target):
    chain = study.chain("plain_0")
    before = chain.config["model"]["_target_"]
    chain.config["model"]["_target_"] = target
    try:
        with pytest.raises(UsageError, match="names no model that can be imported here"):
            chain.model(0)
    finally:
        chain.config["model"]["_target_"] = before


def test_a_model_whose_class_has_moved_is_opened(study):
    chain = study.chain("plain_0")
    before = chain.config["model"]["_target_"]
    chain.config["model"]["_target_"] = "collapsar.earlier.VAE"
    try:
        assert chain.model(0).name == "vae"
    finally:
        chain.config["model"]["_target_"] = before


def test_a_damaged_checkpoint_is_named(study, outputs):
    path = outputs / "plain_1" / "generation_001" / "model.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[:100])
    try:
        with pytest.raises(UsageError, match=r"model\.ckpt is missing or damaged"):
            study.chain("plain_1").model(1)
    finally:
        path.write_bytes(content)


def test_an_analytic_model_is_opened_too(tmp_path):
    settings = (
        "tracking=none",
        "data.num_train=100",
        "num_generations=2",
        "evaluation=quick",
        "evaluation.num_batches=0",
    )
    build_and_run(tmp_path / "run", "data=gaussian", "model=gaussian", *settings)
    chain = read_study(tmp_path).chain("run")
    drawn = chain.model(1).sample(len(chain.samples(1)), make_generator(0, 1, "sample"))
    assert torch.equal(drawn.values, chain.samples(1).values)
