"""Every file under conf composes and builds; a part's constructor is its schema."""

import inspect
from itertools import zip_longest

import pytest
from omegaconf import OmegaConf

from collapsar import composition
from collapsar.composition import build, chain_name, check_part, config_folder, settings
from collapsar.data.sources.real import Digits
from collapsar.errors import UsageError
from collapsar.models.gan import GAN
from collapsar.models.vae import VAE
from tiny_chains import compose_settings


def choices(group):
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


IMAGE_MODELS, IMAGE_DATA = ["vae", "gan"], ["digits", "mnist", "fashion_mnist", "cifar10"]
FITTING_DATA = {"vae": "digits", "gan": "digits", "mixture": "ring", "kde": "grid"}  # others: their namesake
FITTING_MODEL = {"ring": "mixture", "grid": "mixture"}
COMBINED_GROUPS = {"data", "model", "regime", "bias", "selection"}  # in every combination: test_combinations
MIXED_GROUPS = ["evaluation", "tracking", "alarm", "trainer"]
MIXED = [
    [f"{group}={choice}" for group, choice in zip(MIXED_GROUPS, row, strict=True) if choice]
    for row in zip_longest(*map(choices, MIXED_GROUPS))
]


def build_from(*overrides):
    return build(compose_settings(*overrides))


def test_every_group_is_covered_here():
    groups = {path.name for path in config_folder().iterdir() if path.is_dir()}
    by_name = {"classifier", "recipe", "space", "experiment"}
    assert groups == {*MIXED_GROUPS, *COMBINED_GROUPS, *by_name}


@pytest.mark.parametrize("model", choices("model"))
def test_every_model_builds(model):
    assert build_from(f"model={model}", f"data={FITTING_DATA.get(model, model)}").model_name == model


@pytest.mark.parametrize("data", [data for data in choices("data") if data not in IMAGE_DATA])
def test_every_vector_source_builds_and_loads_in_its_own_shape(data):
    source = build_from(f"data={data}", f"model={FITTING_MODEL.get(data, data)}").data
    assert list(source.load().train.samples.shape[1:]) == list(source.sample_shape)


@pytest.mark.parametrize("model", IMAGE_MODELS)
@pytest.mark.parametrize("data", IMAGE_DATA)
def test_every_image_source_has_its_classifier_and_its_recipe(data, model):
    config = compose_settings(f"data={data}", f"model={model}")
    experiment = build(config)
    assert "classifier" in experiment.evaluation.spaces
    recipe = OmegaConf.load(config_folder() / "recipe" / f"{data}_{model}.yaml")
    assert experiment.batch_size == recipe.batch_size
    assert experiment.max_steps == recipe.trainer.max_steps
    assert list(experiment.model().sample_shape) == list(config.data.sample_shape)


def test_every_classifier_and_recipe_belongs_to_a_source():
    assert choices("classifier") == sorted(IMAGE_DATA)
    assert choices("recipe") == sorted(f"{data}_{model}" for data in IMAGE_DATA for model in IMAGE_MODELS)


@pytest.mark.parametrize("overrides", MIXED, ids=" ".join)
def test_every_other_choice_builds(overrides):
    build_from(*overrides)


@pytest.mark.parametrize("space", choices("space"))
def test_every_space_builds(space):
    assert space in build_from(f"+space@evaluation.spaces.{space}={space}").evaluation.spaces


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("sample_from", ["mean", "likelihood"])
def test_every_kind_of_vae_sample_is_a_setting(likelihood, sample_from):
    model = build_from(f"model.likelihood={likelihood}", f"model.sample_from={sample_from}").model()
    assert (model.likelihood, model.sample_from) == (likelihood, sample_from)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
def test_every_gan_loss_is_a_setting(loss):
    assert build_from("model=gan", f"model.loss={loss}").model().loss == loss


def test_the_name_of_a_chain_says_data_model_regime_and_seed():
    config = compose_settings("seed=3")
    assert chain_name(_root_=config).startswith("custom_custom_custom_seed3_")  # Hydra's choices: on the command line


def test_the_name_of_a_chain_is_the_same_every_time():
    assert chain_name(_root_=compose_settings("seed=3")) == chain_name(_root_=compose_settings("seed=3"))


@pytest.mark.parametrize("override", ["seed=4", "model.width=33", "evaluation.num_neighbours=4", "regime=accumulate"])
def test_settings_that_matter_are_in_the_name_of_a_chain(override):
    base = compose_settings("seed=3", "num_generations=4")
    assert chain_name(_root_=compose_settings("seed=3", override)) != chain_name(_root_=base)


@pytest.mark.parametrize("override", ["num_generations=20", "tracking=none", "evaluation.cache_folder=x", "name=other"])
def test_settings_that_change_no_generation_are_not_in_the_name_of_a_chain(override):
    assert chain_name(_root_=compose_settings(override)) == chain_name(_root_=compose_settings())


def test_settings_are_plain_values():
    plain = settings(compose_settings())
    assert "hydra" not in plain
    assert type(plain["model"]) is dict
    assert type(plain["model"]["sample_shape"]) is list
    assert plain["model"]["sample_shape"] == [1, 8, 8]


def test_conf_is_found_from_any_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (config_folder() / "config.yaml").is_file()


def test_conf_inside_an_installed_package_comes_first(tmp_path, monkeypatch):
    (tmp_path / "conf").mkdir()
    monkeypatch.setattr(composition, "files", lambda package: tmp_path)
    assert config_folder() == tmp_path / "conf"


def node(target, **values):
    path = target if isinstance(target, str) else f"{target.__module__}.{target.__name__}"
    return OmegaConf.create({"_target_": path, **values})


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
        check_part("model", vae)


def test_a_key_that_no_part_of_the_experiment_has_is_refused():
    with pytest.raises(UsageError, match="foo"):
        build_from("+foo=1")


def test_recipes_make_a_new_model_at_each_call():
    recipe = build_from().model
    assert isinstance(recipe(), VAE)
    assert recipe() is not recipe()


def test_no_scientific_value_has_a_second_default_in_code():
    for part in (VAE, GAN, Digits):
        parameters = inspect.signature(part).parameters
        assert [name for name, value in parameters.items() if value.default is not value.empty] == []
