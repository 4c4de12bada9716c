"""What pools are worth in real samples: the curve over numbers of real samples, and where values lie on it."""

import math
from pathlib import Path

import pytest

from collapsar.foundations.record import GenerationRecord
from collapsar.study.arms import group_arms
from collapsar.study.chains import Chain
from collapsar.study.intervals import Interval
from collapsar.study.worth import RealCurve, real_curves

FID = {100: 16.0, 200: 8.0, 400: 4.0, 800: 2.0}


def chain(values, *, size=None, seed=0, metric="fid", **settings):
    """A chain with these values by generation, of `size` real samples; None: all 800."""
    config = {"seed": seed, "num_generations": len(values), "data": {"name": "digits", "num_train": size}}
    config |= {"model": {"name": "vae"}, "regime": {"_target_": "collapsar.data.regimes.Replace"}, **settings}
    records = tuple(
        GenerationRecord(
            generation=generation,
            seed=seed,
            data="digits",
            model=config["model"]["name"],
            regime="replace",
            pool={"size": size or 800, "real_fraction": 1.0, "origins": {}},
            num_evaluated=360,
            num_real=360,
            metrics={} if value is None else {metric: value},
            seconds={},
        )
        for generation, value in enumerate(values)
    )
    label = f"{size}-{seed}-{settings}"
    return Chain(folder=Path(label), label=label, config=config, records=records, overrides=(), versions={}, problem="")


def curve_of(values, **options):
    chains = [chain([value], size=size if size < 800 else None, **options) for size, value in values.items()]
    (found,) = real_curves(group_arms(chains), metric=options.get("metric", "fid"))
    return found


@pytest.mark.parametrize("size", FID)
def test_a_value_of_the_curve_is_worth_its_number_of_real_samples(size):
    assert curve_of(FID).worth(FID[size]) == pytest.approx(size, rel=1e-12)


def test_between_two_numbers_the_curve_is_straight_in_their_logarithm():
    assert curve_of(FID).worth(6.0) == pytest.approx(200 * math.sqrt(2))
    assert curve_of(FID).worth(10.0) == pytest.approx(100 * 2**0.75)


def test_where_higher_is_better_more_is_worth_more():
    curve = curve_of({100: 0.2, 200: 0.4, 800: 0.6}, metric="recall")
    assert curve.worth(0.3) == pytest.approx(100 * math.sqrt(2))
    assert curve.worth(0.5) == pytest.approx(400)
    assert (curve.worth(0.1), curve.worth(0.7)) == (-math.inf, math.inf)


def test_beyond_the_curve_there_is_no_number():
    assert (curve_of(FID).worth(16.1), curve_of(FID).worth(1.9)) == (-math.inf, math.inf)


@pytest.mark.parametrize("value", [2.0, 16.0])
def test_a_value_that_differs_by_rounding_from_an_end_is_on_the_curve(value):
    curve = curve_of(FID)
    assert math.isfinite(curve.worth(math.nextafter(value, 0)))
    assert math.isfinite(curve.worth(math.nextafter(value, 20)))


def test_a_flat_part_is_worth_the_fewest_real_samples_that_do_as_well():
    curve = curve_of({100: 16.0, 200: 4.0, 400: 4.0, 800: 2.0})
    assert curve.worth(4.0) == pytest.approx(200)
    assert curve.worth(3.0) == pytest.approx(400 * math.sqrt(2))
    assert curve_of({100: 4.0, 200: 4.0, 400: 4.0, 800: 2.0}).worth(4.0) == pytest.approx(100)
    assert curve_of({100: 8.0, 200: 2.0, 400: 2.0, 800: 2.0}).worth(2.0) == pytest.approx(200)


def test_means_that_are_not_monotone_are_pooled_by_their_seeds():
    chains = [chain([value], size=size, seed=seed) for size, value in {100: 16.0, 400: 8.0}.items() for seed in (0, 1)]
    (curve,) = real_curves(group_arms([*chains, chain([5.0], size=200), chain([2.0])]), metric="fid")
    assert [mean.mean for mean in curve.means.values()] == [16.0, 5.0, 8.0, 2.0]
    assert curve.fitted == pytest.approx([16.0, 7.0, 7.0, 2.0])  # (5 + 2 * 8) / 3
    assert curve.worth(7.0) == pytest.approx(200)


def test_points_are_means_over_seeds_and_a_seed_of_several_arms_counts_once():
    later = {"regime": {"_target_": "collapsar.data.regimes.Accumulate"}}
    sizes = [chain([16.0], size=100), chain([8.0], size=200)]
    full = [chain([value, 5.0], seed=seed, **own) for seed, value in enumerate((1.0, 3.0)) for own in ({}, later)]
    (curve,) = real_curves(group_arms(sizes + full), metric="fid")
    assert curve.means[800].mean == 2.0
    assert curve.means[800].num_seeds == 2
    assert len(curve.arms) == 4


@pytest.mark.parametrize(
    "values", [{100: 16.0, 200: 8.0}, {100: 16.0}, {100: 3.0, 200: 3.0, 800: 3.0}, {100: 1.0, 200: 2.0, 800: 3.0}]
)
def test_fewer_than_three_sizes_or_a_metric_that_more_samples_do_not_help_give_no_curve(values):
    chains = [chain([value], size=size) for size, value in values.items()]
    assert real_curves(group_arms(chains), metric="fid") == []


def test_a_metric_that_is_not_measured_or_has_no_better_direction_gives_no_curve():
    assert real_curves(group_arms([chain([value], size=size) for size, value in FID.items()]), metric="recall") == []
    chains = [chain([value], size=size, metric="trace_ratio") for size, value in FID.items()]
    assert real_curves(group_arms(chains), metric="trace_ratio") == []


def test_chains_that_differ_in_another_setting_are_no_points_of_a_curve():
    chains = [chain([FID[size]], size=size, trainer={"max_steps": size}) for size in FID]
    assert real_curves(group_arms(chains), metric="fid") == []


def test_an_arm_with_another_lever_is_rated_and_one_of_another_evaluation_or_model_is_not():
    chains = [chain([value], size=size) for size, value in FID.items()]
    others = {"trainer": {"max_steps": 7}, "evaluation": {"num_samples": 9}, "model": {"name": "gan"}}
    arms = group_arms([*chains, *(chain([4.0], **{part: own}) for part, own in others.items())])
    (curve,) = real_curves(arms, metric="fid")
    assert [arm.settings.get("trainer.max_steps") for arm in curve.arms].count(7) == 1
    assert len(curve.arms) == len(FID) + 1


def test_of_two_curves_the_one_with_the_fewest_settings_rates_all_arms():
    plain = [chain([value], size=size) for size, value in FID.items()]
    lever = [chain([2 * value], size=size, training={"average_decay": 0.9}) for size, value in FID.items()]
    (curve,) = real_curves(group_arms(lever + plain), metric="fid")
    assert curve.fitted == list(FID.values())
    assert len(curve.arms) == 2 * len(FID)


def test_an_arm_is_rated_by_its_mean_and_by_both_ends_of_its_interval():
    sizes = [chain([FID[size]], size=size, seed=seed) for size in FID if size < 800 for seed in (0, 1)]
    full = [chain([2.0, value], seed=seed) for seed, value in enumerate((5.9, 6.1))]
    found = {arm.horizon: arm for arm in group_arms(sizes + full)}[1]
    (curve,) = real_curves(group_arms(sizes + full), metric="fid")
    value, worth = curve.rate(found)[1]
    assert value.mean == pytest.approx(6.0)
    assert worth.mean == pytest.approx(curve.worth(6.0))
    assert worth.ends == pytest.approx((curve.worth(value.ends[1]), curve.worth(value.ends[0])))
    assert worth.ends[0] < worth.mean < worth.ends[1]
    assert curve.rate(found)[0][1].mean == pytest.approx(800)


def test_an_interval_may_reach_beyond_the_curve():
    means = {size: Interval(mean=1.0, low=None, high=None, num_seeds=1) for size in (100, 200, 800)}
    curve = RealCurve(metric="fid", means=means, fitted=[16.0, 8.0, 2.0], arms=[])
    (arm,) = group_arms([chain([4.0], seed=0), chain([0.0], seed=1)])
    worth = curve.rate(arm)[0][1]
    assert worth.mean == pytest.approx(800)
    assert worth.ends == (-math.inf, math.inf)


def test_a_generation_without_the_metric_is_not_rated():
    curve = curve_of(FID)
    (arm,) = group_arms([chain([2.0, None, 8.0])])
    assert [*curve.rate(arm)] == [0, 2]


def test_imported_chains_without_pools_give_no_curve():
    chains = [chain([value], size=size) for size, value in FID.items()]
    for each in chains:
        for record in each.records:
            record.pool["size"] = 0
    assert real_curves(group_arms(chains), metric="fid") == []
