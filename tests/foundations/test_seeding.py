"""Seeds depend on the seed, the generation and the purpose, and on nothing else."""

from hashlib import blake2b

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from collapsar.foundations import seeding
from collapsar.foundations.seeding import derive_seed, draw_weighted, make_generator

SEEDS = st.integers(0, 2**31 - 1)
STREAMS = st.tuples(SEEDS, st.integers(0, 1000), st.sampled_from(["train", "sample", "pool", "batches"]))


def test_a_seed_is_the_published_digest_in_every_process():
    digest = blake2b(b"0/3/train", digest_size=8).digest()
    assert derive_seed(0, 3, "train") == int.from_bytes(digest, "big") // 2


@given(STREAMS, STREAMS)
def test_different_streams_have_different_seeds(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


def test_seed_and_generation_do_not_run_into_each_other():
    assert derive_seed(1, 11, "train") != derive_seed(11, 1, "train")


@given(STREAMS)
def test_seeds_fit_the_generators_of_torch(stream):
    assert 0 <= derive_seed(*stream) < 2**63


def test_seed_zero_is_a_seed_of_its_own():
    draws = [torch.rand(8, generator=make_generator(seed, 0, "sample")) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_making_a_generator_leaves_the_global_one_alone():
    state = torch.get_rng_state()
    make_generator(0, 0, "train")
    assert torch.equal(torch.get_rng_state(), state)


def test_one_of_more_weights_than_torch_takes_is_drawn_in_its_proportion(monkeypatch):
    weights = torch.zeros(seeding.MOST_WEIGHTS + 1)
    weights[-1] = 1
    drawn = draw_weighted(weights, 3, generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [seeding.MOST_WEIGHTS] * 3
    monkeypatch.setattr(seeding, "MOST_WEIGHTS", 2)
    drawn = draw_weighted(torch.tensor([0.0, 1, 0, 3, 0]), 10_000, generator=torch.Generator().manual_seed(0))
    shares = drawn.bincount(minlength=5) / len(drawn)
    assert shares.tolist() == pytest.approx([0, 0.25, 0, 0.75, 0], abs=0.03)  # seven standard deviations
    assert shares[[0, 2, 4]].tolist() == [0, 0, 0]
