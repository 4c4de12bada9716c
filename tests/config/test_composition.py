"""Every file under conf composes and builds; names of chains; what is refused before anything is made."""

import copy
import inspect
from collections import Counter
from itertools import zip_longest

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from collapsar.config.choices import check_choices
from collapsar.config.composition import (
    build,
    chain_name,
    config_folder,
    register,
    settings,
)
from collapsar.config.experiment import check_study_name
from collapsar.data.sources.real import Digits
from collapsar.foundations import settings as settings_module
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import flatten, recipes, whole_recipe
from collapsar.judging.spaces.classifier import ClassifierSpace
from collapsar.judging.spaces.pca import PCASpace
from collapsar.models.vae.vae import VAE
from tiny_chains import compose_settings
from tiny_tables import MISSING, OF_PACKAGES, overrides_of


@pytest.fixture(autouse=True, scope="module")
def schema():
    """Whichever test runs first, Hydra knows the schema."""
    register()


def choices(group):
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


FACTOR_DATA = ["scenes", "stacked_mnist"]  # drawn from known factors, of sizes of their own
IMAGE_DATA = ["digits", "mnist", "fashion_mnist", "cifar10", *FACTOR_DATA]
OTHER_IMAGE_DATA = ["kmnist", "emnist", "svhn", "cifar100", "images"]  # with the recipes of another
MODE_DATA = ["ring", "grid"]
TABLE_DATA = ["breast_cancer", "health_insurance", "aids_trial", "credit_default", "table"]
VECTOR_DATA = [*MODE_DATA, *TABLE_DATA]  # those with recipes
TABLE_MODELS = ["table_vae", "table_gan"]
IMAGE_MODELS = [model for model in choices("model") if model.partition("_")[0] in ("vae", "gan", "flow")]
FULL_MODELS = ["flow", "gan", "gan_sn_conv", "gan_sn_residual", "vae", "vae_residual"]
RECIPES = [
    f"{size}/{data}_{model}"
    for data in (*IMAGE_DATA, *VECTOR_DATA)
    for size, models in recipes(data).items()
    for model in models
]
FITTING_DATA = {"mixture": "ring", "kde": "grid"}  # others: their namesake
FITTING_MODEL = {"ring": "mixture", "grid": "mixture"} | dict.fromkeys(TABLE_DATA, "kde")
COMBINED_GROUPS = {
    "data",
    "model",
    "regime",
    "bias",
    "selection",
    "correction",
    "cause",
}  # in every combination: test_combinations
MIXED_GROUPS = ["evaluation", "tracking", "alarm", "training", "trainer"]
MIXED = [
    [f"{group}={choice}" for group, choice in zip(MIXED_GROUPS, row, strict=True) if choice]
    for row in zip_longest(*map(choices, MIXED_GROUPS))
]


def build_from(*overrides):
    return build(compose_settings(*overrides))


def skip_what_is_not_installed(data):
    if data in MISSING:
        pytest.skip(f"{OF_PACKAGES[data]} is not installed")


def test_every_group_is_covered_here():
    groups = {path.name for path in config_folder().iterdir() if path.is_dir()}
    by_name = {"stick", "table_metrics", "judge", "recipe", "size", "space", "experiment", "lever", "hydra"}
    assert groups - {"finding"} == {*MIXED_GROUPS, *COMBINED_GROUPS, *by_name}  # findings are no settings


@pytest.mark.parametrize("model", [model for model in choices("model") if model not in (*IMAGE_MODELS, *TABLE_MODELS)])
def test_every_model_without_recipes_builds(model):
    assert build_from(f"model={model}", f"data={FITTING_DATA.get(model, model)}").parts.model.name == model


@pytest.mark.parametrize("data", [data for data in choices("data") if data not in (*IMAGE_DATA, *OTHER_IMAGE_DATA)])
def test_every_vector_source_builds_and_loads_in_its_own_shape(data, tmp_path):
    skip_what_is_not_installed(data)
    source = build_from(*overrides_of(data, tmp_path), f"model={FITTING_MODEL.get(data, data)}").data
    assert list(source.load().train.shape) == list(source.sample_shape)


def slow_as_another(recipe):
    """A recipe, with the slow tests where it is MNIST's under another name."""
    is_named_anew = recipe.partition("/")[2].startswith(("fashion_mnist_", "stacked_mnist_"))
    return pytest.param(recipe, marks=[pytest.mark.slow] if is_named_anew else [])


@pytest.mark.parametrize("recipe", [slow_as_another(recipe) for recipe in RECIPES])
def test_every_recipe_is_the_one_that_its_size_data_and_model_get(recipe, tmp_path):
    size, name = recipe.split("/")
    data = next(data for data in (*IMAGE_DATA, *VECTOR_DATA) if name.startswith(f"{data}_"))
    model = name.removeprefix(f"{data}_")
    skip_what_is_not_installed(data)
    experiment = build_from(f"size={size}", *overrides_of(data, tmp_path), f"model={model}")
    expected = whole_recipe(recipes(data)[size][model])
    assert experiment.parts.model.name == (model.partition("_")[0] if model in IMAGE_MODELS else model)
    assert (experiment.size, experiment.batch_size) == (size, expected["batch_size"])
    assert experiment.parts.max_steps == expected["trainer.max_steps"]
    assert list(experiment.parts.recipe.model.keywords["sample_shape"]) == list(experiment.data.sample_shape)


@pytest.mark.parametrize("data", [*IMAGE_DATA, *(data for data in OTHER_IMAGE_DATA if data != "images")])
def test_every_image_source_has_its_stick_and_its_judge(data):
    experiment = build_from(f"data={data}")
    assert "classifier" in experiment.evaluation.spaces
    assert isinstance(experiment.judge, ClassifierSpace)


def test_every_stick_judge_and_recipe_belongs_to_a_source_or_to_data_of_ones_own():
    small = [f"small/{data}_{model}" for data in IMAGE_DATA for model in IMAGE_MODELS]
    small += [f"small/{data}_flow" for data in VECTOR_DATA]
    small += [f"small/{data}_{model}" for data in TABLE_DATA for model in TABLE_MODELS]
    full = [f"full/{data}_{model}" for data in ("mnist", "fashion_mnist", "cifar10") for model in FULL_MODELS]
    assert choices("stick") == sorted([*IMAGE_DATA, "trained", "images"])
    assert choices("judge") == sorted([*IMAGE_DATA, "pca", "images", "categories"])
    assert sorted(RECIPES) == sorted(small + full)


@pytest.mark.parametrize(
    ("data", "like"), [("kmnist", "mnist"), ("emnist", "mnist"), ("svhn", "cifar10"), ("cifar100", "cifar10")]
)
@pytest.mark.parametrize(("size", "model"), [("small", "vae"), ("full", "gan")])
def test_another_set_has_the_recipes_of_the_one_whose_images_are_as_large(data, like, size, model):
    given, expected = (
        settings(compose_settings(f"data={own}", f"size={size}", f"model={model}")) for own in (data, like)
    )
    parts = ("model", "trainer", "training", "batch_size", "size")
    assert {part: given[part] for part in parts} == {part: expected[part] for part in parts}


def test_recipes_are_read_as_hydra_reads_its_own_files():
    """Above all numbers, and keys that stand twice, of which our quick reader would take the last."""
    for path in (config_folder() / "recipe").glob("*.yaml"):
        for size, own in OmegaConf.to_container(OmegaConf.load(path)).items():
            if size == "by_side":
                continue
            assert recipes(path.stem)[size] == (recipes(own)[size] if isinstance(own, str) else own)


def test_no_file_of_conf_holds_what_another_one_does():
    files = sorted(config_folder().rglob("*.yaml"))
    contents = Counter(str(OmegaConf.to_container(OmegaConf.load(path))) for path in files)
    assert [content for content, count in contents.items() if count > 1] == []
    assert len([path for path in files if path.parent.name != "finding"]) <= 200  # each finding has a file of its own


@pytest.mark.parametrize(
    ("overrides", "judge"), [(["judge=pca"], PCASpace), (["data=ring", "model=flow", "judge=pca"], PCASpace)]
)
def test_what_is_typed_comes_before_what_a_data_set_names(overrides, judge):
    assert compose_settings(*overrides).judge._target_.endswith(judge.__name__)
    typed = compose_settings("data=mnist", "stick@evaluation.spaces.classifier=trained")
    assert typed.evaluation.spaces.classifier._target_.endswith(ClassifierSpace.__name__)


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("judge", {"cifar10", "digits", "pca"}),
        ("stick@evaluation.spaces.classifier", {"cifar10", "digits", "trained"}),
        ("table_metrics@evaluation.table", {"aids_trial", "default", "health_insurance"}),
    ],
)
def test_what_may_come_with_data_and_has_no_file_is_refused_where_it_is_typed(key, known):
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        plain, typed = (compose("config", typed, return_hydra_config=True) for typed in ([], [f"{key}=mine"]))
    check_choices(plain)
    with pytest.raises(MissingConfigException) as refused:
        check_choices(typed)
    assert refused.value.missing_cfg_file == f"{key.partition('@')[0]}/mine"
    assert known <= set(refused.value.options)


def test_a_recipe_where_earlier_versions_had_it_is_refused_with_its_new_place(tmp_path):
    (tmp_path / "recipe" / "small").mkdir(parents=True)
    (tmp_path / "recipe" / "small" / "digits_vae.yaml").write_text("batch_size: 7\n")
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("config", [f"hydra.searchpath=[file://{tmp_path}]"], return_hydra_config=True)
    with pytest.raises(UsageError, match=r"digits_vae.yaml is not read: .* recipe/DATA/SIZE/MODEL.yaml"):
        check_choices(config)


def test_the_recipe_of_another_data_set_can_be_typed():
    typed = compose_settings("model=vae_mlp", "recipe=mnist/small/vae_mlp")
    assert typed.trainer == compose_settings("data=mnist", "model=vae_mlp").trainer
    assert typed.data == compose_settings().data


@pytest.fixture
def own_data(tmp_path):
    """`own_data(TEXT)` composes a data set that one file of one's own describes."""

    def call(text, *overrides):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "mine.yaml").write_text(text)
        return compose_settings("data=mine", f"hydra.searchpath=[file://{tmp_path}]", *overrides)

    return call


NAMED_AS_TYPED = """# @package _global_
defaults:
  - override /stick@evaluation.spaces.classifier: trained
  - override /judge: pca
  - override /table_metrics@evaluation.table: default
  - override /recipe: mnist/${size}/${model}
data:
  _target_: collapsar.data.sources.real.MNIST
  sample_shape: [1, 28, 28]
  num_train: null
  root: null
trainer:
  max_steps: 77
"""


def test_a_file_of_ones_own_names_all_that_comes_with_its_data_and_may_change_the_recipe(own_data):
    config, of_mnist = own_data(NAMED_AS_TYPED, "+evaluation.table.task.subgroup=sex"), compose_settings("data=mnist")
    assert (
        config.evaluation.spaces.classifier
        == compose_settings("stick@evaluation.spaces.classifier=trained").evaluation.spaces.classifier
    )
    assert config.judge == compose_settings("judge=pca").judge
    assert config.evaluation.table.task.subgroup == "sex"
    assert config.model == of_mnist.model
    assert config.trainer == OmegaConf.merge(of_mnist.trainer, {"max_steps": 77})


def test_data_made_from_another_data_set_have_what_comes_with_it(own_data):
    config, of_mnist = own_data("defaults: [mnist]\nnum_train: 500"), compose_settings("data=mnist")
    assert config.data == OmegaConf.merge(of_mnist.data, {"num_train": 500})
    assert (config.evaluation, config.judge) == (of_mnist.evaluation, of_mnist.judge)


def test_data_that_name_nothing_have_what_is_called_as_they_are(own_data, tmp_path):
    for group, text in (("stick", "defaults: [trained]\nseed: 7"), ("recipe/mine/small", "batch_size: 7")):
        (tmp_path / group).mkdir(parents=True)
        name = "vae" if group.startswith("recipe") else "mine"
        (tmp_path / group / f"{name}.yaml").write_text(f"# @package _global_\n{text}" if name == "vae" else text)
    config = own_data("_target_: collapsar.data.sources.real.Digits\nsample_shape: [1, 8, 8]\nnum_train: null")
    assert (config.evaluation.spaces.classifier.seed, config.batch_size, config.judge) == (7, 7, None)


def test_a_chain_is_small_unless_it_is_asked_to_be_full():
    assert build_from("data=mnist").size == "small"


@pytest.mark.parametrize("model", [model for model in IMAGE_MODELS if "_" in model])
def test_a_model_that_is_named_for_a_body_has_it_on_every_data_set(model):
    body = model.partition("_")[2]
    composed = [compose_settings("size=small", f"data={data}", f"model={model}") for data in IMAGE_DATA]
    assert {config.model.body for config in composed} == {body}


@pytest.mark.parametrize("overrides", [["model=vae"], ["data=mnist", "model=vae_mlp"], ["data=ring", "model=mixture"]])
def test_a_size_without_a_recipe_is_refused_with_the_recipes_that_there_are(overrides):
    with pytest.raises(
        UsageError, match=r"size=full has no recipe for .*: set size=small; there is one for .*mnist_vae"
    ):
        build_from("size=full", *overrides)


@pytest.mark.parametrize(
    ("overrides", "allowed"),
    [
        (["model.body=sn_conv"], "'conv', 'patch', 'mlp' or 'residual'"),
        (["data=emnist", "data.split=mnist"], "'balanced', 'letters' or 'digits'"),
        (["model=gan", "model.body=patch"], "'conv', 'sn_conv' or 'sn_residual'"),
        (["training.schedule=steps"], "'constant', 'linear', 'cosine', 'step' or 'plateau'"),
    ],
)
def test_a_body_or_schedule_that_there_is_not_is_refused_with_what_is_allowed(overrides, allowed):
    with pytest.raises(UsageError, match=allowed):
        build_from(*overrides)


@pytest.mark.parametrize("overrides", MIXED, ids=" ".join)
def test_every_other_choice_builds(overrides):
    build_from(*overrides)


@pytest.mark.parametrize("lever", choices("lever"))
def test_every_lever_sets_keys_that_stand_as_null(lever):
    plain, set_by_lever = (flatten(settings(compose_settings(*given))) for given in ([], [f"lever=[{lever}]"]))
    changed = {key: plain[key] for key in plain if plain[key] != set_by_lever.get(key, "replaced")}
    assert changed
    assert set(changed.values()) == {None} or changed == {"model.body": "mlp"}
    build_from(f"lever=[{lever}]")


@pytest.mark.parametrize("correction", choices("correction"))
def test_every_correction_builds(correction):
    assert (build_from(f"correction={correction}").correction is None) == (correction == "none")


@pytest.mark.parametrize("cause", choices("cause"))
def test_every_cause_builds_under_its_own_name(cause):
    data = "scenes" if cause == "simplified_world" else "digits"
    assert build_from(f"data={data}", f"cause=[{cause}]").parts.cause[cause].name == cause


@pytest.mark.parametrize("space", choices("space"))
def test_every_space_builds(space):
    assert space in build_from(f"+space@evaluation.spaces.{space}={space}").evaluation.spaces


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("sample_from", ["mean", "likelihood"])
def test_every_kind_of_vae_sample_is_a_setting(likelihood, sample_from):
    model = build_from(f"model.likelihood={likelihood}", f"model.sample_from={sample_from}").parts.recipe.model()
    assert (model.likelihood, model.sample_from) == (likelihood, sample_from)


@pytest.mark.parametrize("loss", ["non_saturating", "hinge", "wgan_gp"])
def test_every_gan_loss_is_a_setting(loss):
    assert build_from("model=gan", f"model.loss={loss}").parts.recipe.model().loss == loss


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["seed=3"], "digits_vae_replace_seed3_"),
        (["data=fashion_mnist", "model=gan", "regime=accumulate_subsample"], "fashion_mnist_gan_accumulate_subsample_"),
        (["data=cifar10", "regime=golden_ratio"], "cifar10_vae_golden_ratio_seed0_"),
    ],
)
def test_without_hydra_a_chain_is_named_by_its_classes(overrides, expected):
    assert chain_name(_root_=compose_settings(*overrides)).startswith(expected)


def changed(**changes):
    """The default settings with dotted keys set to other values, existing or not."""
    config = copy.deepcopy(compose_settings("seed=3"))
    OmegaConf.set_struct(config, False)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    return chain_name(_root_=config)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__warm_start": None},
        {"trainer__callbacks": []},
        {"evaluation__extra": {}},
        {"data___target_": "collapsar.elsewhere.Digits"},
        {"evaluation__downstream__budget___target_": "collapsar.elsewhere.TrainingBudget"},
        {"judge__seed": 5},
        {"training": {"_target_": "collapsar.models.plan.Plan", "gradient_clip_norm": None, "callbacks": []}},
        {"objective": "final/recall"},
    ],
    ids=str,
)
def test_what_is_off_or_only_moved_is_not_in_the_name_of_a_chain(changes):
    assert changed(**changes) == changed()


@pytest.mark.parametrize(
    "changes",
    [
        {"model__warm_start": False},
        {"model__warm_start": 0},
        {"data___target_": "collapsar.data.sources.real.Tens"},
        {"trainer__callbacks": [{"_target_": "elsewhere.Stopping"}]},
        {"training": {"_target_": "collapsar.models.plan.Plan", "gradient_clip_norm": 1.0}},
    ],
    ids=str,
)
def test_what_is_on_is_in_the_name_of_a_chain(changes):
    assert changed(**changes) != changed()


def test_biases_that_differ_in_their_class_alone_have_names_of_their_own():
    biases = ("scaled_latents", "truncated_latents", "tempered_likelihood")
    assert len({chain_name(_root_=compose_settings(f"bias={bias}", "bias.spread=0.8")) for bias in biases}) == 3


@pytest.mark.parametrize("name", ["study", "two words", "Größe", "a.b", "mix_0.1"])
def test_the_name_of_a_folder_is_the_name_of_a_study(name):
    check_study_name(name)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "../x", "/x", "a/b", "a\\b", "a\nb", "a\0b", "\x1b[1m"])
def test_a_name_that_leads_elsewhere_or_cannot_be_seen_is_refused(name):
    with pytest.raises(UsageError, match="name must be the name of one folder"):
        check_study_name(name)


@pytest.mark.parametrize("name", [20240115, 1e5, True, None])
def test_a_name_that_a_file_gives_as_something_else_than_a_text_is_refused(name):
    with pytest.raises(UsageError, match=f"name must be a text: got {name!r}; in a YAML file, put quotes around it"):
        check_study_name(name)


def test_a_number_that_is_not_finite_is_refused_by_its_key_wherever_it_stands():
    for override in ("model.beta=inf", "evaluation.confidence=nan", "num_synthetic=[10,-inf]", "regime.x=nan"):
        key = override.partition("=")[0]
        added = override if key != "regime.x" else f"+{override}"
        with pytest.raises(UsageError, match=rf"{key}.* must be a finite number: got"):
            build_from(added)


def test_callbacks_may_be_added_to_the_trainer():
    timer = "{_target_:lightning.pytorch.callbacks.Timer,duration:{minutes:1}}"
    recipe = build_from(f"+trainer.callbacks=[{timer}]").trainer
    assert "Timer" in [type(callback).__name__ for callback in recipe().callbacks]


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
    monkeypatch.setattr(settings_module, "files", lambda package: tmp_path)
    assert config_folder() == tmp_path / "conf"


def test_a_key_that_no_part_of_the_experiment_has_is_refused():
    with pytest.raises(UsageError, match="foo"):
        build_from("+foo=1")


def test_recipes_make_a_new_model_at_each_call():
    recipe = build_from().parts.recipe.model
    assert isinstance(recipe(), VAE)
    assert recipe() is not recipe()


def test_data_have_no_second_default_in_code():  # those of models equal conf: tests/models/test_defaults.py
    parameters = inspect.signature(Digits).parameters
    assert [name for name, value in parameters.items() if value.default is not value.empty] == []
