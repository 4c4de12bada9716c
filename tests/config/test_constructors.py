"""A part's schema is its constructor."""

import re

import pytest
from omegaconf import OmegaConf

from collapsar.config.composition import check, config_folder
from collapsar.config.constructors import ANY, check_part, options_of
from collapsar.config.experiment import parts
from collapsar.data.sources.real import Digits
from collapsar.foundations.errors import UsageError
from collapsar.library.composing import compose_settings

ADAM, COSINE = "torch.optim.Adam", "torch.optim.lr_scheduler.CosineAnnealingLR"
NORMALISE = {"_target_": "torchvision.transforms.Normalize", "mean": [0.5], "std": [0.5]}
STOPPING = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "validation_loss"}


class Collecting:
    """Takes one number and anything else."""

    def __init__(self, number: int, *rest: int, **settings: int) -> None:
        self.number, self.rest, self.settings = number, rest, settings


class Listing:
    """Takes any number of numbers, and nothing by name but one switch."""

    def __init__(self, *numbers: int, is_sorted: bool) -> None:
        self.numbers, self.is_sorted = numbers, is_sorted


def node(target, **values):
    path = target if isinstance(target, str) else f"{target.__module__}.{target.__name__}"
    return {"_target_": path, **values}


def test_a_part_takes_what_its_constructor_takes():
    check_part("data", node(Digits, sample_shape=[1, 8, 8], num_train=None))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (node(Digits, sample_shape=[1, 8, 8]), "data needs num_train: set data.num_train=VALUE"),
        (node(Digits, sample_shape=[1, 8, 8], num_train=None, num_tset=3), "data.num_tset is not an option"),
        (node(Digits, sample_shape=[1, 8, 8], num_train="many"), "data.num_train has a wrong value: got 'many'"),
        (node(Digits, sample_shape=[1, 8.5, 8], num_train=None), "data.sample_shape has a wrong value"),
        (node(Digits, sample_shape="8x8", num_train=None), "data.sample_shape has a wrong value"),
        (node("collapsar.data.sources.real.Nothing"), "data._target_ names nothing"),
        (node("nowhere.Nothing"), "data._target_ names nothing"),
    ],
)
def test_what_a_constructor_does_not_take_is_refused(part, message):
    with pytest.raises(UsageError, match=message):
        check_part("data", part)


def test_a_literal_is_one_of_its_values():
    vae = OmegaConf.load(config_folder() / "model" / "vae.yaml")
    vae.sample_shape, vae.likelihood = [1, 8, 8], "poisson"
    with pytest.raises(UsageError, match="'poisson'; input should be 'bernoulli' or 'gaussian'"):
        check_part("model", OmegaConf.to_container(vae))


def partial_node(target, **values):
    return node(target, _partial_=True, **values)


def check_all(part):
    """Check a part and all parts within it, as a composed config is."""
    for path, found in parts({"part": part}):
        check_part(path, found)


@pytest.mark.parametrize(
    "part",
    [
        partial_node(ADAM, lr=0.1, betas=[0.9, 0.99]),  # its caller gives the weights
        partial_node(ADAM),
        partial_node(COSINE, T_max=10),
        node("torchvision.transforms.Compose", transforms=[NORMALISE, NORMALISE]),
        partial_node("lightning.Trainer", callbacks=[STOPPING]),
        node(Collecting, number=1, anything=2),
        node(Collecting, _args_=[1, 2, 3]),
        node(Listing, _args_=[1, 2], is_sorted=True),
        node("torch.nn.Sequential", _args_=[{"_target_": "torch.nn.ReLU"}]),
        node(Digits, _args_=[], sample_shape=[1, 8, 8], num_train=None),
        node("builtins.dict", anything=1),
    ],
    ids=str,
)
def test_what_a_call_would_take_is_allowed(part):
    check_all(part)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (partial_node(ADAM, learning_rate=0.1), "part.learning_rate is not an option: part takes params, lr, betas"),
        (partial_node(ADAM, lr="fast"), "part.lr has a wrong value: got 'fast'"),
        (node(ADAM, lr=0.1), "part needs params: set part.params=VALUE"),
        (
            node("torchvision.transforms.Compose", transforms=[{**NORMALISE, "meen": 1}]),
            r"part.transforms\[0\].meen is not an option: part.transforms\[0\] takes mean, std, inplace",
        ),
        (node("torchvision.transforms.Compose", transforms=[NORMALISE], more=1), "part.more is not an option"),
        (node(Collecting, anything=2), "part needs number: set part.number=VALUE"),
        (node(Collecting, number="one"), "part.number has a wrong value: got 'one'"),
        (node(Collecting, _args_=["one"]), "part.number has a wrong value: got 'one'"),
        (node(Listing, numbers=[1], is_sorted=True), "part.numbers is not an option: part takes is_sorted"),
        (node(Listing, _args_=[1]), "part needs is_sorted"),
        (node(Digits, _args_=[1, 2, 3, 4, 5]), "part has too many positional arguments: it takes sample_shape"),
    ],
    ids=str,
)
def test_what_a_call_would_not_take_is_refused(part, message):
    with pytest.raises(UsageError, match=message):
        check_all(part)


@pytest.mark.parametrize("path", ["model", "trainer"])
def test_a_recipe_that_is_called_without_arguments_needs_them_all(path):
    with pytest.raises(UsageError, match=f"{path} needs number: set {path}.number=VALUE"):
        check_part(path, partial_node(Collecting))


def test_parts_are_found_in_lists_and_maps():
    config = {"a": {"_target_": "A", "b": [{"_target_": "B"}, [{"c": {"_target_": "C"}}]]}, "d": 1}
    assert [path for path, _ in parts(config)] == ["a", "a.b[0]", "a.b[1][0].c"]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (f"{__name__}.Collecting", {"number", ANY}),
        (f"{__name__}.Listing", {"is_sorted"}),
        ("collapsar.models.bias.ScaledLatents", {"spread"}),
        *((target, set()) for target in ("collapsar.nowhere.X", "collapsar.models.vae.vae.Nothing", "X", "")),
    ],
)
def test_the_options_of_a_part_are_the_arguments_of_its_constructor(target, names):
    assert options_of(target) == names


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alarm.rules=null", "alarm.rules has a wrong value: got None"),
        ("evaluation.spaces=null", "evaluation.spaces has a wrong value: got None"),
        ("evaluation.spaces.pca=3", "evaluation.spaces.pca has a wrong value: got 3"),
        ("evaluation.downstream=null", "evaluation.downstream has a wrong value: got None; it must be a part"),
        ("evaluation.downstream=3", "evaluation.downstream has a wrong value: got 3; it must be a part"),
        ("evaluation.num_neighbours=null", "evaluation.num_neighbours has a wrong value: got None"),
        ("evaluation.split=half", "evaluation.split has a wrong value: got 'half'"),
        ("trainer.callbacks=[null]", "trainer.callbacks has a wrong value"),
    ],
)
def test_a_null_or_a_number_where_a_part_or_a_value_must_stand_is_one_line(override, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        check(compose_settings(["data=digits", override], is_chain=False))


def test_null_passes_where_it_means_none():
    check(compose_settings(["data=digits", "evaluation.spaces.pca=null", "alarm.rules.fid_jumps=null"], is_chain=False))
