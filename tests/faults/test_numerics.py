"""NaN and infinity stop a chain with a sentence that says where; a generator that has died is measured."""

import json

import pytest
import torch

from collapsar.foundations.errors import NonFiniteError
from collapsar.journal.store import RunFolder
from collapsar.judging import evaluation
from collapsar.judging.spaces.base import FittedSpace
from collapsar.judging.spaces.embedders import TrainingBudget, train_classifier
from collapsar.models.gan.gan import GAN
from collapsar.models.vae.vae import VAE
from tiny_chains import TINY, build_and_run

ALL_OF_IMAGES = (
    "evaluation.metrics=[frechet,frechet_debiased,kernel,support,support_clipped,support_symmetric,support_tail,"
    "recall_by_class,diversity,novelty,classes]"
)


def test_features_that_break_down_name_the_space_and_the_generation(run_chain, tmp_path, monkeypatch):
    original = FittedSpace.extract

    def broken(self, samples):
        if is_second and self.name == "pca":
            self.embedder.axes.fill_(torch.nan)
        return original(self, samples)

    is_second = False
    monkeypatch.setattr(evaluation, "_last", [])  # what is broken here is not kept for other tests
    monkeypatch.setattr(FittedSpace, "extract", broken)
    run_chain(tmp_path / "run", "num_generations=1")
    is_second = True
    with pytest.raises(NonFiniteError, match=r"features of the pca space hold \d+ NaN .* of samples of generation 1"):
        run_chain(tmp_path / "run")
    assert [record.generation for record in RunFolder(tmp_path / "run").records()] == [0]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_checkpoint_with_broken_weights_stops_the_chain_that_begins_with_it(run_chain, tmp_path, value):
    run_chain(tmp_path / "run", "lever=[warm_start]", "num_generations=1")
    path = tmp_path / "run" / "generation_000" / "model.ckpt"
    stored = torch.load(path, weights_only=True)
    for weight in stored["state_dict"].values():
        weight.fill_(value)
    torch.save(stored, path)
    with pytest.raises(NonFiniteError, match=r"is (nan|inf) in generation 1, epoch 0, step 0"):
        run_chain(tmp_path / "run", "lever=[warm_start]")
    assert [record.generation for record in RunFolder(tmp_path / "run").records()] == [0]


def test_a_classifier_that_breaks_down_says_so():
    network = torch.nn.Linear(2, 2)
    batch = (torch.full((4, 2), 1e30), torch.tensor([0, 1, 0, 1]))
    budget = TrainingBudget(num_steps=3, batch_size=4, learning_rate=1e30, weight_decay=0.0)
    with pytest.raises(NonFiniteError, match="a classifier became NaN or infinite in its 3 steps"):
        train_classifier(network, lambda generator: batch, budget=budget, seed=0)


def test_numbers_that_break_down_end_the_command_with_1_and_one_line(collapsar, tiny):
    code, stderr = collapsar(*tiny, "tracking=none", "model.learning_rate=1e30")
    assert code == 1
    assert "in generation 0" in stderr.splitlines()[-1]


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_generator_that_has_died_is_measured(tmp_path, monkeypatch, model):
    def decode(self, latents, generator, *, likelihood_spread, labels=None):
        return torch.full((len(latents), *self.sample_shape), 0.5)

    monkeypatch.setattr({"vae": VAE, "gan": GAN}[model], "decode", decode)
    records = build_and_run(tmp_path / "run", *TINY, "tracking=none", f"model={model}", ALL_OF_IMAGES)
    assert [record.generation for record in records] == [0, 1]
    for record in records:
        assert record.metrics["recall"] == 0
        assert record.metrics["vendi"] == pytest.approx(1)  # of so many different images there is one
        assert record.metrics["fid"] > 10
    profile = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert profile
