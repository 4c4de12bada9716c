"""Labels in chains: conditional samples keep theirs from model to pool and file; a judge labels any samples."""

import json

import numpy as np
import pytest
import torch

from collapsar.config import composition
from collapsar.drawing.selection import Judge, KeepAll, draw
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import binding_settings
from collapsar.models.bias import UNBIASED
from collapsar.models.generative import GenerativeModel
from test_levers_in_chains import SHORT
from tiny_chains import build_and_run, compose_settings, killed_and_whole

DOWNSTREAM = ("evaluation.metrics=[classes,downstream]", "evaluation.downstream.budget.num_steps=3")


def labels(folder, generation):
    with np.load(folder / f"generation_{generation:03d}" / "samples.npz") as arrays:
        return arrays.get("labels")


def lines(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
def test_conditional_samples_go_into_the_file_with_the_class_they_were_drawn_for(model, tmp_path):
    build_and_run(tmp_path, *SHORT, f"model={model}", "lever=[class_conditional]", *DOWNSTREAM)
    assert [len(set(labels(tmp_path, generation))) for generation in (0, 1)] == [10, 10]
    assert [line["labels_from"] for line in lines(tmp_path)] == ["condition"] * 2


def test_a_class_that_the_pool_has_lost_is_never_drawn_again(tmp_path):
    build_and_run(
        tmp_path, *SHORT, "lever=[class_conditional]", "num_synthetic=20", "batch_size=8", "num_generations=3"
    )
    first, second, third = (set(labels(tmp_path, generation)[:20]) for generation in range(3))
    assert third <= second <= first
    assert len(third) < 10


def test_unconditional_samples_have_no_labels_and_downstream_scores_take_the_sticks(tmp_path):
    build_and_run(tmp_path, *SHORT, *DOWNSTREAM)
    assert labels(tmp_path, 0) is None
    assert [line["labels_from"] for line in lines(tmp_path)] == ["stick"] * 2


def test_nothing_is_said_of_labels_that_nobody_has(tmp_path):
    build_and_run(tmp_path, *SHORT)
    assert "labels_from" not in lines(tmp_path)[0]


@pytest.mark.parametrize(
    "overrides", [[], ["lever=[class_conditional]"], ["model=gan", "selection=most_realistic"]], ids=str
)
def test_a_judge_labels_every_sample_of_every_model(overrides, tmp_path):
    build_and_run(tmp_path, *SHORT, "labelled_by=judge", *overrides)
    assert labels(tmp_path, 0) is not None
    assert [line["labels_from"] for line in lines(tmp_path)] == ["judge"] * 2


def test_the_label_is_the_class_that_the_judge_takes_a_sample_for():
    class Numbers(GenerativeModel):
        name, is_trained_in_steps = "numbers", False

        def sample(self, num_samples, generator, *, bias):
            return Samples(torch.arange(num_samples).float().unsqueeze(1), torch.zeros(num_samples, dtype=torch.int64))

    parity = Judge(
        features=torch.clone,
        real_features=lambda: torch.zeros(1, 1),
        class_probabilities=lambda values: torch.cat([1 - values % 2, values % 2], dim=1),
        realism=None,
        describe_space=dict,
    )
    settings = {
        "bias": UNBIASED,
        "reference": None,
        "selection": KeepAll(),
        "judge": parity,
        "as_rows": None,
        "seed": 0,
        "generation": 0,
    }
    assert draw(Numbers(), 4, labelled_by="judge", **settings).samples.labels.tolist() == [0, 1, 0, 1]
    assert draw(Numbers(), 4, labelled_by=None, **settings).samples.labels.tolist() == [0] * 4


def test_a_chain_that_a_judge_labels_continues_with_the_same_records(tmp_path, monkeypatch):
    overrides = (*SHORT, "num_generations=3", "labelled_by=judge", "lever=[class_conditional]", "regime=accumulate")
    killed, whole = killed_and_whole(tmp_path, monkeypatch, *overrides)
    assert killed == whole


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["judge=pca"], "labelled_by=judge needs a judge with classes"),
        (["data=gaussian", "model=gaussian"], "labelled_by=judge needs a judge with classes"),
        (["labelled_by=me"], "labelled_by must be null or judge: got me"),
    ],
    ids=str,
)
def test_a_labeller_that_there_is_not_is_refused(overrides, message):
    with pytest.raises(UsageError, match=message):
        composition.build(compose_settings("tracking=none", "labelled_by=judge", *overrides))


def test_a_judge_that_labels_binds_a_chain_and_one_that_nobody_asks_does_not():
    plain, labelled = (
        binding_settings(composition.settings(compose_settings(*given))) for given in ([], ["labelled_by=judge"])
    )
    assert not any(key.startswith("judge") for key in plain)
    assert "judge.feature_dim" in labelled
    assert labelled["labelled_by"] == "judge"


def test_a_lever_of_another_family_says_what_to_do_instead():
    with pytest.raises(UsageError, match=r"latent_components is not an option: .* leave out a lever that sets it"):
        composition.build(compose_settings("model=gan", "lever=[latent_mixture]", "tracking=none"))
