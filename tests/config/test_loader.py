"""Hydra's loader, which merges the files of a command once for each set of choices; also what it must not keep."""

import pickle
from collections import Counter

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from collapsar.config import composition
from collapsar.config.loader import Loader


@pytest.fixture(autouse=True)
def files(tmp_path):
    """A folder with two files that a command may choose; it lies where the tests keep nothing."""
    composition.register()
    Plugins.instance()  # Hydra's sources of files
    (tmp_path / "kind").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [_self_, {kind: one}]\nseed: 0\nlist: [1, 2]\nkind: {size: 1}\n")
    (tmp_path / "kind" / "one.yaml").write_text("name: one\nalone: true\n")
    (tmp_path / "kind" / "two.yaml").write_text("name: two\n")
    return tmp_path


@pytest.fixture
def begin(files):
    """`begin()` begins a command, which composes `compose("seed=1")`."""

    def call():
        loader = Loader(create_config_search_path(str(files)))

        def compose(*overrides):
            config = OmegaConf.to_container(loader.load_configuration("config", list(overrides), RunMode.RUN))
            return {key: value for key, value in config.items() if key != "hydra"}

        return compose

    return call


@pytest.fixture
def num_read(monkeypatch):
    """How often each YAML file was read."""
    source, counts = SourcesRegistry.instance().types["file"], Counter()
    load = source.load_config

    def counted(self, config_path):
        counts[config_path] += 1
        return load(self, config_path)

    monkeypatch.setattr(source, "load_config", counted)
    return counts


@pytest.fixture
def merged(monkeypatch):
    """The lists of files that were merged."""
    lists, merge = [], ConfigLoaderImpl._compose_config_from_defaults_list

    def noted(self, defaults, repo):
        lists.append(defaults)
        return merge(self, defaults, repo)

    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", noted)
    return lists


def test_jobs_that_differ_in_single_values_read_and_merge_each_file_once(begin, num_read, merged):
    compose = begin()
    configs = [compose(f"kind={kind}", f"seed={seed}") for seed in range(5) for kind in ("one", "two")]
    assert num_read == {"config": 1, "kind/one": 1, "kind/two": 1}
    assert len(merged) == 2
    assert [(config["kind"]["name"], config["seed"]) for config in configs[-3:]] == [("two", 3), ("one", 4), ("two", 4)]


def test_a_multirun_reads_each_file_once_and_merges_them_once_for_each_arm(collapsar, files, num_read, merged):
    (files / "mine").mkdir()  # a folder of the user's, so that no earlier test has read anything for this command
    arms = ["regime=replace,accumulate", "seed=0,1,2,3", "num_generations=0"]  # refused once it is composed and checked
    code, stderr = collapsar("-m", "--config-dir", "mine", *arms)
    assert (code, stderr.splitlines()[-1]) == (2, "collapsar: num_generations must be at least 1: got 0")
    assert max(num_read.values()) == 1
    assert len(merged) == 3  # without an arm, for the multirun itself, and with each


def test_a_value_of_one_job_reaches_no_other(begin):
    compose = begin()
    one, two = {"size": 1, "name": "one", "alone": True}, {"size": 1, "name": "two"}
    assert compose("kind.name=three", "list=[3]", "+kind.new=1")["kind"] == {**one, "name": "three", "new": 1}
    assert compose() == {"seed": 0, "list": [1, 2], "kind": one}
    assert compose("kind=two", "~seed") == {"list": [1, 2], "kind": two}
    assert compose("kind=two")["seed"] == 0


def test_a_file_that_changes_between_two_commands_is_read_anew(begin, files):
    assert begin()()["kind"]["name"] == "one"
    (files / "kind" / "one.yaml").write_text("name: changed\n")
    (files / "kind" / "three.yaml").write_text("name: three\n")
    compose = begin()
    assert [compose(f"kind={name}")["kind"]["name"] for name in ("one", "three")] == ["changed", "three"]


def test_a_choice_that_only_a_multirun_may_leave_open_is_refused_in_a_job(files):
    (files / "config.yaml").write_text("defaults: [_self_, {kind: '???'}]\n")
    load = Loader(create_config_search_path(str(files))).load_configuration
    assert "kind" not in load("config", [], RunMode.MULTIRUN)
    with pytest.raises(ConfigCompositionException, match="You must specify 'kind'"):
        load("config", [], RunMode.RUN)
    assert load("config", ["kind=two"], RunMode.RUN).kind.name == "two"


SHIPPED = (
    ["seed=3", "lever=[ema,sgd]"],
    ["size=tiny", "data=ring", "model=kde", "num_generations=3", "seed=4"],
    ["experiment=what_prevents_collapse", "data=mnist", "regime=mix", "regime.real_fraction=0.1", "seed=5"],
    ["+hydra.job.env_set.A=b", "hydra.run.dir=here", "+trainer.callbacks=[]", "~alarm", "tracking=none"],
)


@pytest.mark.parametrize("mode", RunMode)
@pytest.mark.parametrize("overrides", SHIPPED, ids=" ".join)
def test_what_is_composed_equals_what_hydra_alone_composes(overrides, mode):
    search_path = create_config_search_path(str(composition.config_folder()))
    ours, of_hydra = (kind(search_path) for kind in (Loader, ConfigLoaderImpl))
    expected = OmegaConf.to_yaml(of_hydra.load_configuration("config", overrides, mode))
    for others in (["seed=9"], [], []):
        ours.load_configuration("config", [*overrides, *others], mode)
    assert OmegaConf.to_yaml(ours.load_configuration("config", overrides, mode)) == expected


def test_a_command_has_our_loader_which_goes_to_another_process_without_what_it_has_read(files):
    with initialize_config_dir(str(files), version_base="1.3"):
        compose("config")
        loader = GlobalHydra.instance().config_loader()
    assert type(loader) is Loader
    assert loader._files
    assert not pickle.loads(pickle.dumps(loader))._files
