"""Who judges samples: a space of the chain's own, made of its real training set alone, and never the stick."""

from dataclasses import replace

import pytest
import torch

from collapsar.config import composition
from collapsar.drawing.selection import choose_space, make_judge, num_judged_classes
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.judging.spaces import classifier as classifier_module
from collapsar.judging.spaces.categories import CategorySpace
from collapsar.judging.spaces.classifier import ClassifierSpace
from collapsar.judging.spaces.identity import IdentitySpace
from collapsar.judging.spaces.pca import PCASpace
from collapsar.judging.spaces.stick import StickSpace
from tiny_chains import compose_settings

IMAGE, VECTOR = (1, 8, 8), (2,)
BRIEF = ("data.num_train=300", "judge.budget.num_steps=5", "judge.min_accuracy=0.0")
PCA = PCASpace(num_components=4, chunk_size=100)


def build(*overrides):
    return composition.build(compose_settings(*overrides))


@pytest.mark.parametrize("data", ["digits", "mnist", "fashion_mnist", "cifar10"])
def test_the_judge_of_a_data_set_is_no_stick_and_has_a_seed_of_its_own(data):
    experiment = build(f"data={data}")
    stick = experiment.evaluation.spaces["classifier"]
    assert isinstance(experiment.judge, ClassifierSpace)
    assert experiment.judge.seed != getattr(stick, "seed", 0)


def test_a_stick_is_refused_as_a_judge_also_where_nobody_asks():
    stick = StickSpace(stick="digits", stick_version=1, chunk_size=512)
    for judged_by in ("nobody", "critic", "space"):
        with pytest.raises(UsageError, match="judge must not be a measuring stick"):
            choose_space(stick, sample_shape=IMAGE, judged_by=judged_by)


def test_a_stick_cannot_be_configured_as_a_judge():
    stick = "{_target_:collapsar.judging.spaces.stick.StickSpace,stick:digits,stick_version:1,chunk_size:512}"
    with pytest.raises(UsageError, match="judge must not be a measuring stick"):
        build("~judge", f"+judge={stick}")


def test_vectors_are_judged_as_they_are():
    assert choose_space(None, sample_shape=VECTOR, judged_by="space") == IdentitySpace()


@pytest.mark.parametrize("judged_by", ["nobody", "critic"])
def test_without_a_selection_that_looks_at_features_there_is_no_judge(judged_by):
    assert choose_space(PCA, sample_shape=IMAGE, judged_by=judged_by) is None


@pytest.mark.parametrize(
    ("judge", "shape", "message"),
    [
        (None, IMAGE, "needs a judge of images, and there is none: choose judge=digits .*, else judge=pca"),
        (PCA, VECTOR, r"judge must be a feature space for samples of shape \[2\]: got PCASpace; choose judge=null"),
        (IdentitySpace(), IMAGE, r"for samples of shape \[1, 8, 8\]: got IdentitySpace; choose judge=digits"),
    ],
)
def test_a_judge_that_does_not_suit_the_samples_is_refused(judge, shape, message):
    with pytest.raises(UsageError, match=message):
        choose_space(judge, sample_shape=shape, judged_by="space")


def test_only_a_judge_with_classes_tells_classes_apart():
    classifier = build().judge
    spaces = (classifier, PCA, IdentitySpace(), None)
    assert [num_judged_classes(space, num_classes=10) for space in spaces] == [10, 0, 0, 0]


@pytest.fixture(scope="module")
def experiment():
    return build(*BRIEF)


@pytest.fixture
def judge_of(experiment, tmp_path):
    def call(real):
        space = experiment.judge.fit(real, device=torch.device("cpu"), cache_dir=tmp_path)
        return make_judge(space, real=real.train)

    return call


def test_a_judge_is_trained_on_the_chains_own_training_set_alone(experiment, judge_of):
    def content_hash(real):
        return judge_of(real).describe("space")["content_hash"]

    real = experiment.data.load()
    elsewhere = replace(real, reserve=None, stick_split=None)
    assert content_hash(real) == content_hash(elsewhere)
    fewer = replace(real, train=real.train[:200])
    assert content_hash(real) != content_hash(fewer)


def test_a_judge_is_trained_once_and_its_real_features_are_computed_once(experiment, judge_of, monkeypatch):
    trained = []
    monkeypatch.setattr(classifier_module, "train_classifier", lambda network, *_, **__: trained.append(network.eval()))
    judge = judge_of(experiment.data.load())
    assert judge.real_features().shape == (300, 64)
    assert replace(judge, realism=len).real_features() is judge.real_features()
    assert judge.class_probabilities(experiment.data.load().test.values).shape == (360, 10)
    assert len(trained) == 1


def test_a_judge_without_a_space_has_no_features_to_give():
    judge = make_judge(None, real=Samples(torch.zeros(1, 2)))
    assert judge.describe("nobody") == {}
    with pytest.raises(AssertionError, match="is refused beforehand"):
        judge.features(torch.zeros(1, 2))


def test_a_chain_names_its_judge_in_its_records_and_measures_by_the_stick(run_chain, tmp_path):
    record = run_chain(tmp_path / "run", "selection=curated")[0]
    judged_by, stick = record.selection["judged_by"], record.feature_spaces["classifier"]
    assert (judged_by["name"], stick["name"]) == ("classifier", "digits_stick")
    assert judged_by["content_hash"] != stick["content_hash"]


def test_a_judge_that_is_not_good_enough_is_refused_before_anything_is_trained(run_chain, tmp_path, monkeypatch):
    from collapsar.training import train as train_module

    monkeypatch.setattr(train_module, "train", lambda *_, **__: pytest.fail("a model was trained"))
    with pytest.raises(UsageError, match=r"below min_accuracy=0\.99"):
        run_chain(tmp_path / "run", "selection=verified", "judge.min_accuracy=0.99", "judge.budget.num_steps=1")


def test_no_classifier_is_trained_on_the_way_to_a_generation_that_nobody_judges(tmp_path, tiny, monkeypatch):
    from collapsar.judging.spaces import embedders
    from tiny_chains import build_and_run

    monkeypatch.setattr(classifier_module, "train_classifier", lambda *_, **__: pytest.fail("a classifier was trained"))
    monkeypatch.setattr(embedders, "train_classifier", lambda *_, **__: pytest.fail("a classifier was trained"))
    fresh = ("tracking=none", f"evaluation.cache_folder={tmp_path / 'spaces'}", "num_generations=1")
    assert len(build_and_run(tmp_path / "run", *tiny, *fresh)) == 1


def test_categories_are_judged_by_what_they_are(tmp_path):
    source = build("data=categorical", "model=categorical", "data.num_categories=3").data
    space = CategorySpace().fit(source.load(), device=torch.device("cpu"), cache_dir=tmp_path)
    values = torch.tensor([[2.0], [0.0]])
    assert space.classify(space.extract(values)).tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("overrides", [("data=gaussian",), ("data=grid",), ("data=categorical", "data.dimensions=2")])
def test_what_is_no_category_is_refused(overrides, tmp_path):
    with pytest.raises(UsageError, match="choose data=categorical"):
        CategorySpace().fit(build("model=kde", *overrides).data.load(), device=torch.device("cpu"), cache_dir=tmp_path)
