"""Images of one's own in chains: their recipes, their measuring stick, and all that digits can do."""

import json
import re

import numpy as np
import pytest
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from sklearn.datasets import load_digits

from collapsar.config.composition import chain_name, settings
from collapsar.foundations.errors import UsageError
from collapsar.jobs.failures import find_usage_error
from collapsar.judging.spaces.classifier import ClassifierSpace
from tiny_chains import NARROW, build_and_run, compose_settings

TINY = (
    "data=images", "num_generations=2", "batch_size=16", "trainer.accelerator=cpu", "trainer.max_steps=3",
    "evaluation.accelerator=cpu", "evaluation=quick", "evaluation.metrics=[frechet,support,classes]",
    "evaluation.num_batches=0", "tracking=none", "judge.budget.num_steps=5", "judge.min_accuracy=0.0",
    "evaluation.spaces.classifier.budget.num_steps=30",
    "evaluation.spaces.classifier.without_classes.budget.num_steps=3",
)  # fmt: skip
TINY_DOWNSTREAM = ["evaluation.downstream.budget.num_steps=3"]
TINY_ENCODER = [  # of evaluation=full
    f"evaluation.spaces.self_supervised.{setting}"
    for setting in ("min_accuracy=0.0", "budget.num_steps=3", "budget.batch_size=16")
]
BARS = {"across": (slice(None), slice(3, 6)), "upright": (slice(3, 6), slice(None)), "dot": (slice(3, 5), slice(3, 5))}


def write_bars(folder, *, num_images=60, side=8, channels=1, has_classes=True):
    """Noisy pictures of three kinds, each of which is a class."""
    generator = np.random.default_rng(0)
    for index in range(num_images):
        name = list(BARS)[index % 3]
        image = generator.integers(0, 60, (side, side, channels)).astype(np.uint8)
        image[BARS[name]] = 255
        path = (folder / name if has_classes else folder) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.squeeze()).save(path)
    return f"data.path={folder}"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_bars(tmp_path_factory.mktemp("images") / "bars")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder that keeps measuring sticks, so that each is trained once here."""
    return f"evaluation.cache_folder={tmp_path_factory.mktemp('spaces')}"


def lines(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("side", "channels", "data", "model"),
    [
        (8, 1, "digits", "vae"),
        (12, 1, "digits", "gan"),
        (16, 3, "mnist", "flow"),
        (28, 1, "mnist", "vae"),
        (28, 1, "mnist", "gan_sn_conv"),
        (32, 3, "cifar10", "vae"),
        (32, 3, "cifar10", "gan"),
        (64, 3, "images_64", "flow"),
    ],
)
def test_images_get_the_recipe_of_the_set_whose_images_are_as_large(side, channels, data, model, tmp_path):
    given = settings(
        compose_settings(
            "data=images", write_bars(tmp_path, num_images=12, side=side, channels=channels), f"model={model}"
        )
    )
    named = compose_settings("data=cifar10" if data == "images_64" else f"data={data}", f"model={model}")
    expected = settings(named) | ({"batch_size": 32} if data == "images_64" else {})
    given["model"]["sample_shape"] = expected["model"]["sample_shape"]
    parts = ("model", "trainer", "training", "batch_size", "num_threads", "size")
    assert {part: given[part] for part in parts} == {part: expected[part] for part in parts}


def test_an_override_a_lever_and_an_image_size_change_a_recipe_that_is_found_by_size(path):
    config = settings(
        compose_settings(
            "data=images", path, "data.image_size=28", "model.width=12", "lever=[cosine,class_conditional]"
        )
    )
    assert config["data"]["sample_shape"] == [1, 28, 28]
    assert (config["model"]["width"], config["model"]["body"], config["model"]["num_classes"]) == (12, "mlp", 3)
    assert config["training"]["schedule"] == "cosine"


def refusal(*overrides):
    with pytest.raises((UsageError, OmegaConfBaseException)) as caught:
        settings(compose_settings("data=images", *overrides))
    return str(find_usage_error(caught.value))


def test_a_size_without_recipes_says_what_to_set(path):
    assert "set size=small, or data.image_size=13 or more" in refusal(path, "size=full")
    assert settings(compose_settings("data=images", path, "size=full", "data.image_size=28"))["size"] == "full"


def test_a_chain_is_named_by_its_images_and_not_by_their_place(path, tmp_path):
    names = [
        chain_name(_root_=compose_settings("data=images", own))
        for own in (path, write_bars(tmp_path / "same"), write_bars(tmp_path / "fewer", num_images=57))
    ]
    assert names[0] == names[1] != names[2]
    assert names[0].startswith("images_vae_replace_seed0_")


def test_a_stick_is_trained_once_and_kept_and_the_record_says_why_it_is_taken(path, tmp_path, monkeypatch):
    kept = f"evaluation.cache_folder={tmp_path / 'spaces'}"
    build_and_run(tmp_path / "first", *TINY, path, kept)
    monkeypatch.setattr(ClassifierSpace, "_train", lambda *_: pytest.fail("trained again"))
    build_and_run(tmp_path / "second", *TINY, path, kept, "seed=1")
    for folder in ("first", "second"):
        stick = lines(tmp_path / folder)[1]["feature_spaces"]["classifier"]
        assert stick["name"] == "classifier"
        assert stick["test_accuracy"] > 0.9
        assert stick["chosen_because"] == "no stick of the package reads the classes"


def test_images_without_classes_are_measured_by_what_needs_no_labels(tmp_path, cache):
    flat = write_bars(tmp_path / "flat", has_classes=False)
    record, _ = build_and_run(tmp_path / "run", *TINY, flat, cache, "selection=farthest")
    spaces = record.feature_spaces
    assert [space["name"] for space in spaces.values()] == ["self_supervised", "pca"]
    assert spaces["classifier"]["chosen_because"] == "there are no classes"
    assert record.selection["judged_by"]["name"] == "pca"
    assert {"fid", "recall", "pca/recall"} <= set(record.metrics)
    assert not record.class_shares


def test_a_conditional_model_of_images_without_classes_is_refused(tmp_path, cache):
    flat = write_bars(tmp_path / "flat", has_classes=False)
    with pytest.raises(UsageError, match=r"must be the data's, which is 0: got 10; set model\.num_classes=null"):
        build_and_run(tmp_path / "run", *TINY, flat, cache, "lever=[class_conditional]")


def test_classes_that_no_classifier_tells_apart_are_not_scored_or_are_refused(path, tmp_path, cache):
    guessing = (path, cache, "evaluation.spaces.classifier.budget.num_steps=1", "evaluation.spaces.classifier.seed=5")
    record, _ = build_and_run(tmp_path / "run", *TINY, *guessing)
    space = record.feature_spaces["classifier"]
    assert space["name"] == "self_supervised"
    assert re.fullmatch(r"a classifier reads .*% of the real test set, below min_accuracy", space["chosen_because"])
    assert not record.class_shares
    with pytest.raises(UsageError, match="below min_accuracy"):
        build_and_run(tmp_path / "other", *TINY, *guessing, "evaluation.spaces.classifier.must_be_accurate=true")


def test_a_stick_of_the_package_is_taken_if_it_reads_the_images(tmp_path, cache):
    digits = load_digits()
    images = (digits.images[:200] * (255 / 16)).round().astype(np.uint8)
    np.savez(tmp_path / "digits.npz", images=images, labels=digits.target[:200])
    record, _ = build_and_run(tmp_path / "run", *TINY, f"data.path={tmp_path / 'digits.npz'}", cache)
    stick = record.feature_spaces["classifier"]
    assert stick["name"] == "digits_stick"
    assert re.fullmatch(r"it reads \d+\.\d% of the real test set", stick["chosen_because"])


@pytest.mark.parametrize(
    ("model", "choices"),
    [
        ("vae", ("regime=fresh_real", "regime.fresh_fraction=0.2", "data.num_train=24", "cause=[label_noise,blur]")),
        ("vae", ("lever=[class_conditional,augmentation,warm_start]", "cause=[missing_classes]")),
        ("vae", ("correction=optimal_transport", "correction.num_anchors=20", "correction.batch_size=10")),
        ("vae", ("evaluation=full", "evaluation.num_bins=4", *TINY_DOWNSTREAM, *TINY_ENCODER)),
        ("vae_residual", ("regime=accumulate", "labelled_by=judge", "cause=[long_tail]", "cause.long_tail.factor=2")),
        ("gan", ("selection=verified", "selection.min_confidence=0.0", "regime=golden_ratio")),
        ("gan_sn_conv", ("data.image_size=16", "data.channels=3", "selection=most_realistic")),
        ("flow", ("lever=[early_stopping_on_real,ema]", "regime=mix", "bias=truncated_latents")),
    ],
)  # fmt: skip
def test_all_that_digits_can_do_images_of_ones_own_can(model, choices, path, cache, tmp_path):
    narrow = [one for one in NARROW[model.partition("_")[0]] if not one.startswith("model.num_steps")]
    records = build_and_run(tmp_path, *TINY, path, cache, f"model={model}", *narrow, "num_synthetic=48", *choices)
    assert [record.generation for record in records] == [0, 1]


def test_a_command_without_images_is_one_line_and_exit_code_2(collapsar, tmp_path):
    code, stderr = collapsar("data=images", "tracking=none")
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert "data=images needs images: set data.path to a folder, or to FILE.npz or FILE.npy" in stderr
    own = write_bars(tmp_path / "bars")
    (tmp_path / "bars" / "dot" / "2.png").write_bytes(b"broken")
    code, stderr = collapsar("data=images", own, "tracking=none")
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert re.search(r"1 image of data\.path=\S+ cannot be read: dot/2\.png", stderr)
