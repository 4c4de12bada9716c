"""Batches: what an epoch visits, and that neither parts nor chunks of gathering show."""

import pytest
import torch

from collapsar.data import batches as batches_module
from collapsar.data.batches import PoolBatches, check_batch_size
from collapsar.data.pool import REAL, Part, Pool
from collapsar.errors import UsageError


def numbered_pool(*sizes):
    """A pool of parts whose samples are their own indices."""
    samples = torch.arange(sum(sizes), dtype=torch.float32).unsqueeze(1)
    starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
    return Pool(
        tuple(
            Part(samples[start : start + size], torch.zeros(size, dtype=torch.int64), REAL)
            for start, size in zip(starts, sizes, strict=False)
        )
    )


def make_batches(pool, *, batch_size, seed=0):
    return PoolBatches(pool, batch_size=batch_size, generator=torch.Generator().manual_seed(seed))


def visited(batches):
    return [index for batch in batches for index in batch.squeeze(1).int().tolist()]


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
    images = Part(torch.zeros(8, 3, 4, 4, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), REAL)
    (batch,) = make_batches(Pool((images,)), batch_size=8)
    assert batch.dtype == torch.uint8
    assert batch.shape == (8, 3, 4, 4)


def test_changing_a_batch_in_place_leaves_the_pool_alone():
    pool = numbered_pool(8)
    for batch in make_batches(pool, batch_size=8):
        batch.zero_()
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
