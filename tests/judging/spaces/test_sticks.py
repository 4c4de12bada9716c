"""The measuring sticks that come with the package: what they are, what they say, and that nobody changed them."""

import json
from dataclasses import replace

import pytest
import torch
from scipy.stats import chisquare
from stick_values import STICKS, VALUES, corrupted, fit, load, measure, path_of

from collapsar.config.composition import build
from collapsar.data.real_data import RealData
from collapsar.data.sources.real import CIFAR10, MNIST
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.spaces import stick as stick_module
from collapsar.judging.spaces.base import checksum
from collapsar.judging.spaces.stick import StickSpace, read_stick
from collapsar.judging.suite import factor_scores
from tiny_chains import compose_settings

CLAIMED = {"digits": 0.98, "mnist": 0.994, "cifar10": 0.90, "scenes": 0.999}  # scenes: all six factors at once
OF_SCENES = "scenes"  # which are drawn: no part of them is kept from a stick
PINNED = json.loads(VALUES.read_text())


@pytest.fixture(scope="module", params=STICKS)
def stick(request):
    return request.param


@pytest.fixture(scope="module")
def real(stick):
    real = load(stick)
    return real if real is not None else pytest.skip(f"COLLAPSAR_DATA names no folder with the files of {stick}")


@pytest.fixture(scope="module")
def space(stick, real):
    return fit(stick, real)


@pytest.fixture
def fixed(stick, real):
    """The real data of sticks of official files."""
    return real if stick != OF_SCENES else pytest.skip("scenes are drawn")


def shares_of_real(space, values, labels):
    """How often each class is predicted, over how often it occurs."""
    predicted = space.classify(space.extract(values)).argmax(dim=1)
    return predicted.bincount(minlength=10) / labels.bincount(minlength=10)


# What they are


def test_there_is_a_file_for_every_stick_and_for_nothing_else():
    assert sorted(path.stem for path in stick_module.FOLDER.glob("*.safetensors")) == sorted(STICKS)


def test_a_file_is_at_most_a_megabyte(stick):
    assert path_of(stick).stat().st_size <= 1_000_000


def test_a_stick_is_the_one_whose_values_are_pinned(stick):
    assert read_stick(path_of(stick)).content_hash == PINNED[stick]["content_hash"]


def test_a_stick_claims_what_is_asked_of_it(stick):
    assert read_stick(path_of(stick)).test_accuracy >= CLAIMED[stick]


def test_a_stick_has_64_to_128_features_of_half_precision(stick):
    read = read_stick(path_of(stick))
    assert 64 <= read.architecture.widths[-1] <= 128
    assert {tensor.dtype for tensor in read.weights.values()} == {torch.float16}


def test_conf_asks_for_the_version_that_the_package_has(stick):
    settings = build(compose_settings(f"data={stick}")).evaluation.spaces["classifier"]
    assert (settings.stick, settings.stick_version) == (stick, read_stick(path_of(stick)).version)


def test_a_record_names_the_stick_its_version_its_hash_and_its_accuracy(stick, space):
    read = read_stick(path_of(stick))
    assert space.describe() == {
        "name": f"{stick}_stick",
        "feature_dim": read.architecture.widths[-1],
        "test_accuracy": read.test_accuracy,
        "content_hash": read.content_hash,
        "version": read.version,
    } | ({"factor_accuracy": read.factor_accuracy} if stick == OF_SCENES else {})


# What they say


def test_the_accuracy_on_the_official_test_set_is_as_claimed(space, fixed):
    predicted = space.classify(space.extract(fixed.test.values)).argmax(dim=1)
    assert (predicted == fixed.test.labels).double().mean().item() == pytest.approx(space.test_accuracy, abs=2e-4)


def test_what_a_stick_says_of_sets_that_never_change_is_what_it_said(stick, real):
    """Another processor may round otherwise, and move a sample or two across the edge of a ball."""
    for name, values in measure(stick, real)["values"].items():
        pinned = PINNED[stick]["values"][name]
        assert values["fid"] == pytest.approx(pinned["fid"], rel=1e-3), name
        assert values == pytest.approx(pinned, rel=1e-3, abs=6e-3), name


def test_pinned_values_order_the_sets_as_they_are(stick):
    values = PINNED[stick]["values"]
    assert values["unseen"]["fid"] < min(values["noisy"]["fid"], values["five_classes"]["fid"])
    assert values["five_classes"]["recall"] < 0.8 * values["unseen"]["recall"]
    assert values["five_classes"]["precision"] > values["unseen"]["precision"] - 0.03


@pytest.mark.parametrize("corruption", ["noisy", "blurred"])
def test_real_images_that_are_noisy_or_blurred_do_not_read_as_dropped_classes(corruption, stick, space, fixed):
    test = fixed.test[:2000]
    shares = shares_of_real(space, corrupted(test.values, stick)[corruption], test.labels)
    assert shares.min() > 0.6


@pytest.fixture(scope="module")
def scenes():
    return load(OF_SCENES)


@pytest.fixture(scope="module")
def reader(scenes):
    return fit(OF_SCENES, scenes)


def levels_read(reader, scenes, values):
    """The level of each factor, as the stick of scenes reads it."""
    return scenes.factors.values(reader.classify(reader.extract(values)).argmax(dim=1))


def test_the_stick_of_scenes_claims_an_accuracy_for_every_factor_and_reaches_it_in_the_known_world(reader, scenes):
    true = scenes.factors.values(scenes.test.labels)
    accuracy = (levels_read(reader, scenes, scenes.test.values) == true).double().mean(0).tolist()
    measured = dict(zip((factor.name for factor in scenes.factors.factors), accuracy, strict=True))
    assert min(reader.factor_accuracy.values()) > 0.999
    assert measured == pytest.approx(reader.factor_accuracy, abs=0.001)


def test_the_shares_of_combinations_that_are_read_are_the_known_ones_within_sampling_error(reader, scenes):
    predicted = reader.classify(reader.extract(scenes.test.values)).argmax(dim=1)
    expected = len(predicted) * scenes.factors.shares
    is_counted = expected >= 5
    counts = predicted.bincount(minlength=len(expected)).double()
    pooled = [torch.cat([each[is_counted], each[~is_counted].sum()[None]]).numpy() for each in (counts, expected)]
    assert chisquare(*pooled).pvalue > 0.001


@pytest.mark.parametrize("corruption", ["noisy", "blurred"])
def test_scenes_that_are_noisy_or_blurred_do_not_read_as_lost_levels(corruption, reader, scenes):
    values = corrupted(scenes.test.values[:2000], OF_SCENES)[corruption]
    read = factor_scores(scenes.factors.labels(levels_read(reader, scenes, values)), factors=scenes.factors)
    assert read["levels_dropped"] == 0
    for level in scenes.factors.levels:
        assert read[f"factor_share_{level.name}"] == pytest.approx(level.share, rel=0.3), level.name


@pytest.mark.parametrize("lost", ["vehicle", "pedestrian", "night", "fog", "occlusion"])
def test_a_planted_loss_of_one_factor_is_found_by_name(lost, reader, scenes):
    level = next(level for level in scenes.factors.levels if level.name == lost)
    kept = scenes.train[~scenes.factors.has(level, scenes.train.labels)]
    read = scenes.factors.labels(levels_read(reader, scenes, kept.values[:2000]))
    scores = factor_scores(read, factors=scenes.factors)
    assert scores["levels_dropped"] == 1
    assert scores[f"factor_share_{lost}"] < 0.1 * level.share


# What is refused


@pytest.mark.parametrize("place", [20, 0.5, -1], ids=["in the header", "in the middle", "at the end"])
def test_a_flipped_byte_is_refused_in_one_line(place, stick, tmp_path):
    content = bytearray(path_of(stick).read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 1
    damaged = tmp_path / f"{stick}.safetensors"
    damaged.write_bytes(content)
    with pytest.raises(UsageError, match=r"^the measuring stick .* is damaged: install collapsar anew$"):
        read_stick(damaged)


def test_a_description_that_was_changed_is_refused(stick, tmp_path):
    content = path_of(stick).read_bytes()
    assert content.count(b"label_smoothing") == 1
    changed = tmp_path / f"{stick}.safetensors"
    changed.write_bytes(content.replace(b"label_smoothing", b"label_smoothinG"))
    with pytest.raises(UsageError, match="is damaged"):
        read_stick(changed)


def test_a_stick_that_does_not_exist_is_refused_with_those_that_do(tmp_path):
    with pytest.raises(UsageError, match=r"there is no measuring stick 'emnist': there are .*digits"):
        read_stick(stick_module.FOLDER / "emnist.safetensors")


def images(shape):
    return Samples(torch.zeros(4, *shape, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))


@pytest.mark.parametrize(
    ("changes", "shape", "num_classes", "message"),
    [
        ({}, (1, 28, 28), 10, r"the digits stick measures images \[1, 8, 8\] of 10 classes: got \[1, 28, 28\] of 10"),
        ({}, (1, 8, 8), 26, r"got \[1, 8, 8\] of 26; choose stick@evaluation.spaces.classifier=trained"),
        ({"stick_version": 7}, (1, 8, 8), 10, "stick_version must be 1, of the digits stick in this package: got 7"),
        ({"stick": "nowhere"}, (1, 8, 8), 10, "there is no measuring stick 'nowhere'"),
    ],
)
def test_what_a_stick_does_not_fit_is_refused(changes, shape, num_classes, message, tmp_path):
    settings = replace(StickSpace(stick="digits", stick_version=1, chunk_size=512), **changes)
    real = RealData(train=images(shape), test=images(shape), num_classes=num_classes)
    with pytest.raises(UsageError, match=message):
        settings.fit(real, device=torch.device("cpu"), cache_dir=tmp_path)


# What they never saw


SPLITS = {  # digests of the images that no stick sees
    "digits": "ef3a5d7d7b9c7d6659ae1b5777afcc39",
    "mnist": "b19eb20d125df715fb7d47307e191324",
    "cifar10": "22d87bded7a98cebb3db6a5a1e6d07e9",
}


def test_what_no_stick_sees_is_fixed(stick, fixed):
    assert checksum({"unseen": fixed.stick_split.unseen.values}) == SPLITS[stick]


def test_what_no_stick_sees_is_apart_from_what_it_sees_and_has_the_classes_in_their_own_proportions(fixed):
    split = fixed.stick_split
    assert len(split.seen) + len(split.unseen) == len(split.official)
    counts = [part.labels.bincount(minlength=10) / len(part) for part in (split.unseen, split.official)]
    assert (counts[0] - counts[1]).abs().max() < 2 / len(split.unseen)


@pytest.mark.parametrize(("source", "num_unseen"), [(MNIST, 10_000), (CIFAR10, 10_000)])
def test_ten_thousand_official_training_images_are_kept_from_sticks(source, num_unseen):
    assert source.num_unseen == num_unseen
