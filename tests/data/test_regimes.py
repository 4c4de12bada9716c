"""Samples are numbered, so that every pool can be asked exactly which samples it holds."""

from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.regimes import (
    Accumulate,
    AccumulateSubsample,
    FixedReal,
    FreshReal,
    Mix,
    Regime,
    Replace,
    Window,
    blank,
    simulate_pools,
)
from collapsar.data.schedules import Cosine, Linear
from collapsar.data.weighting import GoldenRatio, Weighted
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.theory.formulas import golden_ratio_weight


def golden_ratio():
    return GoldenRatio(regime=FixedReal(synthetic_ratio=1.0))


CONF = Path(__file__).parents[2] / "conf" / "regime"
fractions = st.floats(0, 1)
num_generations = 6
real_fractions = st.one_of(
    fractions,
    st.lists(fractions, min_size=num_generations, max_size=num_generations),
    st.builds(partial, st.just(Linear), first=fractions, last=fractions, num_generations=st.integers(1, 8)),
    st.builds(partial, st.just(Cosine), first=fractions, last=fractions, num_generations=st.integers(1, 8)),
)
recipes = st.one_of(  # called in the test: the type checker draws random numbers, which strategies may not
    st.builds(partial, st.just(Replace)),
    st.builds(partial, st.just(Accumulate)),
    st.builds(partial, st.just(AccumulateSubsample), budget=st.one_of(st.none(), st.integers(1, 20))),
    st.builds(partial, st.just(FixedReal), synthetic_ratio=fractions),
    st.builds(partial, st.just(FreshReal), fresh_fraction=fractions, is_recycled=st.booleans()),
    st.builds(partial, st.just(Mix), real_fraction=fractions),
    st.builds(partial, st.just(Window), num_kept=st.integers(1, 8)),
    st.builds(partial, st.just(Weighted), regime=st.just(Accumulate()), real_weight=fractions),
    st.builds(partial, st.just(golden_ratio)),
)
sizes = st.integers(20, 40)


def numbered(start, *, size, origin):
    samples = torch.arange(start, start + size, dtype=torch.float32).unsqueeze(1)
    return Part(Samples(samples, torch.arange(start, start + size)), origin)


@dataclass
class Chain:
    """A loop without a model: generation t "draws" the numbers from 1000 (t + 1)."""

    regime: Regime
    num_real: int = 20
    num_synthetic: int | list[int] = 20
    num_reserve: int = 1000
    length: int = num_generations
    pools: list[Pool] = field(default_factory=list)

    def __post_init__(self):
        self.real = numbered(0, size=self.num_real, origin=REAL)
        self.reserve = numbered(100_000, size=self.num_reserve, origin=REAL) if self.num_reserve else None
        self.pools.append(Pool((self.real,)))
        for generation in range(self.length - 1):
            self.pools.append(self.next_pool(self.pools[-1], generation))

    def synthetic(self, generation):
        size = self.num_synthetic if isinstance(self.num_synthetic, int) else self.num_synthetic[generation]
        return numbered(1000 * (generation + 1), size=size, origin=generation)

    def next_pool(self, pool, generation):
        return self.regime.next_pool(
            pool,
            real=self.real,
            synthetic=self.synthetic(generation),
            generator=torch.Generator().manual_seed(generation),
            reserve=self.reserve,
        )


def rehearsed(regime, *, num_real=20, num_synthetic=20, num_reserve=20, length=3):
    return simulate_pools(
        regime,
        num_real=num_real,
        num_reserve=num_reserve,
        num_synthetic=[num_synthetic] * (length - 1),
        generator_at=lambda generation: torch.Generator().manual_seed(generation),
    )


def numbers(pool):
    return pool.concatenated().squeeze(1).long().tolist()


def origin_of(number):
    return "real" if number < 1000 or number >= 100_000 else str(number // 1000 - 1)


@given(recipe=recipes, num_real=st.integers(40, 60), num_synthetic=st.integers(60, 80))
@settings(deadline=None, max_examples=200)
def test_every_pool_knows_where_its_samples_come_from(recipe, num_real, num_synthetic):
    assume(not (recipe.func is Mix and recipe.keywords["real_fraction"] * num_synthetic > num_real))
    for pool in Chain(recipe(), num_real=num_real, num_synthetic=num_synthetic).pools:
        held = numbers(pool)
        counted = {origin: sum(origin_of(number) == origin for number in held) for origin in pool.origins()}
        assert pool.origins() == counted
        assert sum(counted.values()) == len(pool) == len(held)
        assert pool.real_fraction == pytest.approx(counted.get("real", 0) / len(held))
        assert [int(label) for part in pool.parts for label in part.samples.labels] == held


@given(recipe=recipes, num_real=sizes)
@settings(deadline=None)
def test_no_pool_holds_a_sample_twice(recipe, num_real):
    for pool in Chain(recipe(), num_real=num_real, num_synthetic=num_real).pools:
        assert len(set(numbers(pool))) == len(pool)


@given(recipe=recipes, num_real=sizes)
@settings(deadline=None)
def test_a_resumed_chain_replays_the_same_pools(recipe, num_real):
    chain = Chain(recipe(), num_real=num_real, num_synthetic=num_real)
    again = Chain(recipe(), num_real=num_real, num_synthetic=num_real)
    assert [numbers(pool) for pool in chain.pools] == [numbers(pool) for pool in again.pools]


@given(recipe=recipes, num_real=sizes)
@settings(deadline=None)
def test_weights_sum_to_one(recipe, num_real):
    for pool in Chain(recipe(), num_real=num_real, num_synthetic=num_real).pools:
        if pool.weights is not None:
            assert len(pool.weights) == len(pool)
            assert pool.weights.sum().item() == pytest.approx(1)
            assert pool.weights.min() >= 0


@given(num_synthetic=st.lists(st.integers(1, 30), min_size=5, max_size=5))
@settings(deadline=None)
def test_replace_holds_only_the_last_generation(num_synthetic):
    chain = Chain(Replace(), num_synthetic=num_synthetic)
    for generation, pool in enumerate(chain.pools[1:]):
        assert pool.origins() == {str(generation): num_synthetic[generation]}


@given(num_synthetic=st.lists(st.integers(1, 30), min_size=5, max_size=5))
@settings(deadline=None)
def test_accumulate_never_loses_a_sample(num_synthetic):
    pools = Chain(Accumulate(), num_synthetic=num_synthetic).pools
    for earlier, later in pairwise(pools):
        assert numbers(later)[: len(earlier)] == numbers(earlier)
    assert len(pools[-1]) == 20 + sum(num_synthetic)


def test_accumulate_copies_nothing():
    chain = Chain(Accumulate())
    pointers = [part.samples.values.data_ptr() for part in chain.pools[-1].parts]
    assert [part.samples.values.data_ptr() for part in chain.next_pool(chain.pools[-1], 5).parts][:-1] == pointers


@given(budget=st.one_of(st.none(), st.integers(1, 40)), num_real=sizes)
@settings(deadline=None)
def test_accumulate_subsample_keeps_its_budget_and_forgets_nothing(budget, num_real):
    chain = Chain(AccumulateSubsample(budget=budget), num_real=num_real, num_synthetic=20)
    for generation, pool in enumerate(chain.pools[1:], start=1):
        assert len(pool) == (budget or num_real)
        everything = numbers(Pool(pool.archive))
        assert len(everything) == num_real + 20 * generation
        assert set(numbers(pool)) <= set(everything)


def test_accumulate_subsample_draws_from_all_generations_alike():
    chain = Chain(AccumulateSubsample(budget=None), num_real=2000, num_synthetic=2000, length=4)
    assert chain.pools[-1].origins() == pytest.approx({"real": 500, "0": 500, "1": 500, "2": 500}, abs=90)


def test_accumulate_subsample_refuses_a_budget_beyond_everything():
    with pytest.raises(UsageError, match="at most the 40 samples so far: got 41"):
        Chain(AccumulateSubsample(budget=41))


@given(ratio=fractions, num_real=sizes)
@settings(deadline=None)
def test_fixed_real_holds_all_real_data_and_its_ratio_of_synthetic(ratio, num_real):
    chain = Chain(FixedReal(synthetic_ratio=ratio), num_real=num_real, num_synthetic=num_real)
    for generation, pool in enumerate(chain.pools[1:]):
        assert numbers(pool)[:num_real] == list(range(num_real))
        assert pool.origins().get(str(generation), 0) == pytest.approx(ratio * num_real, abs=0.5)
        assert set(pool.origins()) <= {"real", str(generation)}


def test_fixed_real_refuses_more_synthetic_samples_than_were_drawn():
    with pytest.raises(
        UsageError,
        match="needs 40 synthetic samples for generation 1, and 20 are drawn: set num_synthetic to at least 40",
    ):
        Chain(FixedReal(synthetic_ratio=2.0))


@given(fraction=fractions, num_real=sizes, num_synthetic=st.integers(40, 60))
@settings(deadline=None)
def test_fresh_real_never_uses_a_real_sample_twice(fraction, num_real, num_synthetic):
    regime = FreshReal(fresh_fraction=fraction, is_recycled=False)
    chain = Chain(regime, num_real=num_real, num_synthetic=num_synthetic)
    fresh = [number for pool in chain.pools[1:] for number in numbers(pool) if number >= 100_000]
    assert fresh == list(range(100_000, 100_000 + len(fresh)))
    for generation, pool in enumerate(chain.pools[1:]):
        assert len(pool) == num_synthetic
        assert pool.origins().get("real", 0) == pytest.approx(fraction * num_real, abs=0.5)
        assert set(pool.origins()) <= {"real", str(generation)}


def test_fresh_real_refuses_an_exhausted_reserve():
    regime = FreshReal(fresh_fraction=0.5, is_recycled=False)
    assert len(Chain(regime, num_reserve=50).pools) == 6
    with pytest.raises(UsageError, match="needs 50 real samples beyond the training set's 20 to make generation 5"):
        Chain(regime, num_reserve=49)
    with pytest.raises(UsageError, match="there are 49"):
        regime.check(num_generations=6, num_real=20, num_reserve=49)
    regime.check(num_generations=6, num_real=20, num_reserve=50)


def test_fresh_real_starts_again_when_told_to():
    chain = Chain(FreshReal(fresh_fraction=0.5, is_recycled=True), num_reserve=25)
    fresh = [number - 100_000 for pool in chain.pools[1:] for number in numbers(pool) if number >= 100_000]
    assert fresh == [*range(25), *range(25)]


@pytest.mark.parametrize("is_recycled", [False, True])
def test_fresh_real_refuses_a_missing_reserve(is_recycled):
    with pytest.raises(UsageError, match="there are 0"):
        Chain(FreshReal(fresh_fraction=0.5, is_recycled=is_recycled), num_reserve=0)


@given(real_fraction=real_fractions, num_synthetic=st.integers(1, 20))
@settings(deadline=None)
def test_mix_holds_its_fraction_of_real_data(real_fraction, num_synthetic):
    regime = Mix(real_fraction=real_fraction() if callable(real_fraction) else real_fraction)
    for generation, pool in enumerate(Chain(regime, num_synthetic=num_synthetic).pools[1:]):
        assert len(pool) == num_synthetic
        wanted = regime.real_fraction.at(generation) * num_synthetic
        assert pool.origins().get("real", 0) == pytest.approx(wanted, abs=0.5 + 1e-9)
        assert set(pool.origins()) <= {"real", str(generation)}


@given(num_synthetic=st.integers(1, 20))
@settings(deadline=None)
def test_mix_with_fraction_one_never_holds_synthetic_samples(num_synthetic):
    for pool in Chain(Mix(real_fraction=1.0), num_synthetic=num_synthetic).pools:
        assert set(pool.origins()) == {"real"}


def test_mix_draws_other_real_samples_each_generation():
    pools = Chain(Mix(real_fraction=0.5)).pools
    assert len({tuple(numbers(pool)[:10]) for pool in pools[1:]}) == 5


def test_mix_refuses_more_real_samples_than_there_are():
    with pytest.raises(UsageError, match="mix needs 30 real samples of 20"):
        Chain(Mix(real_fraction=0.5), num_synthetic=60)


@given(num_kept=st.integers(1, 8))
@settings(deadline=None)
def test_window_holds_the_last_generations(num_kept):
    for generation, pool in enumerate(Chain(Window(num_kept=num_kept)).pools[1:]):
        kept = range(max(generation - num_kept + 1, REAL), generation + 1)
        assert pool.origins() == {"real" if origin == REAL else str(origin): 20 for origin in kept}


def test_a_window_of_one_is_replace():
    window, replace = Chain(Window(num_kept=1)), Chain(Replace())
    assert [numbers(pool) for pool in window.pools] == [numbers(pool) for pool in replace.pools]


@given(real_weight=fractions)
@settings(deadline=None)
def test_weighted_gives_real_data_its_weight(real_weight):
    for pool in Chain(Weighted(regime=Accumulate(), real_weight=real_weight)).pools[1:]:
        assert pool.real_weight == pytest.approx(real_weight)
        assert pool.weights[:20].sum().item() == pytest.approx(real_weight)


@pytest.mark.parametrize("ratio", [0.25, 1.0])
def test_golden_ratio_follows_the_numbers_of_samples(ratio):
    pool = Chain(GoldenRatio(regime=FixedReal(synthetic_ratio=ratio))).pools[-1]
    assert pool.real_weight == pytest.approx(golden_ratio_weight(1 / ratio))


def test_weights_refuse_a_pool_without_real_data():
    with pytest.raises(UsageError, match="got 0 real and 20 synthetic"):
        Chain(Weighted(regime=Replace(), real_weight=0.5))


def test_weights_around_a_subsample_keep_its_archive():
    chain = Chain(Weighted(regime=AccumulateSubsample(budget=None), real_weight=0.5), num_real=40, num_synthetic=40)
    assert len(Pool(chain.pools[-1].archive)) == 40 * num_generations


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AccumulateSubsample(budget=0), "regime.budget must be at least 1.*got 0"),
        (lambda: FixedReal(synthetic_ratio=-0.5), r"synthetic_ratio must be at least 0 .*got -0\.5"),
        (lambda: FreshReal(fresh_fraction=[0.2, -1], is_recycled=False), "fresh_fraction .*got -1"),
        (lambda: Mix(real_fraction=1.5), r"real_fraction must be between 0 and 1 .*got 1\.5"),
        (lambda: Mix(real_fraction=Linear(first=1, last=-1, num_generations=3)), "real_fraction .*got -1"),
        (lambda: Window(num_kept=0), "num_kept must be at least 1 generation: got 0"),
        (lambda: Weighted(regime=Accumulate(), real_weight=2.0), r"real_weight .*got 2\.0"),
    ],
)
def test_settings_out_of_range_are_refused(build, message):
    with pytest.raises(UsageError, match=message):
        build()


@pytest.mark.parametrize(
    "regime",
    [
        FixedReal(synthetic_ratio=[1, 1]),
        FreshReal(fresh_fraction=[0.1, 0.1], is_recycled=False),
        Mix(real_fraction=[0.5, 0.5]),
        Weighted(regime=Accumulate(), real_weight=[0.5, 0.5]),
        Weighted(regime=FixedReal(synthetic_ratio=[1, 1]), real_weight=0.5),
    ],
)
def test_a_list_that_ends_before_the_chain_is_refused_in_rehearsal(regime):
    assert len(rehearsed(regime, length=3)) == 3
    with pytest.raises(UsageError, match="ends before generation 2"):
        rehearsed(regime, length=4)


@given(recipe=recipes, num_real=sizes)
@settings(deadline=None)
def test_a_rehearsal_gives_the_sizes_of_the_chains_pools(recipe, num_real):
    expected = [len(pool) for pool in Chain(recipe(), num_real=num_real, num_synthetic=num_real).pools]
    sizes_of_chain = {"num_real": num_real, "num_synthetic": num_real, "num_reserve": 1000, "length": num_generations}
    assert rehearsed(recipe(), **sizes_of_chain) == expected


@pytest.mark.parametrize(
    ("regime", "changes", "message"),
    [
        (
            FixedReal(synthetic_ratio=1.0),
            {"num_synthetic": 5},
            "fixed_real needs 20 synthetic .* at least 20, or lower",
        ),
        (golden_ratio(), {"num_synthetic": 5}, "generation 1, and 5 are drawn: set num_synthetic to at least 20"),
        (
            Mix(real_fraction=0.8),
            {"num_synthetic": 40},
            "mix needs 32 real samples of 20 .* lower regime.real_fraction",
        ),
        (AccumulateSubsample(budget=50), {}, "regime.budget must be at most the 40 samples so far: got 50"),
        (FreshReal(fresh_fraction=0.5, is_recycled=False), {"num_synthetic": 5}, "takes 10 new real .* of the 5 synth"),
        (FreshReal(fresh_fraction=0.5, is_recycled=False), {"num_reserve": 15}, "needs 20 real samples beyond"),
        (Weighted(regime=Window(num_kept=2), real_weight=0.5), {}, "got 0 real and 40 synthetic"),
    ],
)
def test_what_a_chain_would_stop_with_is_found_in_rehearsal(regime, changes, message):
    with pytest.raises(UsageError, match=message):
        rehearsed(regime, **changes)


def test_a_rehearsal_holds_no_samples():
    real = blank(1_000_000, origin=REAL)
    assert real.samples.values.untyped_storage().nbytes() == 0


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_regime_in_conf_builds(path):
    regime = instantiate(OmegaConf.load(path), _convert_="object")
    assert isinstance(regime, Regime)
    assert path.stem.startswith(regime.name)
    assert len(Chain(regime).pools) == num_generations
