"""DeviceCache: parts are uploaded once, freed when a pool has them no more, and stay where they are if they do not fit.

The device of these tests is `meta`, which every machine has and which holds no content.
"""

import weakref

import pytest
import torch

from collapsar.data.pool import MOST_OF_FREE, REAL, DeviceCache, Part, Pool, PoolBatches
from collapsar.foundations.samples import Samples

CPU, META = torch.device("cpu"), torch.device("meta")
PART_BYTES = 10 * 64 + 10 * 8  # uint8 images and int64 labels


def make_part(origin):
    return Part(Samples(torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.zeros(10, dtype=torch.int64)), origin)


def device_cache(*, num_parts=100):
    """Of a device with room for so many parts."""
    return DeviceCache(free_bytes=lambda device: int(num_parts * PART_BYTES / MOST_OF_FREE))


def tensors(pool):
    return [part.samples.values for part in pool.parts]


def test_a_part_is_uploaded_once_however_often_a_pool_has_it():
    held, real, synthetic = device_cache(), make_part(REAL), make_part(0)
    (first,) = tensors(held.move(Pool((real,)), META))
    again, _new = tensors(held.move(Pool((Part(real.samples, REAL), synthetic)), META))
    assert again is first
    assert first.device == META


def test_a_part_that_left_the_pool_is_freed():
    held, real, synthetic = device_cache(), make_part(REAL), make_part(0)
    (first,) = tensors(held.move(Pool((real,)), META))
    held.move(Pool((synthetic,)), META)
    (again,) = tensors(held.move(Pool((real,)), META))
    assert again is not first


def test_what_left_the_pool_is_freed_before_its_successor_is_uploaded():
    uploaded, alive = [], []

    def note_what_is_alive(device):
        alive.append([reference() is not None for reference in uploaded])
        return PART_BYTES / MOST_OF_FREE

    held = DeviceCache(free_bytes=note_what_is_alive)
    uploaded.append(weakref.ref(tensors(held.move(Pool((make_part(REAL),)), META))[0]))
    held.move(Pool((make_part(0),)), META)
    assert alive == [[], [False]]


def test_parts_of_equal_content_are_told_apart():
    held, parts = device_cache(), (make_part(REAL), make_part(0))
    first, second = tensors(held.move(Pool(parts), META))
    assert first is not second


def test_a_pool_that_does_not_fit_stays_where_it_is():
    held = device_cache(num_parts=1)
    parts = (make_part(REAL), make_part(0))
    assert held.move(Pool(parts[:1]), META).device == META
    assert held.move(Pool((*parts[:1], make_part(0), make_part(1))), META).device == CPU


def test_on_a_cpu_nothing_is_copied():
    pool = Pool((make_part(REAL), make_part(0)))
    assert device_cache(num_parts=0).move(pool, CPU) is pool


def test_origins_archive_and_weights_move_along():
    part = make_part(REAL)
    pool = Pool((part, make_part(3)), archive=(part,), part_weights=(0.5, 0.5))
    moved = device_cache().move(pool, META)
    assert moved.origins() == pool.origins()
    assert moved.archive is pool.archive
    assert moved.part_weights == pool.part_weights


@pytest.mark.parametrize("num_parts", [0, 100])
def test_batches_lie_on_the_device_whether_the_pool_does_or_not(num_parts):
    pool = device_cache(num_parts=num_parts).move(Pool((make_part(REAL),)), META)
    batches = PoolBatches(pool, device=META, batch_size=4, generator=torch.Generator())
    assert [(batch.values.device, batch.labels.device) for batch in batches] == [(META, META)] * 2
