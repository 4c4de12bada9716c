"""size=tiny: two short generations of any data and model, in seconds, apart from real runs."""

import time

import pytest

from collapsar.config import composition
from collapsar.config.command_line import OWN_FILES
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import config_folder, flatten
from tiny_chains import build_and_run, compose_settings
from user_tables import with_column, write_text

SECONDS = 6  # of digits after imports, on an idle machine


def names(group):
    return [path.stem for path in sorted((config_folder() / group).glob("*.yaml"))]


def test_numbers_are_cut_and_what_is_typed_wins():
    config = compose_settings("size=tiny", "data=mnist", "trainer.max_steps=70", "model.width=5")
    assert (config.num_generations, config.batch_size, config.data.num_train) == (2, 16, 200)
    assert (config.evaluation.num_samples, config.evaluation.downstream.budget.num_steps) == (100, 10)
    assert (config.trainer.max_steps, config.model.width) == (70, 5)


def test_a_number_below_its_limit_stays():
    config = compose_settings("size=tiny", "data=linear_regression", "model=linear_regression")
    assert config.data.num_train == 50


def test_an_experiment_is_cut_too_and_neither_tracked_nor_alarmed():
    config = compose_settings("size=tiny", "experiment=what_prevents_collapse")
    assert config.num_generations == 2
    assert config.trainer.max_steps == 10
    assert config.tracking._target_.endswith("NoTracking")
    assert config.alarm.rules == {}


def test_the_recipe_is_that_of_the_small_size():
    small, tiny = (flatten(composition.settings(compose_settings(f"size={size}"))) for size in ("small", "tiny"))
    assert small["model.beta"] == tiny["model.beta"] == 0.3
    cut = {key for key in small if tiny.get(key) != small[key]} - {
        key for key in small if "alarm" in key or "tracking" in key
    }
    assert all(key == "size" or small[key] is None or tiny[key] < small[key] for key in cut)


def test_the_number_of_samples_in_files_of_the_users_is_left_to_them():
    config = compose_settings("size=tiny", "data=table", f"data.{OWN_FILES}=rows.csv", "model=table_vae")
    assert config.data.num_train is config.evaluation.num_samples is None


@pytest.mark.parametrize("name", ["study", "mine"])
def test_folders_lie_apart_from_those_of_real_runs(name):
    folders = [composition.study_folder(_root_=compose_settings(f"name={name}", *size)) for size in ([], ["size=tiny"])]
    assert folders == [name, f"{name}_tiny"]
    assert len({composition.chain_name(_root_=compose_settings(*size)) for size in ([], ["size=tiny"])}) == 2


def test_digits_take_seconds(tmp_path):
    begun = time.process_time()
    assert len(build_and_run(tmp_path, "size=tiny", f"evaluation.cache_folder={tmp_path / 'cache'}")) == 2
    assert time.process_time() - begun < SECONDS


def test_a_small_table_of_ones_own_runs(tmp_path):
    file = write_text(tmp_path / "rows.csv", with_column("age", [str(20 + place) for place in range(90)]))
    made = ("data=table", f"data.path={file}", "data.target=ill", "model=table_vae")
    assert len(build_and_run(tmp_path / "run", "size=tiny", *made, f"evaluation.cache_folder={tmp_path}")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("model", names("model"))
@pytest.mark.parametrize("data", names("data"))
def test_any_data_and_model_that_compose_run(data, model, tmp_path, tmp_path_factory):
    cache = tmp_path_factory.getbasetemp() / "cache"
    overrides = ("size=tiny", f"data={data}", f"model={model}", f"evaluation.cache_folder={cache}")
    try:
        composition.build(compose_settings(*overrides))
    except UsageError as refused:
        pytest.skip(str(refused))
    try:
        records = build_and_run(tmp_path, *overrides)
    except UsageError as error:
        if "could not be downloaded" not in str(error):
            raise
        pytest.skip(str(error))
    assert [record.size for record in records] == ["tiny", "tiny"]
