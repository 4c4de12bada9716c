"""Each cause changes what it states and nothing else; several are planted in one order; what cannot be is refused."""

import pytest
import torch

from collapsar.chain.parts import pool_sizes
from collapsar.data.causes.cause import in_order, labels_of, num_planted, plant_all
from collapsar.data.causes.collected import BiasedSubset, FewSamples, LongTail, MissingClasses, SimplifiedWorld
from collapsar.data.causes.recorded import Blur, DuplicatedSamples, LabelNoise, PixelNoise
from collapsar.data.real_data import Factor, Factors, RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.seeding import make_generator
from tiny_chains import compose_settings

NUM_CLASSES, NUM_SAMPLES = 5, 200
FIVE = Factors((Factor("kind", ("a", "b", "c", "d", "e"), (0.2,) * 5),))  # the classes, as levels of one factor
CAUSES = {
    "missing_classes": MissingClasses(classes=[3, 0]),
    "simplified_world": SimplifiedWorld(without=["b", "d"]).for_factors(FIVE),
    "long_tail": LongTail(factor=8),
    "biased_subset": BiasedSubset(kept_fraction=0.3, strength=1.0),
    "few_samples": FewSamples(kept_fraction=0.1),
    "label_noise": LabelNoise(fraction=0.25),
    "blur": Blur(fraction=0.5, sd_pixels=0.7),
    "pixel_noise": PixelNoise(fraction=0.5, sd=0.1),
    "duplicated_samples": DuplicatedSamples(fraction=0.6),
}
LEAVING_OUT = ("missing_classes", "simplified_world", "long_tail", "biased_subset", "few_samples")
SPOILING = ("label_noise", "blur", "pixel_noise")


def images(seed=0):
    """Random images, the same number of each class."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(256, (NUM_SAMPLES, 1, 8, 8), generator=generator).to(torch.uint8)
    return Samples(values, torch.arange(NUM_SAMPLES) % NUM_CLASSES)


def planted(cause, samples=None, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return cause.plant(samples or images(), num_classes=NUM_CLASSES, generator=generator)


def places_of(some, everything):
    """Where each of some samples stands among all of them, whose values differ."""
    same = (some.values.flatten(1).unsqueeze(1) == everything.values.flatten(1).unsqueeze(0)).all(2)
    assert (same.sum(1) == 1).all()
    return same.int().argmax(1)


def changed(before, after):
    return (before.flatten(1) != after.flatten(1)).any(1)


# What each does


@pytest.mark.parametrize("name", LEAVING_OUT)
def test_a_cause_that_leaves_samples_out_keeps_the_others_with_their_labels_in_their_order(name):
    kept = planted(CAUSES[name])
    places = places_of(kept, images())
    assert (places.diff() > 0).all()
    assert torch.equal(kept.labels, images().labels[places])
    assert len(kept) == CAUSES[name].num_left(NUM_SAMPLES, num_classes=NUM_CLASSES) < NUM_SAMPLES


def test_missing_classes_are_gone_and_the_others_whole():
    assert planted(CAUSES["missing_classes"]).labels.bincount().tolist() == [0, 40, 40, 0, 40]


def test_a_simplified_world_has_no_sample_of_the_levels_it_was_not_told_of():
    assert planted(CAUSES["simplified_world"]).labels.bincount().tolist() == [40, 0, 40, 0, 40]


def test_a_simplified_world_of_scenes_has_none_of_the_rare_factors_and_all_of_the_others():
    experiment = built("data=scenes", "data.num_train=400", "cause=[simplified_world]")
    real = experiment.data.load()
    world = experiment.parts.cause["simplified_world"].plant(real.train, num_classes=96, generator=torch.Generator())
    kept = {level.name: bool(real.factors.has(level, world.labels).any()) for level in real.factors.levels}
    assert [name for name, is_there in kept.items() if not is_there] == ["night", "fog", "occlusion"]
    without = ~torch.stack([real.factors.has(level, real.train.labels) for level in real.factors.levels[5:]]).any(0)
    assert torch.equal(world.labels, real.train.labels[without])


def test_a_long_tail_falls_exponentially_from_the_first_class_to_the_last():
    assert planted(CAUSES["long_tail"]).labels.bincount().tolist() == [40, 24, 14, 8, 5]


def test_a_long_tail_keeps_all_of_a_class_that_has_fewer():
    few = images()[torch.cat([torch.arange(0, NUM_SAMPLES, NUM_CLASSES)[:3], (images().labels > 0).nonzero()[:, 0]])]
    assert planted(CAUSES["long_tail"], few).labels.bincount()[0] == 3


def test_a_biased_subset_of_full_strength_lies_on_one_side_of_a_cut_along_the_first_component():
    generator = torch.Generator().manual_seed(0)
    points = Samples(torch.randn(NUM_SAMPLES, 3, generator=generator) * torch.tensor([0.1, 4.0, 1.0]))
    kept = planted(CAUSES["biased_subset"], points)
    assert len(kept) == 60
    assert kept.values[:, 1].min() > 0.2
    left_out = torch.ones(NUM_SAMPLES, dtype=torch.bool)
    left_out[places_of(kept, points)] = False
    direction = torch.linalg.svd(points.values - points.values.mean(0)).Vh[0]
    direction = direction * direction[direction.abs().argmax()].sign()
    assert (kept.values @ direction).min() > (points.values[left_out] @ direction).max()


def test_a_biased_subset_leans_less_the_weaker_it_is():
    def lean(strength):
        cause = BiasedSubset(kept_fraction=0.3, strength=strength)
        points = Samples(torch.linspace(-1, 1, NUM_SAMPLES).unsqueeze(1))
        return planted(cause, points).values.mean().item()

    assert lean(1.0) > lean(0.5) > lean(0.0) + 0.1
    assert abs(lean(0.0)) < 0.2


@pytest.mark.parametrize("name", SPOILING)
def test_a_cause_that_spoils_samples_leaves_the_given_ones_as_they_are(name):
    given = images()
    planted(CAUSES[name], given)
    assert torch.equal(given.values, images().values)
    assert torch.equal(given.labels, images().labels)


def test_label_noise_gives_the_stated_share_another_class_and_leaves_the_images():
    noisy = planted(CAUSES["label_noise"])
    assert torch.equal(noisy.values, images().values)
    assert (noisy.labels != images().labels).sum() == 50
    assert set(noisy.labels.tolist()) == set(range(NUM_CLASSES))


def test_label_noise_draws_evenly_from_the_other_classes():
    samples = Samples(torch.zeros(4000, 1), torch.full((4000,), 2))
    counts = planted(LabelNoise(fraction=1.0), samples).labels.bincount(minlength=NUM_CLASSES)
    assert counts[2] == 0
    assert counts[[0, 1, 3, 4]].float().sub(1000).abs().max() < 120


@pytest.mark.parametrize("name", ["blur", "pixel_noise"])
def test_a_cause_of_images_changes_the_stated_share_of_them_and_no_label(name):
    spoilt = planted(CAUSES[name])
    assert changed(spoilt.values, images().values).sum() == 100
    assert torch.equal(spoilt.labels, images().labels)


def test_a_blurred_point_is_a_gaussian_kernel_and_keeps_its_light():
    point = torch.zeros(1, 1, 17, 17, dtype=torch.uint8)
    point[0, 0, 8, 8] = 255
    blurred = planted(Blur(fraction=1.0, sd_pixels=1.0), Samples(point)).values[0, 0].double()
    assert blurred.sum() == pytest.approx(255, abs=8)  # pixels are whole
    assert blurred[8, 8] == pytest.approx(255 / (2 * torch.pi), abs=1)
    assert blurred[8, 9] / blurred[8, 8] == pytest.approx(torch.tensor(-0.5).exp().item(), abs=0.02)


def test_a_blurred_plain_image_stays_plain():
    plain = Samples(torch.full((2, 3, 8, 8), 77, dtype=torch.uint8))
    assert torch.equal(planted(Blur(fraction=1.0, sd_pixels=1.0), plain).values, plain.values)


def test_pixel_noise_has_the_stated_standard_deviation():
    grey = Samples(torch.full((100, 1, 8, 8), 128, dtype=torch.uint8))
    noisy = planted(PixelNoise(fraction=1.0, sd=0.1), grey).values.double() / 255
    assert noisy.std() == pytest.approx(0.1, rel=0.05)


def test_duplicates_are_exact_copies_with_their_labels_in_place_of_the_stated_share():
    copied = planted(CAUSES["duplicated_samples"])
    places = places_of(copied, images())
    assert len(copied) == NUM_SAMPLES
    assert 60 <= len(places.unique()) <= 80  # of the 80 originals
    assert torch.equal(copied.labels, images().labels[places])
    assert (places == torch.arange(NUM_SAMPLES)).sum() == 80


@pytest.mark.parametrize(
    "cause",
    [
        BiasedSubset(kept_fraction=1.0, strength=1.0),
        FewSamples(kept_fraction=1.0),
        LongTail(factor=1),
        MissingClasses(classes=[]),
        LabelNoise(fraction=0.0),
        Blur(fraction=0.0, sd_pixels=1.0),
        PixelNoise(fraction=0.0, sd=0.3),
        DuplicatedSamples(fraction=0.0),
    ],
    ids=lambda cause: cause.name,
)
def test_a_cause_turned_down_to_nothing_changes_nothing(cause):
    assert torch.equal(planted(cause).values, images().values)
    assert torch.equal(planted(cause).labels, images().labels)


# Several


def real_data():
    return RealData(images(), images(1), NUM_CLASSES, reserve=images(2))


def test_only_the_training_set_is_touched():
    real = plant_all(CAUSES, real_data(), seed=0)
    assert len(real.train) < NUM_SAMPLES
    assert torch.equal(real.test.values, images(1).values)
    assert torch.equal(real.reserve.values, images(2).values)


def test_causes_are_planted_in_one_order_however_they_are_listed():
    one, other = (
        plant_all(dict(order), real_data(), seed=0).train for order in (CAUSES.items(), [*CAUSES.items()][::-1])
    )
    assert torch.equal(one.values, other.values)
    assert torch.equal(one.labels, other.labels)


def test_samples_are_left_out_first_then_spoilt_then_copied():
    assert [name for name, _ in in_order(dict(reversed(CAUSES.items())))] == list(CAUSES)


def test_each_cause_draws_from_a_stream_of_its_own():
    alone = plant_all({"label_noise": CAUSES["label_noise"]}, real_data(), seed=4).train
    generator = make_generator(4, 0, "cause label_noise")
    expected = CAUSES["label_noise"].plant(images(), num_classes=NUM_CLASSES, generator=generator)
    assert torch.equal(alone.labels, expected.labels)
    with_another = {name: CAUSES[name] for name in ("label_noise", "pixel_noise")}
    assert torch.equal(plant_all(with_another, real_data(), seed=4).train.labels, alone.labels)


def test_the_size_is_known_beforehand_where_classes_are_equally_large():
    assert num_planted(CAUSES, NUM_SAMPLES, num_classes=NUM_CLASSES) > 0
    for name, cause in CAUSES.items():
        size = num_planted({name: cause}, NUM_SAMPLES, num_classes=NUM_CLASSES)
        assert size == len(plant_all({name: cause}, real_data(), seed=0).train)


def test_causes_that_leave_no_sample_are_refused():
    only = RealData(images()[images().labels == 3], images(), NUM_CLASSES)
    with pytest.raises(UsageError, match="cause=missing_classes leaves no real sample: set it weaker"):
        plant_all({"missing_classes": CAUSES["missing_classes"]}, only, seed=0)


# Composed


def built(*overrides):
    from collapsar.config.composition import build

    return build(compose_settings("tracking=none", *overrides))


def test_a_list_of_files_composes_several_and_a_value_overrides_theirs():
    experiment = built("cause=[label_noise,blur]", "cause.label_noise.fraction=0.3")
    assert list(experiment.parts.cause) == ["label_noise", "blur"]
    assert experiment.parts.cause["label_noise"].fraction == 0.3


def test_pools_after_the_first_are_as_large_as_without_a_cause():
    experiment = built("cause=few_samples")
    assert pool_sizes(experiment.parts, num_real=287) == [287] + [1437] * 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["cause=label_noise", "cause.label_noise.fraction=1.1"],
            "cause.label_noise.fraction must lie between 0 and 1",
        ),
        (["cause=blur", "cause.blur.sd_pixels=3"], "cause.blur.sd_pixels must be at most 2.33 .*: got 3; set less"),
        (["cause=blur", "cause.blur.sd_pixels=0"], "cause.blur.sd_pixels must be above 0: got 0"),
        (["cause=pixel_noise", "cause.pixel_noise.sd=-1"], "cause.pixel_noise.sd must be above 0: got -1"),
        (["cause=long_tail", "cause.long_tail.factor=0.5"], "factor must be at least 1: got 0.5"),
        (["cause=missing_classes", "cause.missing_classes.classes=[10]"], r"some, not all, of 0 to 9: got \[10\]"),
        (["cause=few_samples", "cause.few_samples.kept_fraction=0"], "kept_fraction must be above 0: got 0"),
        (["cause=biased_subset", "cause.biased_subset.strength=2"], "strength must lie between 0 and 1: got 2"),
        (["cause=duplicated_samples", "cause.duplicated_samples.fraction=1"], "at least 0 and below 1: got 1"),
        (
            ["cause=few_samples", "cause.few_samples.kept_fraction=0.03"],
            "batch_size must be between 1 and the pool's 43",
        ),
        (["cause=label_noise", "data=gaussian", "model=gaussian"], "cause=label_noise needs classes, .* choose data="),
        (["cause=blur", "data=ring", "model=mixture"], "cause=blur needs images: choose data=digits"),
        (["cause=simplified_world"], "cause=simplified_world needs data of known factors: choose data=scenes"),
        (
            ["data=scenes", "cause=simplified_world", "cause.simplified_world.without=[rain]"],
            "cause.simplified_world.without must be among straight, .*, occlusion: got rain",
        ),
        (["data=scenes", "cause=simplified_world", "cause.simplified_world.without=[]"], "at least: got none"),
        (
            ["data=scenes", "cause=simplified_world", "cause.simplified_world.without=[straight,left,right]"],
            "leaves no sample: got straight, left, right",
        ),
        (["+cause.mine=3"], "cause.mine must be a cause: got 3; choose a file of conf/cause"),
    ],
    ids=str,
)
def test_what_cannot_be_planted_is_refused_when_it_is_composed(overrides, message):
    with pytest.raises(UsageError, match=message):
        built(*overrides)


def test_labels_are_asked_of_labelled_samples_only():
    with pytest.raises(AssertionError):
        labels_of(Samples(torch.zeros(2, 1)))


# In a chain


def test_a_chain_is_trained_on_the_planted_set_and_measured_with_clean_ones(run_chain, tmp_path):
    clean, planted = (
        run_chain(tmp_path / name, *overrides)
        for name, overrides in {
            "clean": [],
            "planted": ["cause=few_samples", "cause.few_samples.kept_fraction=0.4"],
        }.items()
    )
    assert [record.pool["size"] for record in planted] == [80, 200]
    floors = [
        {key: value for key, value in record[0].metrics.items() if key.endswith("_floor")}
        for record in (clean, planted)
    ]
    assert floors[0] == floors[1] != {}
    assert clean[0].feature_spaces == planted[0].feature_spaces
    assert clean[0].class_shares["real"] == planted[0].class_shares["real"]


def test_a_set_that_turns_out_too_small_is_refused_before_any_training(run_chain, tmp_path):
    overrides = ("cause=missing_classes", "cause.missing_classes.classes=[1,2,3,4,5,6,7,8,9]", "data.num_train=310")
    with pytest.raises(UsageError, match="batch_size must be between 1 and the pool's 31 samples: got 32"):
        run_chain(tmp_path / "run", *overrides, "batch_size=32")
