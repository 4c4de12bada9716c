import pytest
import torch

from collapsar.data.pool import REAL, Part, Pool, draw_without_replacement
from collapsar.foundations.samples import UNLABELLED, Samples


def numbered(start, stop, *, origin):
    values = torch.arange(start, stop, dtype=torch.float32).unsqueeze(1)
    return Part(Samples(values, torch.arange(start, stop)), origin)


def without_labels(part):
    return Part(Samples(part.samples.values), part.origin)


def numbers(samples):
    return samples.values.squeeze(1).tolist()


@pytest.fixture
def pool():
    return Pool((numbered(0, 4, origin=REAL), numbered(4, 9, origin=0), numbered(9, 11, origin=1)))


def test_gather_counts_through_the_parts_in_order(pool):
    indices = torch.tensor([10, 0, 3, 4, 8, 9, 3])
    assert numbers(pool.gather(indices)) == pool.gather(indices).labels.tolist() == indices.tolist()


def test_gather_from_one_part(pool):
    assert numbers(Pool(pool.parts[1:2]).gather(torch.tensor([4, 0]))) == [8, 4]


def test_concatenated_agrees_with_gather(pool):
    assert torch.equal(pool.concatenated(), pool.gather(torch.arange(len(pool))).values)


def test_origins_add_up_to_the_size(pool):
    assert pool.origins() == {"real": 4, "0": 5, "1": 2}
    assert pool.describe() == {"size": 11, "real_fraction": 4 / 11, "origins": {"real": 4, "0": 5, "1": 2}}


def test_an_unweighted_pool_has_no_weights(pool):
    assert pool.weights is None


def test_part_weights_are_shared_evenly_and_sum_to_one(pool):
    weighted = Pool(pool.parts, part_weights=(0.5, 0.25, 0.25))
    assert weighted.weights.tolist() == pytest.approx([0.125] * 4 + [0.05] * 5 + [0.125] * 2)
    assert weighted.weights.sum().item() == pytest.approx(1)
    assert weighted.describe()["real_weight"] == 0.5


def test_a_slice_shares_memory_with_its_part():
    part = numbered(0, 10, origin=REAL)
    assert part[3:5].samples.values.data_ptr() == part.samples.values[3:].data_ptr()
    assert part[3:5].samples.labels.tolist() == [3, 4]


def test_parts_without_labels_give_unlabelled_samples_among_labelled_ones(pool):
    mixed = Pool((pool.parts[0], without_labels(pool.parts[1])))
    assert mixed.gather(torch.tensor([8, 2, 0])).labels.tolist() == [UNLABELLED, 2, 0]


def test_a_pool_without_labels_gives_none(pool):
    bare = Pool(tuple(map(without_labels, pool.parts)))
    assert not bare.is_labelled
    assert bare.gather(torch.tensor([8, 2])).labels is None


def test_a_draw_from_a_pool_has_different_samples_and_no_more_than_there_are(pool):
    drawn = pool.draw(7, generator=torch.Generator().manual_seed(0))
    assert len(set(numbers(drawn))) == len(drawn) == 7
    assert sorted(numbers(pool.draw(99, generator=torch.Generator()))) == list(range(11))


def test_drawing_everything_shares_the_parts(pool):
    generator = torch.Generator().manual_seed(0)
    drawn = draw_without_replacement(pool.parts, num_samples=11, generator=generator)
    assert all(part is original for part, original in zip(drawn, pool.parts, strict=True))


def test_drawing_is_uniform_over_all_samples(pool):
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(11)
    for _ in range(1500):
        drawn = Pool(draw_without_replacement(pool.parts, num_samples=3, generator=generator))
        counts[drawn.concatenated().squeeze(1).long()] += 1
    expected = 1500 * 3 / 11
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_drawing_nothing_leaves_no_part(pool):
    assert draw_without_replacement(pool.parts, num_samples=0, generator=torch.Generator()) == ()


def test_without_a_generator_the_choice_is_even_and_takes_from_every_large_part(pool):
    numbered = Part(Samples(torch.arange(11.0).unsqueeze(1)), REAL)
    (even,) = draw_without_replacement([numbered], num_samples=4, generator=None)
    assert even.samples.values.flatten().tolist() == [0, 2, 5, 8]
    drawn = draw_without_replacement(pool.parts, num_samples=6, generator=None)
    assert [part.origin for part in drawn] == [REAL, 0, 1]
    assert sum(map(len, drawn)) == 6


@pytest.mark.parametrize("num_samples", [1, 3, 10])
def test_drawn_parts_hold_the_labels_of_their_samples(pool, num_samples):
    drawn = draw_without_replacement(pool.parts, num_samples=num_samples, generator=torch.Generator().manual_seed(3))
    assert all(numbers(part.samples) == part.samples.labels.tolist() for part in drawn)
