"""The whole suite through the evaluator, on real digits: keys, floors, intervals, and planted faults."""

import json
import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collapsar.data.real_data import KnownModes, RealData
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging import comparison

CONF = Path(__file__).parents[2] / "conf"
CLASSES = range(10)

QUICK_SPACE = [
    "fid",
    "fid_debiased",
    "precision",
    "recall",
    "density",
    "coverage",
    "tail_recall",
    "recall_worst_class",
    "recall_macro_mean",
    "trace_ratio",
    "generalised_variance",
    "effective_rank",
    "vendi",
] + [f"recall_class_{label}" for label in CLASSES]
STANDARD_SPACE = [
    *QUICK_SPACE,
    "kid",
    "clipped_density",
    "clipped_coverage",
    "symmetric_precision",
    "symmetric_recall",
    "authenticity",
    "duplicates",
    "nearest_ratio",
]
FULL_SPACE = (
    STANDARD_SPACE
    + ["fid_relative", "fid_infinity", "ndb", "ndb_jensen_shannon", "coverage_worst_class", "coverage_macro_mean"]
    + [f"coverage_class_{label}" for label in CLASSES]
)
POOL = ["pool_authenticity", "pool_duplicates", "pool_nearest_ratio"]
OF_CLASSES = [
    "class_entropy",
    "class_kl",
    "class_jensen_shannon",
    "class_total_variation",
    "effective_classes",
    "classes_dropped",
    "low_confidence_share",
]
DOWNSTREAM = ["downstream_accuracy", "downstream_f1", "downstream_loss"] + [
    f"downstream_f1_class_{label}" for label in CLASSES
]
HEADLINES = ["fid", "precision", "recall", "density", "coverage"]


def groups(name):
    return list(OmegaConf.load(CONF / "evaluation" / f"{name}.yaml").metrics)


def in_both_spaces(keys):
    return {f"{prefix}{key}" for prefix in ("", "pca/") for key in keys}


def ends(metrics, *suffixes):
    return {key for key in metrics if key.endswith(suffixes)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    node = OmegaConf.load(CONF / "evaluation" / "standard.yaml")
    node.spaces.classifier = OmegaConf.load(CONF / "stick" / "digits.yaml")
    node.accelerator, node.cache_folder = "cpu", str(tmp_path_factory.mktemp("spaces"))
    return instantiate(node, _convert_="object")


@pytest.fixture(scope="module")
def evaluator(digits, settings):
    return settings.prepare(digits)


@pytest.fixture(scope="module")
def fresh(digits):
    """Real training samples in an order of their own: what a perfect generator would draw."""
    order = torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(7))
    return digits.train[order]


@pytest.fixture(scope="module")
def perfect(evaluator, fresh):
    return evaluator.evaluate(drawn(fresh), seed=0, generation=0, pool=fresh[720:])


def drawn(samples):
    """The samples as a model draws them: nobody knows their classes."""
    return Samples(samples.values)


def score(evaluator, samples):
    assert len(samples) >= evaluator.num_synthetic
    return evaluator.evaluate(Samples(samples), seed=0, generation=0).metrics


def shrink(images, labels, *, scale):
    """Every class drawn towards its own mean."""
    pixels = images.double()
    means = torch.stack([pixels[labels == label].mean(0) for label in CLASSES])[labels]
    return (means + scale * (pixels - means)).round().to(torch.uint8)


def add_noise(images, *, std):
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)) * std
    return (images / 255 + noise).clamp(0, 1).mul(255).round().to(torch.uint8)


# Keys


def test_standard_gives_the_listed_keys(perfect):
    floors, bounds = ends(perfect.metrics, "_floor"), ends(perfect.metrics, "_low", "_high")
    values = in_both_spaces(STANDARD_SPACE) | set(OF_CLASSES)
    assert set(perfect.metrics) - floors - bounds == values | in_both_spaces(POOL)
    assert floors == {f"{key}_floor" for key in values}
    assert bounds == {f"{key}_{end}" for key in in_both_spaces(HEADLINES) for end in ("low", "high")}


def test_quick_gives_the_listed_keys(digits, settings, fresh):
    quick = replace(settings, metrics=groups("quick")).prepare(digits)
    metrics = quick.evaluate(drawn(fresh), seed=0, generation=0, pool=fresh[:0]).metrics
    floors, bounds = ends(metrics, "_floor"), ends(metrics, "_low", "_high")
    values = in_both_spaces(QUICK_SPACE) | set(OF_CLASSES)
    assert set(metrics) - floors - bounds == values
    assert floors == {f"{key}_floor" for key in values}


def test_full_gives_the_listed_keys_and_samples_that_are_worth_as_much_as_real_ones(digits, settings, fresh):
    downstream = replace(settings.downstream, budget=replace(settings.downstream.budget, num_steps=120))
    full = replace(settings, metrics=groups("full"), num_batches=0, downstream=downstream)
    scores = full.prepare(digits).evaluate(drawn(fresh), seed=0, generation=0, pool=fresh)
    floors = ends(scores.metrics, "_floor")
    values = in_both_spaces(FULL_SPACE) | set(OF_CLASSES) | set(DOWNSTREAM)
    assert set(scores.metrics) - floors == values | in_both_spaces(POOL)
    assert floors == {f"{key}_floor" for key in values}
    assert scores.metrics["downstream_accuracy"] > 0.85
    assert scores.metrics["downstream_accuracy"] == pytest.approx(scores.metrics["downstream_accuracy_floor"], abs=0.07)
    assert (scores.num_batches, scores.batch_size) == (0, 0)


def test_values_are_floats_that_json_can_hold(perfect):
    assert all(type(value) is float and math.isfinite(value) for value in perfect.metrics.values())
    assert json.loads(json.dumps(perfect.metrics, allow_nan=False)) == perfect.metrics
    assert all(key == key.lower() for key in perfect.metrics)


def test_unknown_group_is_refused(settings):
    with pytest.raises(UsageError, match=r"metrics must be among frechet, .*known_modes, .*: got fid"):
        replace(settings, metrics=["fid"])
    with pytest.raises(UsageError, match=r"batch_metrics must be among .*: got kid"):
        replace(settings, batch_metrics=["kid"])


# The same number every time


def test_two_evaluations_are_equal(evaluator, perfect, fresh):
    again = evaluator.evaluate(drawn(fresh), seed=0, generation=0, pool=fresh[720:])
    assert again == perfect
    assert again.pictures.keys() == perfect.pictures.keys() == {"real", "nearest"}
    assert all(again.pictures[name].equal(perfect.pictures[name]) for name in again.pictures)


def test_next_chain_reads_the_real_side_from_disk_and_scores_the_same(
    digits, settings, evaluator, perfect, fresh, monkeypatch
):
    monkeypatch.setattr(comparison, "prepare_real_side", None)
    monkeypatch.setattr(comparison, "mean_kernel", None)
    again = settings.prepare(digits)
    assert again.evaluate(drawn(fresh), seed=0, generation=0, pool=fresh[720:]) == perfect


def test_another_seed_moves_only_what_shuffles(evaluator, perfect, fresh):
    other = evaluator.evaluate(drawn(fresh), seed=1, generation=0, pool=fresh[720:]).metrics
    moved = {key for key in other if other[key] != perfect.metrics[key]}
    assert moved == {"fid_debiased", "pca/fid_debiased"}


# Floor, interval, number of samples


def test_perfect_generator_scores_like_the_floor(perfect):
    metrics = perfect.metrics
    for key in ("precision", "recall", "coverage", "pca/precision", "pca/recall", "pca/coverage", "trace_ratio"):
        assert metrics[key] == pytest.approx(metrics[f"{key}_floor"], abs=0.1), key
    assert metrics["classes_dropped"] == metrics["classes_dropped_floor"] == 0


def test_intervals_hold_their_value_and_stay_in_range(perfect):
    for key in in_both_spaces(HEADLINES):
        low, value, high = (perfect.metrics[f"{key}{end}"] for end in ("_low", "", "_high"))
        assert 0 <= low <= value <= high
        assert low < high
        assert high <= 1 or key.endswith(("fid", "density"))


def test_scores_state_their_numbers_of_samples(perfect):
    assert (perfect.num_synthetic, perfect.num_real) == (360, 360)
    assert (perfect.num_batches, perfect.batch_size) == (5, 72)


def test_floor_of_too_few_training_samples_is_absent(digits, settings):
    few = replace(digits, train=digits.train[:200])
    spaces = {"pca": settings.spaces["pca"]}
    evaluator = replace(settings, spaces=spaces).prepare(few)
    floors = ends(score(evaluator, digits.train.values), "_floor")
    assert floors == {"authenticity_floor", "duplicates_floor", "nearest_ratio_floor"}


def test_too_few_samples_are_one_warning_that_says_what_to_set(digits, settings, caplog):
    with caplog.at_level(logging.WARNING):
        replace(settings, metrics=["frechet"]).prepare(digits)
    assert not caplog.records, "all that are held out are taken"
    with caplog.at_level(logging.WARNING):
        replace(settings, metrics=["frechet"], num_samples=350).prepare(digits)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "350 samples are few for 64 feature dimensions"
    ]
    assert "set evaluation.num_samples to 640" in caplog.text


# Planted faults


def test_lost_classes_show_in_recall_and_coverage_and_not_in_precision(evaluator, perfect, fresh):
    kept = score(evaluator, fresh.values[fresh.labels < 6])
    for space in ("", "pca/"):
        assert kept[f"{space}recall"] < perfect.metrics[f"{space}recall"] - 0.15
        assert kept[f"{space}coverage"] < perfect.metrics[f"{space}coverage"] - 0.2
        assert kept[f"{space}precision"] > perfect.metrics[f"{space}precision"] - 0.05
        assert kept[f"{space}symmetric_recall"] <= kept[f"{space}recall"]
    assert kept["classes_dropped"] == 4
    assert kept["effective_classes"] == pytest.approx(6, abs=0.3)
    assert kept["class_total_variation"] == pytest.approx(0.4, abs=0.05)


def test_one_lost_class_shows_in_its_own_recall(evaluator, perfect, fresh):
    kept = score(evaluator, fresh.values[fresh.labels != 0])
    assert kept["recall"] > perfect.metrics["recall"] - 0.15
    assert kept["recall_class_0"] < 0.3
    assert kept["recall_worst_class"] == min(kept[f"recall_class_{label}"] for label in CLASSES) < 0.3
    assert kept["recall_class_1"] > 0.8
    assert kept["classes_dropped"] == 1


def test_noise_loses_no_class_and_lowers_precision(evaluator, perfect, fresh):
    noisy = score(evaluator, add_noise(fresh.values, std=0.2))
    assert noisy["classes_dropped"] == 0
    assert noisy["pca/precision"] < perfect.metrics["pca/precision"] - 0.2
    assert noisy["fid"] > perfect.metrics["fid"]


def test_shrinking_shows_in_recall_and_generalised_variance_and_not_in_precision(evaluator, perfect, fresh):
    shrunken = score(evaluator, shrink(fresh.values, fresh.labels, scale=0.7))
    for key in ("pca/recall", "recall", "pca/tail_recall"):
        assert shrunken[key] < perfect.metrics[key] - 0.1, key
    assert shrunken["pca/generalised_variance"] == pytest.approx(0.49, abs=0.06)
    assert shrunken["pca/trace_ratio"] == pytest.approx(0.49, abs=0.06)
    assert shrunken["pca/precision"] > perfect.metrics["pca/precision"]
    assert shrunken["classes_dropped"] == 0


def test_point_mass_has_no_recall_and_no_value_that_is_not_a_number(digits, settings, fresh):
    full = replace(settings, metrics=[group for group in groups("full") if group != "downstream"])
    evaluator = full.prepare(digits)
    point = fresh.values[:1].expand(400, -1, -1, -1)
    metrics = evaluator.evaluate(Samples(point), seed=0, generation=0, pool=Samples(point)).metrics
    json.dumps(metrics, allow_nan=False)
    for space in ("", "pca/"):
        assert metrics[f"{space}recall"] <= 1 / 360  # no more than the real sample that it may equal
        assert metrics[f"{space}trace_ratio"] == 0
        assert metrics[f"{space}vendi"] == pytest.approx(1)
        assert metrics[f"{space}duplicates"] == 1  # it is a training sample
    assert metrics["classes_dropped"] == 9
    assert metrics["effective_classes"] == 1
    assert set(metrics) >= in_both_spaces(["fid", "kid", "precision", "generalised_variance"])


def test_copies_of_the_pool_are_told_from_copies_of_the_training_set(evaluator, digits):
    first = Samples(
        torch.cat([digits.test.values, digits.test.values[:40]])
    )  # a pool of unseen samples, and a model that repeats it
    metrics = evaluator.evaluate(first, seed=0, generation=3, pool=digits.test).metrics
    for space in ("", "pca/"):
        assert metrics[f"{space}pool_duplicates"] == 1
        assert metrics[f"{space}pool_authenticity"] == 0
        assert metrics[f"{space}duplicates"] < 0.02
        assert metrics[f"{space}authenticity"] == pytest.approx(metrics[f"{space}authenticity_floor"], abs=1e-9)


# Vectors


@pytest.fixture(scope="module")
def ring():
    generator = torch.Generator().manual_seed(0)
    angles = torch.arange(8) * math.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    points = centres[torch.randint(8, (3000,), generator=generator)]
    points = points + 0.01 * torch.randn(3000, 2, generator=generator)
    modes = KnownModes(centres, 0.01)
    real = RealData(Samples(points[:1000]), Samples(points[1000:2000]), num_classes=0, known_modes=modes)
    return real, points[2000:]


def test_vectors_have_known_modes_and_no_classes(ring, settings):
    real, samples = ring
    evaluator = settings.prepare(real)
    metrics = evaluator.evaluate(Samples(samples), seed=0, generation=0, pool=real.train).metrics
    assert metrics["modes_captured"] == metrics["modes_captured_floor"] == 8
    assert metrics["high_quality_share"] == pytest.approx(0.989, abs=0.01)
    assert metrics["reverse_kl"] < 0.02
    assert metrics["trace_ratio"] == pytest.approx(1, abs=0.05)
    assert not any("class" in key or "/" in key for key in metrics)


def test_ten_samples_for_each_dimension_are_enough(ring, settings, caplog):
    few = replace(settings, metrics=["frechet"])
    with caplog.at_level(logging.WARNING):
        replace(few, num_samples=20).prepare(ring[0])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        replace(few, num_samples=19).prepare(ring[0])
    assert "19 samples are few for 2 feature dimensions: set evaluation.num_samples to 20" in caplog.text


def test_collapse_to_one_mode_shows_in_vectors(ring, settings):
    real, samples = ring
    evaluator = settings.prepare(real)
    metrics = score(evaluator, samples[:1] + 0.01 * torch.randn(1000, 2, generator=torch.Generator().manual_seed(1)))
    assert metrics["modes_captured"] == 1
    assert metrics["recall"] < 0.2
    assert metrics["trace_ratio"] < 0.01


def test_recall_with_other_settings_is_recall_measured_with_them(digits, settings, fresh):
    """Half of the samples is every second one on both sides."""

    def measured(real, samples, **changes):
        own = replace(settings, num_batches=0, **changes).prepare(real, has_floor=False)
        return own.evaluate(drawn(samples), seed=0, generation=0).metrics

    found = measured(digits, fresh[:360], metrics=["support_sensitivity"])
    for key, num_neighbours in (("recall_3_neighbours", 3), ("recall_10_neighbours", 10)):
        assert found[key] == measured(digits, fresh[:360], metrics=["support"], num_neighbours=num_neighbours)["recall"]
    half = replace(digits, test=digits.test[::2])
    assert found["recall_half_samples"] == measured(half, fresh[:360][::2], metrics=["support"])["recall"]
    assert found["recall_3_neighbours"] < found["recall_10_neighbours"]
    assert found["pca/recall_3_neighbours"] <= found["pca/recall_10_neighbours"]


def test_too_few_samples_for_other_settings_of_recall_are_refused(settings):
    asked = replace(settings, metrics=["support_sensitivity"], num_samples=10)
    with pytest.raises(UsageError, match="support_sensitivity needs more than 10 samples: got 10"):
        asked.check(num_real=360, sample_shape=[1, 8, 8], num_classes=10)
