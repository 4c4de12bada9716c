"""The evaluator as the configuration sets it up, on real digits: orientation, floors, and sizes that do not fit."""

from dataclasses import replace

import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from collapsar.config import composition
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging import evaluator as evaluator_module
from collapsar.judging.comparison import choose
from collapsar.judging.metric_modules import SpaceFeatures
from collapsar.metrics.frechet import frechet_distance, kernel_distance
from tiny_chains import compose_settings

BRIEF = (
    "evaluation=quick",
    "evaluation.metrics=[frechet,support,classes]",
    "evaluation.num_batches=0",
    "evaluation.accelerator=cpu",
    "tracking=none",
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return composition.build(compose_settings(*BRIEF, f"evaluation.cache_folder={tmp_path_factory.mktemp('spaces')}"))


@pytest.fixture(scope="module")
def digits(experiment):
    return experiment.data.load()


@pytest.fixture(scope="module")
def evaluator(experiment, digits):
    return experiment.evaluation.prepare(digits)


@pytest.fixture(scope="module")
def scored(evaluator, digits):
    """Scores of a perfect generator's samples, of one that lost classes 5 to 9, and of noise."""
    unseen = digits.stick_split.unseen
    train, labels = digits.train.values, digits.train.labels
    noise = torch.randint(256, (360, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    drawn = {"perfect": unseen.values, "half": train[labels < 5], "noise": noise}
    return {name: evaluator.evaluate(Samples(samples), seed=0, generation=0) for name, samples in drawn.items()}


def test_the_held_out_images_themselves_score_perfectly(evaluator, digits):
    metrics = evaluator.evaluate(digits.test, seed=0, generation=0).metrics
    assert metrics["fid"] == pytest.approx(0.0, abs=1e-3)
    assert (metrics["precision"], metrics["recall"], metrics["classes_dropped"]) == (1.0, 1.0, 0.0)
    assert metrics["class_kl"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("with_novelty", [False, True])
def test_the_first_samples_come_with_the_real_image_nearest_to_each(evaluator, digits, with_novelty):
    drawn = digits.stick_split.unseen
    judged = replace(evaluator, num_training=100 if with_novelty else 0)
    pictures = judged.evaluate(drawn, seed=0, generation=0).pictures
    real = judged.references[""]
    assert torch.equal(pictures["real"], real.held_out.values[:12])
    images = real.training if with_novelty else real.held_out.values
    distances = torch.cdist(real.space.extract(drawn.values[:12]).double(), real.space.extract(images).double())
    assert torch.equal(pictures["nearest"], images[distances.argmin(1)])


def test_losing_classes_lowers_recall_and_not_precision(scored):
    perfect, half = scored["perfect"].metrics, scored["half"].metrics
    assert half["recall"] < 0.7 * perfect["recall"]
    assert half["precision"] > perfect["precision"] - 0.05


def test_lost_classes_are_counted(scored):
    assert scored["perfect"].metrics["classes_dropped"] == 0
    assert scored["half"].metrics["classes_dropped"] == 5
    assert sum(scored["half"].class_shares["synthetic"][5:]) < 0.05


def test_losing_classes_raises_fid_and_class_kl(scored):
    for key in ("fid", "class_kl"):
        assert scored["half"].metrics[key] > 2 * scored["perfect"].metrics[key]


def test_noise_lowers_precision(scored):
    assert scored["noise"].metrics["pca/precision"] < 0.1 < scored["perfect"].metrics["pca/precision"]


@pytest.mark.parametrize("key", ["fid", "precision", "recall", "density", "coverage", "pca/fid", "pca/recall"])
def test_the_floor_is_what_real_images_score_that_no_stick_has_seen(scored, key):
    metrics = scored["perfect"].metrics
    assert metrics[key] == pytest.approx(metrics[f"{key}_floor"], rel=1e-9)


def test_a_stick_knows_the_images_it_was_trained_on_better_than_those_it_never_saw(evaluator, digits):
    seen = evaluator.evaluate(digits.stick_split.seen, seed=0, generation=0).metrics
    assert seen["fid"] > 1.2 * seen["fid_floor"]


def test_where_nothing_is_kept_from_sticks_the_floor_is_of_training_images(experiment, digits):
    whole = replace(digits, stick_split=None)
    evaluator = experiment.evaluation.prepare(whole)
    metrics = evaluator.evaluate(whole.train[choose(1437, num_samples=360)], seed=0, generation=0).metrics
    assert metrics["recall"] == metrics["recall_floor"]


def test_shares_of_classes_sum_to_one(scored):
    for shares in scored["perfect"].class_shares.values():
        assert sum(shares) == pytest.approx(1)
        assert len(shares) == 10


def test_scores_state_spaces_and_sizes(scored):
    scores = scored["perfect"]
    assert (scores.num_synthetic, scores.num_real) == (360, 360)
    assert scores.feature_spaces["classifier"]["test_accuracy"] >= 0.98


def test_scores_state_who_computed_the_fid(scored):
    """Principal axes of digits hold pixels that are always black: their covariance is singular."""
    spaces = scored["perfect"].feature_spaces
    assert {name: space["fid_by"] for name, space in spaces.items()} == {
        "classifier": "torchmetrics",
        "pca": "collapsar",
    }


def test_scores_without_fid_name_nobody_who_computed_it(experiment, digits):
    scores = (
        replace(experiment.evaluation, metrics=["support"]).prepare(digits).evaluate(digits.test, seed=0, generation=0)
    )
    assert not any("fid_by" in space for space in scores.feature_spaces.values())


def test_samples_beyond_the_sample_size_change_nothing(evaluator, digits, scored):
    drawn = digits.train[digits.train.labels < 5]
    assert len(drawn) > 360
    fewer = evaluator.evaluate(Samples(drawn.values[:360]), seed=0, generation=0)
    assert fewer.metrics == scored["half"].metrics


def test_a_classifier_that_cannot_tell_digits_apart_is_refused(tmp_path):
    trained = "stick@evaluation.spaces.classifier=trained"
    hasty = ("evaluation.spaces.classifier.budget.num_steps=1", f"evaluation.cache_folder={tmp_path}")
    experiment = composition.build(compose_settings(*BRIEF, trained, *hasty))
    real = experiment.data.load()
    with pytest.raises(UsageError, match=r"below min_accuracy=0\.8"):
        experiment.evaluation.prepare(real)


@pytest.mark.parametrize(
    ("override", "num_real", "message"),
    [
        ("num_neighbours=0", 100, "num_neighbours must be above 0: got 0"),
        ("num_neighbours=100", 100, "num_neighbours must be below the number of samples: got 100 for 100 samples"),
        ("num_samples=101", 100, "num_samples must be at most the 100 held-out samples: got 101"),
        ("num_samples=0", 100, "num_samples must be above 0: got 0"),
        ("num_batches=1", 100, "num_batches must be 0 or at least 2: got 1"),
        ("metrics=[fid]", 100, "metrics must be among"),
        ("confidence=nan", 100, "evaluation.confidence must be a finite number: got nan"),
        ("confidence=1.0", 100, "confidence must lie between 0 and 1, without either: got 1.0"),
        ("low_confidence=1.5", 100, "low_confidence must lie between 0 and 1: got 1.5"),
        ("num_bins=0", 100, "num_bins must be above 0: got 0"),
        ("low_confidence=nan", 100, "evaluation.low_confidence must be a finite number: got nan"),
        (
            "downstream.budget.learning_rate=nan",
            100,
            "budget.learning_rate must be a finite number: got nan",
        ),
        (
            "downstream.budget.weight_decay=inf",
            100,
            "budget.weight_decay must be a finite number: got inf",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(override, num_real, message):
    with pytest.raises(UsageError, match=message):
        composition.build(compose_settings(*BRIEF, f"evaluation.{override}")).evaluation.check(
            num_real=num_real, sample_shape=[1, 8, 8], num_classes=10
        )


@pytest.mark.parametrize(
    ("names", "sample_shape"), [(["identity"], [1, 8, 8]), (["pca"], [2]), (["classifier", "pca"], [2])]
)
def test_no_image_is_measured_in_a_space_of_vectors_and_no_vector_in_one_of_images(experiment, names, sample_shape):
    evaluation = replace(experiment.evaluation, spaces={name: experiment.evaluation.spaces[name] for name in names})
    with pytest.raises(UsageError, match=f"none of the feature spaces {', '.join(names)} suits this data"):
        evaluation.check(num_real=100, sample_shape=sample_shape, num_classes=10)


@pytest.mark.parametrize("accelerator", ["tpu", "CPU", "cuda:0", ""])
def test_an_accelerator_that_does_not_exist_is_refused(experiment, accelerator):
    with pytest.raises(UsageError, match=f"accelerator must be among auto, cpu, cuda, gpu: got {accelerator}$"):
        replace(experiment.evaluation, accelerator=accelerator)


@pytest.mark.parametrize("accelerator", ["cuda", "gpu"])
def test_a_gpu_is_refused_where_there_is_none_and_taken_where_there_is_one(experiment, accelerator, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UsageError, match=f"^evaluation.accelerator={accelerator} needs a CUDA device, and there is none"
    ):
        replace(experiment.evaluation, accelerator=accelerator)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = [replace(experiment.evaluation, accelerator=each).device.type for each in (accelerator, "auto", "cpu")]
    assert chosen == ["cuda", "cuda", "cpu"]


def test_the_whole_held_out_set_is_measured_up_to_ten_thousand(experiment):
    assert [experiment.evaluation.sample_size(num_real) for num_real in (360, 10_000, 60_000)] == [360, 10_000, 10_000]


def test_the_same_real_samples_are_chosen_in_every_chain():
    first, again = choose(1000, num_samples=100), choose(1000, num_samples=100)
    assert torch.equal(first, again)
    assert len(first.unique()) == 100


def test_vectors_are_measured_as_they_are_and_images_in_other_spaces(experiment, evaluator):
    vectors = composition.build(compose_settings("data=ring", "model=mixture", "tracking=none")).data.load()
    assert evaluator.references[""].space.name == "digits_stick"
    assert [real.name for real in evaluator.references.values()] == ["classifier", "pca"]
    assert list(experiment.evaluation.prepare(vectors).references) == [""]
    assert experiment.evaluation.prepare(vectors).references[""].space.name == "identity"


def test_the_floor_is_measured_once_for_all_chains(experiment, digits, evaluator, monkeypatch):
    monkeypatch.setattr(evaluator_module, "measure_floor", lambda *_, **__: pytest.fail("the floor was measured again"))
    again = experiment.evaluation.prepare(digits)
    samples = digits.train
    scores = [each.evaluate(samples, seed=0, generation=0).metrics for each in (evaluator, again)]
    assert scores[0] == scores[1]


def test_other_settings_have_another_floor(experiment, digits, evaluator):
    evaluation = replace(experiment.evaluation, num_neighbours=3)
    other = evaluation.prepare(digits)
    samples = digits.train
    floors = [each.evaluate(samples, seed=0, generation=0).metrics["recall_floor"] for each in (evaluator, other)]
    assert floors[0] != floors[1]


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_fid_and_kid_of_torchmetrics_take_a_space_and_agree(evaluator, digits):
    features = SpaceFeatures(evaluator.references[""].space)
    assert not list(features.parameters())
    fid = FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
    kid = KernelInceptionDistance(feature=features, subsets=1, subset_size=360)
    real, samples = digits.test.values, digits.train.values[:360]
    for metric in (fid, kid):
        metric.update(real, real=True)
        metric.update(samples, real=False)
    sides = {"real": features(real), "synthetic": features(samples)}
    assert float(fid.compute()) == pytest.approx(frechet_distance(**sides), rel=1e-4)
    assert float(kid.compute()[0]) == pytest.approx(kernel_distance(**sides), rel=1e-3)


# Halves of the held-out samples


def rows(samples):
    return sorted(samples.values.flatten(1).tolist())


def test_the_open_half_and_the_board_s_make_up_what_is_held_out_whatever_its_order(experiment, digits):
    order = torch.randperm(len(digits.test), generator=torch.Generator().manual_seed(0))
    halves = {
        split: [
            replace(experiment.evaluation, split=split).prepare(real, has_floor=False).references[""].held_out
            for real in (digits, replace(digits, test=digits.test[order]))
        ]
        for split in ("open", "board")
    }
    assert [len(own) for own, _ in halves.values()] == [180, 180]
    assert all(rows(own) == rows(shuffled) for own, shuffled in halves.values())
    assert sorted(rows(halves["open"][0]) + rows(halves["board"][0])) == rows(digits.test)


def test_more_samples_than_a_half_has_are_refused(experiment):
    asked = replace(experiment.evaluation, split="board", num_samples=181)
    with pytest.raises(UsageError, match=r"num_samples must be at most the 180 held-out samples: got 181"):
        asked.check(num_real=360, sample_shape=[1, 8, 8], num_classes=10)


def test_a_space_that_is_null_is_not_measured(experiment):
    spaces = {**experiment.evaluation.spaces, "pca": None}
    assert "pca" not in replace(experiment.evaluation, spaces=spaces).names_before_keys([1, 8, 8])
    assert "pca" in experiment.evaluation.names_before_keys([1, 8, 8])
