"""Batches: what an epoch visits, and that neither parts nor chunks of gathering show."""

import resource
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from collapsar.config.composition import build
from collapsar.data import pool as batches_module
from collapsar.data.pool import REAL, Part, Pool, PoolBatches, PoolInOrder, check_batch_size
from collapsar.data.regimes import Accumulate
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.training.train import train
from tiny_chains import compose_settings

RESIDENT = Path("/proc/self/statm")  # Linux
CPU = torch.device("cpu")


def numbered_pool(*sizes):
    """A pool of parts whose samples are their own indices."""
    values = torch.arange(sum(sizes), dtype=torch.float32).unsqueeze(1)
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return Pool(
        tuple(
            Part(Samples(values[start : start + size], torch.arange(start, start + size)), REAL)
            for start, size in zip(starts, sizes, strict=False)
        )
    )


def make_batches(pool, *, batch_size, seed=0):
    return PoolBatches(pool, device=CPU, batch_size=batch_size, generator=torch.Generator().manual_seed(seed))


def visited(batches):
    return [index for batch in batches for index in batch.values.squeeze(1).int().tolist()]


@pytest.mark.parametrize("size", [64, 100, 127])
def test_an_epoch_visits_no_sample_twice_and_leaves_out_less_than_a_batch(size):
    indices = visited(make_batches(numbered_pool(size), batch_size=32))
    assert len(indices) == len(set(indices)) == size // 32 * 32


def test_an_epoch_has_the_promised_number_of_full_batches():
    batches = make_batches(numbered_pool(100), batch_size=32)
    assert [len(batch) for batch in batches] == [32] * len(batches) == [32] * 3


def test_over_epochs_every_sample_is_visited():
    batches = make_batches(numbered_pool(100), batch_size=32)
    assert {index for _ in range(20) for index in visited(batches)} == set(range(100))


def test_each_epoch_has_an_order_of_its_own():
    batches = make_batches(numbered_pool(64), batch_size=32)
    assert visited(batches) != visited(batches)


def test_the_order_follows_the_seed():
    first, again, other = (visited(make_batches(numbered_pool(64), batch_size=32, seed=seed)) for seed in (0, 0, 1))
    assert first == again != other


def test_a_pool_of_many_parts_gives_the_batches_of_one_part():
    one, many = (make_batches(numbered_pool(*sizes), batch_size=16) for sizes in ((100,), (1, 40, 9, 50)))
    assert visited(one) == visited(many)


@pytest.mark.parametrize("samples_per_gather", [1, 20, 33, 10_000])
def test_batches_do_not_depend_on_how_many_are_gathered_at_once(samples_per_gather, monkeypatch):
    expected = visited(make_batches(numbered_pool(60, 40), batch_size=16))
    monkeypatch.setattr(batches_module, "SAMPLES_PER_GATHER", samples_per_gather)
    assert visited(make_batches(numbered_pool(60, 40), batch_size=16)) == expected


def test_batches_keep_the_sample_convention():
    images = Part(Samples(torch.zeros(8, 3, 4, 4, dtype=torch.uint8)), REAL)
    (batch,) = make_batches(Pool((images,)), batch_size=8)
    assert batch.values.dtype == torch.uint8
    assert batch.values.shape == (8, 3, 4, 4)
    assert batch.labels is None


def test_batches_carry_the_labels_of_their_samples():
    for batch in make_batches(numbered_pool(60, 40), batch_size=16):
        assert batch.labels.tolist() == batch.values.squeeze(1).int().tolist()


def test_an_epoch_of_chosen_samples_visits_no_other():
    chosen = torch.tensor([90, 3, 17, 64, 5, 41])
    batches = PoolBatches(numbered_pool(60, 40), device=CPU, batch_size=2, generator=torch.Generator(), chosen=chosen)
    assert sorted(visited(batches)) == sorted(chosen.tolist())


def test_chosen_samples_of_a_weighted_pool_keep_their_weights():
    pool = Pool(numbered_pool(50, 50).parts, part_weights=(0.9, 0.1))
    chosen = torch.arange(0, 100, 5)
    batches = PoolBatches(pool, device=CPU, batch_size=20, generator=torch.Generator().manual_seed(0), chosen=chosen)
    indices = [index for _ in range(100) for index in visited(batches)]
    assert set(indices) <= set(chosen.tolist())
    assert sum(index < 50 for index in indices) / len(indices) == pytest.approx(0.9, abs=0.035)  # five deviations


def test_validation_visits_its_samples_once_in_order():
    batches = PoolInOrder(numbered_pool(60, 40), device=CPU, batch_size=4, chosen=torch.tensor([70, 1, 2, 99, 5]))
    assert [len(batch) for batch in batches] == [4, 1]
    assert len(batches) == 2
    assert visited(batches) == [70, 1, 2, 99, 5]


def test_changing_a_batch_in_place_leaves_the_pool_alone():
    pool = numbered_pool(8)
    for batch in make_batches(pool, batch_size=8):
        batch.values.zero_()
    assert pool.concatenated().sum() == 28


def test_weights_of_parts_are_shares_of_what_is_visited():
    parts = numbered_pool(900, 100).parts
    batches = make_batches(Pool(parts, part_weights=(0.5, 0.5)), batch_size=100)
    indices = [index for _ in range(10) for index in visited(batches)]
    share = sum(index >= 900 for index in indices) / len(indices)
    assert share == pytest.approx(0.5, abs=0.08)  # five standard deviations of 1,000 draws


def test_a_batch_as_large_as_the_pool_is_allowed():
    check_batch_size(8, pool_size=8)


@pytest.mark.parametrize("batch_size", [-1, 0, 9])
def test_a_batch_that_the_pool_cannot_fill_is_refused(batch_size):
    with pytest.raises(UsageError, match=f"between 1 and the pool's 8 samples: got {batch_size}"):
        make_batches(numbered_pool(8), batch_size=batch_size)


# Memory


class LargestImages(TorchDispatchMode):
    """The most bytes that any operation took anew for images."""

    def __init__(self):
        super().__init__()
        self.known, self.num_bytes = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.known |= {tensor.untyped_storage().data_ptr() for tensor in tensors((args, kwargs))}
        outputs = func(*args, **(kwargs or {}))
        for tensor in tensors(outputs):
            if tensor.dtype == torch.uint8 and tensor.untyped_storage().data_ptr() not in self.known:
                self.num_bytes = max(self.num_bytes, tensor.untyped_storage().nbytes())
        return outputs


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def accumulated(*, num_generations, num_samples, shape):
    """The pool of an accumulating chain whose every generation gives as many images as are real."""

    def images(origin):
        return Part(Samples(torch.zeros(num_samples, *shape, dtype=torch.uint8)), origin)

    real = images(REAL)
    pool = Pool((real,))
    for generation in range(num_generations):
        pool = Accumulate().next_pool(
            pool, real=real, synthetic=images(generation), generator=torch.Generator(), reserve=None
        )
    return pool


def held_bytes(pool):
    """Bytes of everything that the pool keeps alive, shared storages once."""
    storages = [tensor.untyped_storage() for part in pool.parts for tensor in tensors(vars(part.samples))]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def test_fifty_accumulated_generations_hold_their_samples_and_nothing_else():
    pool = accumulated(num_generations=50, num_samples=600, shape=(1, 28, 28))
    assert held_bytes(pool) == pytest.approx(51 * 600 * 28 * 28, rel=1e-3)


def test_an_epoch_copies_no_more_of_the_pool_than_it_gathers_at_once(monkeypatch):
    monkeypatch.setattr(batches_module, "SAMPLES_PER_GATHER", 64)
    pool = accumulated(num_generations=10, num_samples=200, shape=(1, 8, 8))
    with LargestImages() as largest:
        visited = sum(len(batch) for batch in make_batches(pool, batch_size=32))
    assert visited == 2176
    assert largest.num_bytes == 64 * 8 * 8


def test_training_copies_no_more_of_the_pool_than_it_gathers_at_once(monkeypatch):
    monkeypatch.setattr(batches_module, "SAMPLES_PER_GATHER", 64)
    pool = accumulated(num_generations=10, num_samples=200, shape=(1, 8, 8))
    experiment = build(
        compose_settings("trainer.accelerator=cpu", "trainer.max_steps=80", "model.width=4", "batch_size=32")
    )
    with LargestImages() as largest:
        train(experiment.parts.recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None)
    assert largest.num_bytes == 64 * 8 * 8


@pytest.mark.slow
@pytest.mark.skipif(not RESIDENT.exists(), reason="the system does not say how much memory a process holds now")
def test_fifty_generations_of_mnist_take_47_megabytes_each():
    before = resident_bytes()
    pool = accumulated(num_generations=50, num_samples=60_000, shape=(1, 28, 28))
    for part in pool.parts:
        part.samples.values.fill_(1)  # memory that is only promised is not counted
    batches = iter(make_batches(pool, batch_size=64))
    for _ in range(1000):
        next(batches)
    order_bytes = 8 * len(pool)  # which sample comes when
    assert resident_bytes() - before == pytest.approx(len(pool) * 28 * 28 + order_bytes, rel=0.02)


def resident_bytes():
    return int(RESIDENT.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("num_given", [0, 1, 4, 5, 6, 9])
@pytest.mark.parametrize("part_weights", [None, (0.3, 0.7)])
def test_batches_go_on_from_a_stored_place_in_the_shuffled_order(num_given, part_weights, monkeypatch):
    monkeypatch.setattr(batches_module, "SAMPLES_PER_GATHER", 7)  # two batches
    pool = replace(numbered_pool(9, 8), part_weights=part_weights)
    endless = chain.from_iterable(repeat(batches := make_batches(pool, batch_size=3)))
    for _ in range(num_given):
        next(endless)
    stored = batches.state_dict()
    expected = [next(endless).labels.tolist() for _ in range(12)]
    (later := make_batches(pool, batch_size=3, seed=1)).load_state_dict(stored)
    endless = chain.from_iterable(repeat(later))
    assert [next(endless).labels.tolist() for _ in range(12)] == expected
