"""Every combination of data, model, regime, bias and selection runs, or is refused when it is composed.

All of them are put to the constructor that every command goes through; corrections and causes too, with every data and
model. Of those that it takes, a covering set runs two generations: any two choices, corrections and causes among them,
that go together at all stand together in one of its chains.
"""

from functools import cache
from importlib import import_module
from itertools import combinations, product
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console

from collapsar.config.composition import config_folder, register
from collapsar.config.experiment import Experiment
from collapsar.data.real_data import RealData
from collapsar.data.sources.real import TorchvisionSource
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.foundations.settings import recipes
from tiny_chains import compose_settings
from tiny_tables import MISSING, settings_of_file

BASIC = ("data", "model", "regime", "bias", "selection")
GROUPS = (*BASIC, "correction", "cause")
NOTHING = "none"  # in the place of a correction or a cause
MOVING = {"optimal_transport", "nearest_mean"}
OF_IMAGES = {"blur", "pixel_noise"}
OF_CLASSES = {"label_noise", "long_tail", "missing_classes"}
WITHOUT_CLASSES = {"gaussian", "linear_regression"}
TABLE_MODELS = {"table_vae", "table_gan"}
OF_MANY_CLASSES = {"scenes", "stacked_mnist"}  # more than there are samples here
BY_CLASS = {"most_confident", "verified", "curated"}
OTHER_SETS = {"kmnist", "svhn"}  # with a stick that is found when they are read
SLOW_DATA = {"mnist", "fashion_mnist", "cifar10", "scenes", "stacked_mnist", "health_insurance", "images", *OTHER_SETS}
LIKE_ANOTHER = {  # posed when slow
    *("fashion_mnist", "cifar10", "stacked_mnist", "grid", "health_insurance", "table", "images"),
    *OTHER_SETS,
}
HAVE_TESTS_OF_THEIR_OWN = {"emnist", "cifar100"}  # more classes than there are samples here
NUM_SAMPLES = 60
TRAINED_STICKS = ("fashion_mnist", "images", *OTHER_SETS)  # not frozen ones
SMALL = {  # by group and choice: what makes a chain of two generations take a moment
    "data": {"num_train": NUM_SAMPLES, "num_test": NUM_SAMPLES, "num_reserve": NUM_SAMPLES},
    "vae": {"width": 4, "sample_from": "likelihood"},
    "gan": {"generator_width": 4, "critic_width": 4},
    "flow": {"width": 4, "num_steps": 2},
    "table_vae": {"width": 4},
    "table_gan": {"generator_width": 4, "critic_width": 4},
    "mixture": {"num_components": 8, "num_starts": 1, "max_steps": 5},
    "optimal_transport": {"strength": 0.3, "num_anchors": 20, "batch_size": 20},
    "nearest_mean": {"num_means": 1, "strength": 0.5},  # further, too few different ones are left to deduplicate
    "mix_cosine": {"real_fraction": {"first": 0.4}},  # without one of two classes 30 of 60 are left
    "mix_linear": {"real_fraction": {"first": 0.4}},
    "health_insurance": {"threshold": 5},  # class 1 is a small one
    "few_samples": {"kept_fraction": 0.9},
    "biased_subset": {"kept_fraction": 0.9},
    "long_tail": {"factor": 1.3},
    "missing_classes": {"classes": [1]},
    "simplified_world": {"without": ["fog"]},
    "verified": {"min_confidence": 0.0},  # what two steps teach a classifier confirms nothing
}
REST = (
    "num_generations=2",
    "batch_size=8",
    "trainer.accelerator=cpu",
    "trainer.max_steps=2",
    "evaluation=quick",
    "evaluation.metrics=[frechet,classes]",
    "evaluation.num_batches=0",
    f"evaluation.num_samples={NUM_SAMPLES}",
    "evaluation.accelerator=cpu",
    "evaluation.spaces.pca.num_components=4",
    "tracking=none",
)
TINY_JUDGE = ("judge.budget.num_steps=2", "judge.min_accuracy=0.0")
TINY_STICK = ("evaluation.spaces.classifier.budget.num_steps=2", "evaluation.spaces.classifier.min_accuracy=0.0")


@cache
def choices(group):
    """The choices of a group, without those that are another one with some settings changed (bodies of a model)."""
    paths = sorted((config_folder() / group).glob("*.yaml"))
    left_out = MISSING | HAVE_TESTS_OF_THEIR_OWN
    found = [path.stem for path in paths if not is_made_from_another(path) and path.stem not in left_out]
    return [*found, NOTHING] if group == "cause" else found


def is_made_from_another(path):
    """Whether a file of the same group stands in its defaults."""
    return any(isinstance(base, str) and base != "_self_" for base in OmegaConf.load(path).get("defaults", []))


@cache
def is_image_data(data):
    return (config_folder() / "stick" / f"{data}.yaml").exists() or data in OTHER_SETS


@cache
def is_image_model(model):
    return model in recipes("digits")["small"]


def go_together(data, model, regime, bias, selection, correction, cause):
    """What nobody should expect to be refused; a new choice goes with everything until this says otherwise."""
    if model != "flow" and is_image_data(data) != is_image_model(model):
        return False
    if model in ("categorical", "linear_regression") and data != model:
        return False
    if bias == "tempered_likelihood" and model in ("gan", "flow", "table_gan"):
        return False
    if selection == "most_realistic" and model not in ("gan", "table_gan"):
        return False
    if correction == "partial_samples" and model not in ("vae", "flow", "table_vae"):
        return False
    if correction == "extrapolation" and not (is_image_model(model) or model in TABLE_MODELS):
        return False
    if correction in MOVING and model == "categorical":
        return False
    if cause in OF_IMAGES and not is_image_data(data):
        return False
    if cause in OF_CLASSES and data in WITHOUT_CLASSES:
        return False
    if cause == "label_noise" and data == "health_insurance":  # whose classes follow from a number
        return False
    if cause == "simplified_world" and data != "scenes":
        return False
    if correction == "nearest_mean" and data in OF_MANY_CLASSES:
        return False
    return is_image_data(data) or selection not in BY_CLASS


@pytest.fixture(scope="module", autouse=True)
def few_images():
    """The downloaded data sets hold random images, as many as two tiny generations need."""

    def read_all(self):
        def random(num_samples):
            generator = torch.Generator().manual_seed(num_samples)
            images = torch.randint(256, (num_samples, *self.sample_shape), generator=generator).to(torch.uint8)
            return Samples(images, torch.arange(num_samples) % self.num_classes)

        return RealData(random(self.num_available), random(self.num_test), self.num_classes)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TorchvisionSource, "read_all", read_all)
        import_module("collapsar.data.sources.more_sets")
        for source in TorchvisionSource.__subclasses__():
            patched.setattr(source, "num_available", 2 * NUM_SAMPLES)
            patched.setattr(source, "num_test", NUM_SAMPLES)
            patched.setattr(source, "num_unseen", NUM_SAMPLES)
        yield


@pytest.fixture(scope="module", autouse=True)
def a_file_of_rows(tmp_path_factory):
    """What data=table reads."""
    SMALL["table"] = settings_of_file(tmp_path_factory.mktemp("table")) | {"sample_shape": [7]}


@pytest.fixture(scope="module", autouse=True)
def a_folder_of_images(tmp_path_factory):
    """What data=images reads: a quarter to train on, a quarter held out, the rest in reserve."""
    register()  # the shape of images is found when settings are read
    path = tmp_path_factory.mktemp("images") / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (4 * NUM_SAMPLES, 8, 8)).astype(np.uint8)
    np.savez(path, images=images, labels=np.arange(len(images)) % 10)
    SMALL["images"] = {"path": str(path), "test_fraction": 0.25}


def load(group, choice):
    if choice == NOTHING and group not in BASIC:
        return {} if group == "cause" else None
    node = OmegaConf.load(config_folder() / group / f"{choice}.yaml")
    node.pop("defaults", None)  # what comes with data
    small = SMALL.get(choice, {}) | (SMALL["data"] if group == "data" else {})
    made_small = OmegaConf.merge(node, {key: value for key, value in small.items() if key in node})
    return {choice: made_small} if group == "cause" else made_small


def built(config, key):
    value = config[key]
    return instantiate(value, _convert_="object") if OmegaConf.is_dict(value) else value


@pytest.fixture(scope="module")
def compose(tmp_path_factory):
    """`compose("digits", "vae", ...)` puts a combination to the constructor, which takes or refuses it."""
    spaces = tmp_path_factory.mktemp("spaces")

    @cache
    def rest(data):
        """All that is not combined, by the data."""
        tiny = TINY_JUDGE if is_image_data(data) else ()
        if data in TRAINED_STICKS:
            tiny += TINY_STICK
        own = [f"data.path={SMALL['images']['path']}"] if data == "images" else []
        config = compose_settings(f"data={data}", *own, *REST, *tiny, f"evaluation.cache_folder={spaces}")
        return {key: built(config, key) for key in config if key not in GROUPS}

    @cache
    def part(group, choice, data):
        return built(OmegaConf.create({"seed": 0, "data": load("data", data), group: load(group, choice)}), group)

    def assemble(*combination, **recipes):
        data = combination[0]
        parts = {group: part(group, choice, data) for group, choice in zip(GROUPS, combination, strict=True)}
        return Experiment(**rest(data) | parts | recipes)

    return assemble


@pytest.fixture(scope="module")
def verdict(compose):
    """`verdict("digits", "vae", ...)`: the sentence that a combination is refused with, or None."""

    @cache
    def build_once(data, choice):
        recipe = built(OmegaConf.create({"data": load("data", data), "model": load("model", choice)}), "model")
        try:
            model = recipe()
        except UsageError as error:
            return Mock(side_effect=error)
        return lambda: model

    trainer = built(compose_settings(*REST), "trainer")()

    def judge(data, model, *others):
        try:
            compose(data, model, *others, model=build_once(data, model), trainer=lambda **_: trainer)
        except UsageError as error:
            return str(error)
        return None

    return judge


@pytest.mark.parametrize(
    "is_like_another", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["all others", "like another"]
)
def test_what_goes_together_is_taken_and_all_else_is_refused_with_advice(is_like_another, verdict):
    posed = [combination for combination in POSED if (combination[0] in LIKE_ANOTHER) == is_like_another]
    verdicts = {combination: verdict(*combination) for combination in posed}
    wrong = [combination for combination, refusal in verdicts.items() if (refusal is None) != go_together(*combination)]
    assert wrong == []
    refusals = {refusal for refusal in verdicts.values() if refusal}
    assert [refusal for refusal in refusals if "\n" in refusal or not is_advice(refusal)] == []


def is_advice(refusal):
    return any(word in refusal for word in ("choose ", "set ", "take vectors"))


def pairs_of(combination):
    return set(combinations(enumerate(combination), 2))


def covering(accepted):
    """Few of the combinations, in which every pair of choices stands that stands in any."""
    pairs = {combination: pairs_of(combination) for combination in accepted}
    by_pair = {}
    for combination, own in pairs.items():
        for pair in own:
            by_pair.setdefault(pair, []).append(combination)
    uncovered = dict.fromkeys(sorted(by_pair, key=lambda pair: len(by_pair[pair])))
    chosen = []
    while uncovered:
        candidates = by_pair[next(iter(uncovered))]
        best = max(candidates, key=lambda combination: sum(pair in uncovered for pair in pairs[combination]))
        chosen.append(best)
        for pair in pairs[best]:
            uncovered.pop(pair, None)
    return chosen


def extended(basic):
    """A covering set of the basic groups with corrections and causes: some in each of its rows, and few rows more."""
    by_row = {
        row: [row + extra for extra in product(choices("correction"), choices("cause")) if go_together(*row, *extra)]
        for row in basic
    }
    everything = [combination for row in basic for combination in by_row[row]]
    pairs = {combination: pairs_of(combination) for combination in everything}
    uncovered = set().union(*pairs.values())
    chosen = []

    def choose(candidates):
        chosen.append(max(candidates, key=lambda combination: len(pairs[combination] & uncovered)))
        uncovered.difference_update(pairs[chosen[-1]])

    for row in basic:
        choose(by_row[row])
    while uncovered:
        choose(everything)
    return chosen


BASIC_POSED = [(*combination, NOTHING, NOTHING) for combination in product(*map(choices, BASIC))]
POSED = BASIC_POSED + [
    (data, model, "replace", "none", "none", correction, cause)
    for data, model, correction, cause in product(*map(choices, ("data", "model", "correction", "cause")))
]
COVERING = extended(covering([combination[: len(BASIC)] for combination in BASIC_POSED if go_together(*combination)]))


def test_every_two_choices_that_go_together_are_run():
    possible = set()
    for (one, first), (other, second) in combinations(list(enumerate(GROUPS)), 2):
        for pair in product(choices(first), choices(second)):
            fixed = {one: pair[0], other: pair[1]}
            free = ([fixed[number]] if number in fixed else choices(group) for number, group in enumerate(GROUPS))
            if any(go_together(*combination) for combination in product(*free)):
                possible.add(((one, pair[0]), (other, pair[1])))
    assert set().union(*map(pairs_of, COVERING)) == possible


def slow_if_large(combination):
    return pytest.param(combination, marks=[pytest.mark.slow] if combination[0] in SLOW_DATA else [])


@pytest.mark.parametrize("combination", [*map(slow_if_large, COVERING)], ids="-".join)
def test_what_is_taken_runs_two_generations(combination, compose, tmp_path):
    records = compose(*combination).run(
        tmp_path / "run", chain="chain", config={}, position="", console=Console(quiet=True)
    )
    assert [record.generation for record in records] == [0, 1]
    assert all(record.pool["size"] == sum(record.pool["origins"].values()) for record in records)
