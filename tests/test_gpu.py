"""On a GPU: numbers come again, chains go on, half precision trains, a full memory is told, parts stay uploaded."""

from dataclasses import replace

import pytest
import torch

from collapsar.config import composition
from collapsar.data.pool import REAL, DeviceCache, Part, Pool
from collapsar.foundations.errors import DeviceMemoryError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from collapsar.machine.devices import device_seeded, free_bytes
from collapsar.training import train as train_module
from collapsar.training.train import train
from test_experiment import lasting
from test_levers_in_chains import LEVERS, NEEDED, is_refused
from tiny_chains import compose_settings, fail_in, pretend_it_was_begun

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"),
]

GPU = ("trainer.accelerator=cuda", "evaluation.accelerator=cuda")


@pytest.fixture
def run_on_gpu(run_chain):
    return lambda folder, *overrides: run_chain(folder, *GPU, *overrides)


@pytest.fixture
def cuda():
    return torch.device("cuda", torch.cuda.current_device())


def random_pool(num_samples, *, num_parts=1):
    generator = torch.Generator().manual_seed(0)
    return Pool(
        tuple(
            Part(Samples(torch.randint(256, (num_samples, 1, 8, 8), generator=generator, dtype=torch.uint8)), origin)
            for origin in range(REAL, num_parts - 1)
        )
    )


def experiment_on_gpu(*overrides):
    return composition.build(compose_settings("tracking=none", *GPU, *overrides))


def trained(recipe, pool):
    return train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)


def test_auto_takes_the_gpu_and_its_half_precision(run_chain, tmp_path):
    automatic = ("trainer.accelerator=auto", "evaluation.accelerator=auto", "trainer.precision=auto")
    (record,) = run_chain(tmp_path / "run", *automatic, "num_generations=1")
    expected = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    assert (record.machine["device"], record.machine["evaluated_on"]) == ("cuda", "cuda")
    assert record.machine["precision"] == expected


def test_the_record_holds_the_peak_of_device_memory(run_on_gpu, tmp_path):
    records = run_on_gpu(tmp_path / "run")
    assert all(record.peak_device_memory_bytes > 200 * 64 for record in records)  # the pool's images at least


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("lever", ["[]", "[gradient_clipping]"])
def test_weights_move_and_losses_are_finite_in_every_precision(model, precision, lever, run_on_gpu, tmp_path):
    (record,) = run_on_gpu(
        tmp_path / "run", f"model={model}", f"trainer.precision={precision}", f"lever={lever}", "num_generations=1"
    )
    assert record.machine["precision"] == precision
    assert all(torch.isfinite(torch.tensor(value)) for value in record.training.values())


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
@pytest.mark.parametrize("lever", LEVERS)
def test_a_lever_trains_by_graphs_where_they_can_follow_it(lever, model, run_on_gpu, tmp_path):
    if is_refused(lever, model):
        pytest.skip("refused for this model")
    settings = (f"model={model}", f"lever=[{lever}]", "trainer.max_steps=8", *NEEDED.get((lever, model), []))
    records = run_on_gpu(tmp_path / "run", *settings)
    is_followed = experiment_on_gpu(*settings).training.ungraphed is None
    assert [record.machine["cuda_graphs"] for record in records] == [is_followed] * 2


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
def test_every_player_moves_under_the_scaler_of_half_precision(model):
    experiment = experiment_on_gpu(f"model={model}", "trainer.precision=16-mixed", "trainer.max_steps=30")
    fresh = {}

    def recipe():
        made = experiment.parts.recipe.model()
        fresh.update({name: weight.detach().clone() for name, weight in made.named_parameters()})
        return made

    moved = trained(replace(experiment.parts.recipe, model=recipe), random_pool(320)).model.cpu()
    assert [name for name, weight in moved.named_parameters() if torch.equal(weight, fresh[name])] == []


def test_draws_of_the_device_come_again_and_leave_its_generator_as_it_was(cuda):
    state, draws = torch.cuda.get_rng_state(), []
    for _ in range(2):
        with device_seeded(cuda, 7):
            draws.append(torch.randn(5, device=cuda))
    assert torch.equal(*draws)
    assert torch.equal(torch.cuda.get_rng_state(), state)


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
def test_samples_are_those_of_the_cpu_but_for_rounding(model):
    network = experiment_on_gpu(f"model={model}").model().eval()
    on_cpu = network.sample(64, make_generator(0, 0, "sample")).values.int()
    on_gpu = network.cuda().sample(64, make_generator(0, 0, "sample")).values.int()
    assert (on_gpu - on_cpu).abs().max() <= 1


@pytest.mark.parametrize("model", ["vae", "gan", "flow"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_killed_chain_equals_an_uninterrupted_one(model, precision, run_on_gpu, tmp_path, monkeypatch):
    settings = (f"model={model}", f"trainer.precision={precision}")
    whole = run_on_gpu(tmp_path / "whole", *settings)
    with monkeypatch.context() as patched:
        patched.setattr(train_module, "train", fail_in(1))
        with pytest.raises(KeyboardInterrupt):
            run_on_gpu(tmp_path / "killed", *settings)
    assert lasting(run_on_gpu(tmp_path / "killed", *settings)) == lasting(whole)


def test_a_full_device_names_the_setting_to_lower(cuda):
    experiment = experiment_on_gpu("trainer.max_steps=1")
    original = type(experiment.parts.recipe.model()).losses

    def losses(self, batch, shared):
        torch.empty(2 * torch.cuda.get_device_properties(cuda).total_memory, dtype=torch.uint8, device=cuda)
        return original(self, batch, shared)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(experiment.parts.recipe.model()), "losses", losses)
        with pytest.raises(DeviceMemoryError, match="training generation 0 on cuda: lower batch_size, which is 64"):
            trained(experiment.parts.recipe, random_pool(320))


def test_a_part_is_uploaded_once_a_chain(cuda):
    held, pool = DeviceCache(free_bytes=free_bytes), random_pool(1000, num_parts=2)
    first = [part.samples.values.data_ptr() for part in held.move(Pool(pool.parts[:1]), cuda).parts]
    both = [part.samples.values.data_ptr() for part in held.move(pool, cuda).parts]
    assert both[:1] == first


def test_a_pool_that_does_not_fit_trains_the_same_model_from_the_cpu():
    experiment = experiment_on_gpu("trainer.max_steps=20")
    pool, weights = random_pool(320, num_parts=3), []
    for room in (1 << 40, 0):
        recipe = replace(experiment.parts.recipe, device_cache=DeviceCache(free_bytes=lambda device, room=room: room))
        weights.append(torch.cat([weight.flatten() for weight in trained(recipe, pool).model.parameters()]))
    assert torch.equal(*weights)


def test_free_memory_falls_by_what_is_taken(cuda):
    before = free_bytes(cuda)
    taken = torch.empty(1 << 28, dtype=torch.uint8, device=cuda)
    assert before - free_bytes(cuda) >= 0.9 * len(taken)


def test_a_chain_that_was_begun_on_the_cpu_goes_on_there(run_chain, tmp_path):
    automatic = ("trainer.accelerator=auto", "evaluation.accelerator=auto")
    run_chain(tmp_path / "run", *automatic, "num_generations=1")
    pretend_it_was_begun(tmp_path / "run", device="cpu", evaluated_on="cpu")
    records = run_chain(tmp_path / "run", *automatic, "num_generations=2")
    assert [record.machine["device"] for record in records] == ["cpu", "cpu"]
