"""Corrections in a chain: the frozen model of generation 0, the record, and a chain that was killed."""

import json
from dataclasses import asdict

import pytest
import torch

from collapsar.config.composition import build
from collapsar.foundations.errors import UsageError
from collapsar.journal.store import RunFolder
from tiny_chains import compose_settings

CORRECTIONS = {
    "optimal_transport": ["correction.num_anchors=40", "correction.batch_size=50"],
    "optimal_transport_exact": ["correction.num_anchors=40", "correction.batch_size=50"],
    "nearest_mean": ["correction.num_means=3"],
    "extrapolation": [],
    "partial_samples": [],
}
VOLATILE = ("seconds", "shared_seconds", "peak_memory_bytes", "peak_device_memory_bytes")


def lasting(records):
    contents = [{key: value for key, value in asdict(record).items() if key not in VOLATILE} for record in records]
    return json.dumps(contents)


def samples(folder, generation):
    return RunFolder(folder).synthetic(generation).values


def overrides(correction, *others):
    return [f"correction={correction}", *CORRECTIONS[correction], *others]


def slow(correction):
    """A correction that goes on after a kill as another one does."""
    return pytest.param(correction, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "correction",
    ["optimal_transport", slow("optimal_transport_exact"), slow("nearest_mean"), "extrapolation", "partial_samples"],
)
def test_a_killed_chain_with_a_correction_equals_an_uninterrupted_one(correction, run_chain, tmp_path):
    settings = overrides(correction, "num_generations=3", "model.sample_from=likelihood")
    whole = run_chain(tmp_path / "whole", *settings)
    for num_generations in (1, 2, 3):
        parts = run_chain(tmp_path / "parts", *settings, f"num_generations={num_generations}")
    assert lasting(parts) == lasting(whole)
    assert all(torch.equal(samples(tmp_path / "parts", n), samples(tmp_path / "whole", n)) for n in range(3))


@pytest.mark.parametrize("correction", [slow("optimal_transport"), "partial_samples", slow("extrapolation")])
def test_a_killed_chain_of_conditional_models_with_a_mixture_of_latents_goes_on_the_same(
    correction, run_chain, tmp_path
):
    settings = overrides(correction, "lever=[class_conditional,latent_mixture,ema]", "cause=[label_noise]")
    whole = run_chain(tmp_path / "whole", *settings)
    run_chain(tmp_path / "parts", *settings, "num_generations=1")
    assert lasting(run_chain(tmp_path / "parts", *settings)) == lasting(whole)


def test_a_record_says_what_corrected_a_generation(run_chain, tmp_path):
    records = {name: run_chain(tmp_path / name, *overrides(name)) for name in ("nearest_mean", "extrapolation")}
    acted = {name: [record.correction for record in chain] for name, chain in records.items()}
    assert acted["nearest_mean"] == [{"name": "nearest_mean", "strength": 1.0, "num_means": 3}] * 2
    assert acted["extrapolation"] == [{}, {"name": "extrapolation", "weight": 0.5}]


def test_a_record_without_a_correction_says_nothing_of_one(run_chain, tmp_path):
    assert '"correction"' not in run_chain(tmp_path / "run", "num_generations=1")[0].to_json()


def test_a_strength_of_0_leaves_a_chain_as_it_is(run_chain, tmp_path):
    plain = run_chain(tmp_path / "plain")
    run_chain(tmp_path / "corrected", *overrides("optimal_transport", "correction.strength=0"))
    for record in plain:
        generation = record.generation
        assert torch.equal(samples(tmp_path / "plain", generation), samples(tmp_path / "corrected", generation))


def test_partial_samples_of_share_0_put_the_real_images_into_the_next_pool(run_chain, tmp_path):
    run_chain(tmp_path / "run", *overrides("partial_samples", "correction.share=0", "num_generations=1"))
    real = build(compose_settings("data.num_train=200")).data.load().train

    def in_order(images):
        return sorted(map(tuple, images.flatten(1).tolist()))

    assert in_order(samples(tmp_path / "run", 0)) == in_order(real.values)


def test_the_stored_model_of_an_extrapolated_chain_is_the_trained_one(run_chain, tmp_path):
    folders = {weight: tmp_path / str(weight) for weight in (-1, 2)}
    for weight, folder in folders.items():
        run_chain(folder, *overrides("extrapolation", f"correction.weight={weight}"))
    stored = [
        torch.load(RunFolder(folder).model_path(1), weights_only=True)["state_dict"] for folder in folders.values()
    ]
    assert all(torch.equal(value, stored[1][name]) for name, value in stored[0].items())
    assert not torch.equal(*(samples(folder, 1) for folder in folders.values()))


def test_a_chain_whose_first_model_is_gone_is_refused_by_the_file(run_chain, tmp_path):
    settings = overrides("nearest_mean")
    run_chain(tmp_path / "run", *settings, "num_generations=1")
    RunFolder(tmp_path / "run").model_path(0).write_bytes(b"PK half")
    with pytest.raises(UsageError, match=r"generation_000/model.ckpt is missing or damaged .*; restore the file"):
        run_chain(tmp_path / "run", *settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["correction=partial_samples", "model=gan"], "needs a model with an encoder: choose model=vae or flow"),
        (["correction=extrapolation", "model=gaussian", "data=gaussian"], "choose model=vae, gan or flow"),
        (
            ["correction=nearest_mean", "model=categorical", "data=categorical"],
            "are categories: choose correction=none",
        ),
        (["correction=optimal_transport", "data.num_train=800"], "at most the 800 real training samples: got 1000"),
        (["correction=optimal_transport", "cause=few_samples"], "at most the 287 real training samples: got 1000"),
        (["correction=nearest_mean", "correction.num_means=144"], "num_means must be at most 143"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused_when_it_is_composed(settings, message):
    with pytest.raises(UsageError, match=message):
        build(compose_settings(*settings))
