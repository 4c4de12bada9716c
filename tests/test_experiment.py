"""The loop: the same seed gives the same bytes, a killed chain equals an uninterrupted one, breakdowns are named."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import torch

from collapsar.data.pool import Pool
from collapsar.foundations.errors import NonFiniteError, UsageError
from collapsar.foundations.seeding import make_generator
from collapsar.journal import store as store_module
from collapsar.journal.store import RunFolder
from collapsar.models.flow.flow import Flow
from collapsar.models.gan.gan import GAN
from collapsar.models.vae.vae import VAE
from collapsar.study.chains import read_chains
from collapsar.training import train as train_module
from tiny_chains import fail_in

VOLATILE = ("seconds", "shared_seconds", "peak_memory_bytes", "peak_device_memory_bytes")


def lasting(records):
    """Everything of the records that does not depend on the machine's mood, as bytes."""
    contents = [{key: value for key, value in asdict(record).items() if key not in VOLATILE} for record in records]
    return json.dumps(contents).encode()


def weights(folder, generation):
    stored = torch.load(folder / f"generation_{generation:03d}" / "model.ckpt", weights_only=True)
    return stored["state_dict"]


def samples(folder, generation):
    return RunFolder(folder).synthetic(generation).values


@pytest.fixture(scope="module")
def chain(run_chain, tmp_path_factory):
    """A finished chain of three VAEs: its folder and its records."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    return folder, run_chain(folder, "num_generations=3")


@pytest.fixture(scope="module")
def gan_chain(run_chain, tmp_path_factory):
    """A finished chain of two GANs."""
    folder = tmp_path_factory.mktemp("gan") / "run"
    return folder, run_chain(folder, "model=gan")


@pytest.fixture(scope="module")
def flow_chain(run_chain, tmp_path_factory):
    """A finished chain of two flows."""
    folder = tmp_path_factory.mktemp("flow") / "run"
    return folder, run_chain(folder, "model=flow")


@pytest.fixture(scope="module")
def run_short(run_chain):
    return lambda folder, *overrides: run_chain(folder, "num_generations=3", *overrides)


# The same seed, the same bytes


def test_the_same_seed_gives_the_same_bytes(chain, run_short, tmp_path):
    assert lasting(run_short(tmp_path / "again")) == lasting(chain[1])


@pytest.mark.parametrize("model", ["gan", "flow"])
def test_the_same_seed_gives_the_same_samples_and_weights_of_other_families(model, run_chain, request, tmp_path):
    folder, records = request.getfixturevalue(f"{model}_chain")
    assert lasting(run_chain(tmp_path / "again", f"model={model}")) == lasting(records)
    for generation in range(2):
        assert torch.equal(samples(tmp_path / "again", generation), samples(folder, generation))
        first, again = weights(folder, generation), weights(tmp_path / "again", generation)
        assert all(torch.equal(first[name], again[name]) for name in first)


def test_seed_zero_is_a_seed_and_another_seed_gives_other_values(chain, run_short, tmp_path):
    other = run_short(tmp_path / "other", "seed=1", "num_generations=1")
    assert [record.seed for record in (chain[1][0], other[0])] == [0, 1]
    assert other[0].metrics["fid"] != chain[1][0].metrics["fid"]


# A killed chain goes on


@pytest.mark.parametrize("killed_in", [0, 2])
def test_a_chain_killed_in_training_equals_an_uninterrupted_one(killed_in, chain, run_short, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(killed_in))
        with pytest.raises(KeyboardInterrupt):
            run_short(tmp_path / "run")
    assert len(RunFolder(tmp_path / "run").records()) == killed_in
    assert lasting(run_short(tmp_path / "run")) == lasting(chain[1])


def test_a_chain_killed_between_folder_and_record_equals_an_uninterrupted_one(chain, run_short, tmp_path, monkeypatch):
    original = store_module.append_flushed

    def stop(path, content):
        if path.name == "records.jsonl" and path.exists():
            raise KeyboardInterrupt
        original(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(store_module, "append_flushed", stop)
        with pytest.raises(KeyboardInterrupt):
            run_short(tmp_path / "run")
    assert (tmp_path / "run" / "generation_001").is_dir()
    assert lasting(run_short(tmp_path / "run")) == lasting(chain[1])


def test_a_half_written_generation_is_made_anew(chain, run_short, tmp_path):
    run_short(tmp_path / "run", "num_generations=1")
    for name in ("generation_001", ".generation_001.partial"):
        half = tmp_path / "run" / name
        half.mkdir()
        (half / "samples.npz").write_bytes(b"PK half")
    assert lasting(run_short(tmp_path / "run")) == lasting(chain[1])
    assert torch.equal(samples(tmp_path / "run", 1), samples(chain[0], 1))


@pytest.mark.parametrize("model", ["gan", "flow"])
def test_a_killed_chain_of_another_family_equals_an_uninterrupted_one(model, run_chain, request, tmp_path):
    run_chain(tmp_path / "run", f"model={model}", "num_generations=1")
    again = run_chain(tmp_path / "run", f"model={model}")
    assert lasting(again) == lasting(request.getfixturevalue(f"{model}_chain")[1])


def test_a_killed_accumulating_chain_equals_an_uninterrupted_one(run_chain, tmp_path):
    settings = ("regime=accumulate", "num_generations=3")
    expected = run_chain(tmp_path / "whole", *settings)
    run_chain(tmp_path / "parts", *settings, "num_generations=1")
    assert lasting(run_chain(tmp_path / "parts", *settings)) == lasting(expected)


def test_a_killed_chain_with_a_schedule_equals_an_uninterrupted_one(run_chain, tmp_path):
    settings = ("training.schedule=linear", "training.warmup_fraction=0.4")
    expected = run_chain(tmp_path / "whole", *settings)
    run_chain(tmp_path / "parts", *settings, "num_generations=1")
    assert lasting(run_chain(tmp_path / "parts", *settings)) == lasting(expected)


def test_a_finished_chain_trains_nothing_when_run_again(chain, run_short, monkeypatch):
    monkeypatch.setattr(train_module, "train", fail_in(None, error=AssertionError))
    assert lasting(run_short(chain[0])) == lasting(chain[1])


# Every generation is really trained


@pytest.mark.parametrize("kind", ["chain", "gan_chain", "flow_chain"])
def test_each_generation_has_weights_of_its_own(kind, request):
    folder, records = request.getfixturevalue(kind)
    for name, weight in weights(folder, 0).items():
        if weight.ndim > 1:
            assert not torch.equal(weight, weights(folder, 1)[name])
    assert [record.training["steps"] for record in records] == [5] * len(records)


def test_a_generation_is_trained_on_what_the_one_before_made(chain, run_short, tmp_path):
    run_short(tmp_path / "run", "num_generations=1")
    other = np.zeros_like(samples(tmp_path / "run", 0).numpy())
    np.savez(tmp_path / "run" / "generation_000" / "samples.npz", samples=other)
    records = run_short(tmp_path / "run", "num_generations=2")
    assert records[1].metrics["fid"] != chain[1][1].metrics["fid"]


def test_gan_generations_take_their_steps_with_more_critic_steps(run_chain, tmp_path):
    records = run_chain(tmp_path / "run", "model=gan", "model.critic_steps=3")
    assert [record.training["steps"] for record in records] == [5, 5]


# What a generation leaves


def test_pools_follow_the_regime(run_chain, chain, tmp_path):
    accumulated = run_chain(tmp_path / "run", "regime=accumulate", "num_generations=3", "num_synthetic=50")
    assert [record.pool["origins"] for record in chain[1]] == [{"real": 200}, {"0": 200}, {"1": 200}]
    assert accumulated[2].pool["origins"] == {"real": 200, "0": 50, "1": 50}


def test_only_num_synthetic_samples_enter_the_pool_though_more_are_measured(run_chain, tmp_path):
    records = run_chain(tmp_path / "run", "num_synthetic=50")
    assert (records[0].num_evaluated, records[0].num_real) == (100, 100)
    assert records[1].pool["size"] == len(samples(tmp_path / "run", 0)) == 50


@pytest.mark.parametrize(
    "overrides",
    [
        ("regime=fresh_real", "regime.fresh_fraction=3.0", "num_synthetic=700"),
        ("regime=mix", "regime.real_fraction=[0.5,0.5]"),
    ],
    ids=" ".join,
)
def test_a_chain_needs_nothing_for_the_pool_after_its_last_generation(overrides, run_short, tmp_path):
    assert len(run_short(tmp_path / "run", *overrides)) == 3  # 1,200 fresh images of a reserve of 1,237


def test_synthetic_samples_can_be_fewer_in_later_generations(run_chain, tmp_path):
    records = run_chain(tmp_path / "run", "num_generations=3", "num_synthetic=[80,40,40]")
    assert [record.pool["size"] for record in records] == [200, 80, 40]


@pytest.mark.parametrize(("kind", "model_class"), [("chain", VAE), ("gan_chain", GAN), ("flow_chain", Flow)])
def test_the_film_strip_shows_the_same_latents_in_every_generation(kind, model_class, request):
    folder, _ = request.getfixturevalue(kind)
    model = model_class.load_from_checkpoint(folder / "generation_001" / "model.ckpt", weights_only=True).eval()
    latents = torch.randn(12, model.latent_dim, generator=make_generator(0, 0, "strip latents"))
    with np.load(folder / "generation_001" / "samples.npz") as arrays:
        assert np.array_equal(arrays["strip"], model.render(latents, torch.Generator()).numpy())


def test_real_images_and_those_nearest_to_the_samples_stand_beside_the_samples(chain):
    folder, records = chain
    for record in records:
        with np.load(folder / f"generation_{record.generation:03d}" / "samples.npz") as arrays:
            assert arrays["real"].shape == arrays["nearest"].shape == (12, *arrays["samples"].shape[1:])
            assert arrays["nearest"].dtype == np.uint8


def test_a_record_states_spaces_and_sample_sizes(chain):
    record = chain[1][0]
    assert set(record.feature_spaces) == {"classifier", "pca"}
    assert 0 <= record.feature_spaces["classifier"]["test_accuracy"] <= 1
    assert (record.num_evaluated, record.num_real) == (100, 100)
    assert sum(record.class_shares["synthetic"]) == pytest.approx(1)


def test_a_run_leaves_its_profile_and_its_state(chain):
    folder, _ = chain
    assert json.loads((folder / "status.json").read_text())["state"] == "finished"
    assert json.loads((folder / "profile.json").read_text())


def test_a_chain_that_was_killed_after_its_last_record_is_finished(chain, run_chain, tmp_path):
    shutil.copytree(chain[0], tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text('{"state": "running"}')
    run_chain(tmp_path / "run", "num_generations=3")
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "finished"


# Breakdowns


def test_a_loss_that_breaks_down_stops_the_chain_and_keeps_what_is_finished(run_chain, tmp_path, monkeypatch):
    def losses_that_break(self, batch, shared):
        losses = original(self, batch, shared)
        is_bad = len(RunFolder(tmp_path / "run").records()) == 1 and self.global_step == 3
        return {**losses, "loss": losses["loss"] * torch.nan} if is_bad else losses

    original = VAE.losses
    monkeypatch.setattr(VAE, "losses", losses_that_break)
    with pytest.raises(NonFiniteError, match="loss is nan in generation 1, epoch 0, step 3:"):
        run_chain(tmp_path / "run")
    assert [record.generation for record in RunFolder(tmp_path / "run").records()] == [0]
    assert (tmp_path / "run" / "generation_000" / "model.ckpt").exists()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "generation 1" in status["message"]
    assert json.loads((tmp_path / "run" / "profile.json").read_text())["ending"] == "broke down"
    (chain,) = read_chains([tmp_path / "run"])
    assert chain.problem.startswith("broke down after 1 of 2 generations: NonFiniteError: loss is nan in generation 1")
    had_recall = chain.records[0].metrics["recall"] > 0  # a tiny chain may have none
    assert (chain.ending, chain.profile.recall_half_life) == ("broke down", float(had_recall))


def test_samples_that_break_down_name_generation_epoch_and_step(run_chain, tmp_path, monkeypatch):
    def decode(self, latents, generator, *, likelihood_spread):
        return torch.full((len(latents), *self.sample_shape), torch.nan)

    monkeypatch.setattr(VAE, "decode", decode)
    with pytest.raises(NonFiniteError, match=r"NaN or infinite values .* in generation 0 after epoch \d, step 5:"):
        run_chain(tmp_path / "run")
    assert RunFolder(tmp_path / "run").records() == []


# Settings that do not fit


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed must be at least 0: got -1"),
        ("num_generations=0", "num_generations must be at least 1: got 0"),
        ("num_synthetic=0", "num_synthetic"),
        ("batch_size=201", "batch_size must be between 1 and the pool's 200 samples: got 201"),
        ("num_synthetic=20", "batch_size must be between 1 and the pool's 20 samples: got 32"),
        ("evaluation.num_neighbours=100", "num_neighbours must be below the number of samples: got 100 for 100"),
        ("evaluation.num_samples=361", "num_samples must be at most the 360 held-out samples: got 361"),
        ("bias=tempered_likelihood", "does nothing to model=vae, which draws from no likelihood"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_training(override, message, run_chain, tmp_path, monkeypatch):
    monkeypatch.setattr(train_module, "train", fail_in(0, error=AssertionError))
    with pytest.raises(UsageError, match=message):
        run_chain(tmp_path / "run", override)


def test_other_settings_in_the_same_folder_are_refused(chain, run_short):
    with pytest.raises(UsageError, match=r"was made with other settings: batch_size was 32 and is now 16"):
        run_short(chain[0], "batch_size=16")


@pytest.mark.parametrize(("metrics", "num_drawn"), [("[frechet,classes]", 0), ("[frechet,classes,novelty]", 2)])
def test_a_pool_is_drawn_from_for_novelty_alone(metrics, num_drawn, run_chain, tmp_path, monkeypatch):
    drawn, original = [], Pool.draw
    monkeypatch.setattr(Pool, "draw", lambda pool, *own, **more: drawn.append(pool) or original(pool, *own, **more))
    records = run_chain(tmp_path / "run", f"evaluation.metrics={metrics}")
    assert len(drawn) == num_drawn
    assert ("pool_duplicates" in records[0].metrics) == bool(num_drawn)


def test_a_chain_leaves_the_threads_the_switches_and_the_random_numbers_of_the_process_as_they_were(
    run_chain, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    seen, original, threads, state = [], train_module.train, torch.get_num_threads(), torch.get_rng_state()

    def train(*arguments, **settings):
        seen.append(torch.get_num_threads())
        torch.backends.cudnn.deterministic = True  # as where there is a GPU
        return original(*arguments, **settings)

    monkeypatch.setattr(train_module, "train", train)
    other_threads = f"num_threads={threads + 1}"
    run_chain(tmp_path / "run", other_threads, "trainer.deterministic=true", "cause=[few_samples]", "num_generations=1")
    assert seen == [threads + 1]
    assert torch.get_num_threads() == threads
    assert not torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), state)
