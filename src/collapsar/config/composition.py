"""How Hydra composes an experiment: the schema, names of folders and chains, and checks before anything runs.

Torch is not imported before the experiment is built, so help, completion and refused choices are fast.
"""

import re
from collections.abc import Mapping
from dataclasses import fields
from hashlib import file_digest
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from collapsar.config.command_line import accept_options_of_constructors
from collapsar.config.constructors import check_numbers, check_part, check_part_early, look_in_current_folder, parts
from collapsar.config.experiment import CHECKED_RANGES, Experiment, check_ranges
from collapsar.config.levers import check_choices, check_levers, levers_of_job, overrides_of_job
from collapsar.errors import UsageError
from collapsar.journal.objective import check_measured, check_objective
from collapsar.judging.plugins import load_plugins
from collapsar.records.settings import binding_settings, config_folder, digest, recipes

NAMED_GROUPS = ("data", "model", "regime")
OPTIONAL_CHOICES = ("stick@evaluation.spaces.classifier", "table_metrics@evaluation.table", "judge")
WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # word boundaries in a class's name


def register() -> None:
    """Register the schema, the resolvers and the options of parts with Hydra; a second call changes nothing."""
    look_in_current_folder()
    accept_options_of_constructors()
    ConfigStore.instance().store(name="experiment_schema", node=Experiment)
    OmegaConf.register_new_resolver("study_folder", study_folder, replace=True)
    OmegaConf.register_new_resolver("chain_name", chain_name, replace=True)
    OmegaConf.register_new_resolver("file_checksum", file_checksum, replace=True)


def file_checksum(path: str | None) -> str | None:
    """Sixteen hexadecimal digits of a file's content; None if there is no file, which is refused later."""
    file = Path(path).expanduser() if path else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as content:
        return file_digest(content, "blake2b").hexdigest()[:16]


def study_folder(*, _root_: DictConfig) -> str:
    """The folder of a study within `outputs`: its name, checked before Hydra makes the folder."""
    check_study_name(_root_.name)
    return str(_root_.name)


def check_study_name(name: Any) -> None:
    """Refuse a study's name that is not text or not the name of one folder.

    2024_01_15 in a YAML file is a number. A name is printable, without path separators, and not empty, `.` or `..`.
    """
    if not isinstance(name, str):
        raise UsageError(f"name must be a text: got {name!r}; in a YAML file, put quotes around it")
    if not name.strip() or name in (".", "..") or not name.isprintable() or re.search(r"[/\\]", name):
        raise UsageError(
            f"name must be the name of one folder, without path separators or control characters: got {name!r}"
        )


def chain_name(*, _root_: DictConfig) -> str:
    """The name of a chain, fixed by its settings: data, model, regime, seed, and a digest of all that bind it."""
    config, chosen = settings(_root_), choices(_root_)
    names = [chosen.get(group) or part_name(config[group]) for group in NAMED_GROUPS]
    return f"{join_names(names)}_seed{config['seed']}_{digest(binding_settings(config))}"


def join_names(names: list[str]) -> str:
    """Join group choices as a part of a folder's name; the slash of a choice in a subfolder becomes `_`."""
    return "_".join(names).replace("/", "_")


def choices(config: DictConfig) -> dict[str, str]:
    """The choice made in each group."""
    chosen = runtime(config).get("choices", {})
    return {str(group): str(choice) for group, choice in chosen.items() if choice is not None}


def runtime(config: DictConfig) -> Any:
    """Hydra's composition details; a running job asks HydraConfig, as Hydra has removed its node from the config."""
    node = OmegaConf.select(config, "hydra.runtime")
    if node is None and HydraConfig.initialized():
        node = HydraConfig.get().runtime
    return {} if node is None else node


def part_name(node: Mapping[str, Any]) -> str:
    """The name of a part that no group option names, from its class: FashionMNIST becomes fashion_mnist."""
    return WORD_STARTS.sub("_", str(node["_target_"]).rpartition(".")[2]).lower()


def settings(config: DictConfig) -> dict[str, Any]:
    """The resolved experiment settings as plain values, without Hydra's own.

    Raises:
        UsageError: a size that has no recipe for the data and the model.
    """
    check_size(config)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_readonly(own, False)
    plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def check_size(config: DictConfig) -> None:
    """Refuse a size without a recipe for the data and the model: only a recipe sets `size`, so it is missing then."""
    if not OmegaConf.is_missing(config, "size"):
        return
    chosen = {"size": "full"} | choices(config)
    size, data, model = (chosen.get(group) or part_name(config[group]) for group in ("size", "data", "model"))
    names = sorted(path.stem for path in (config_folder() / "recipe").glob("*.yaml"))
    found = ", ".join(f"{name}_{known}" for name in names for known in recipes(name).get(size, {}))
    raise UsageError(
        f"size={size} has no recipe for data={data} model={model}: set size=small; there is one for {found}"
    )


def check_optional_choices(config: DictConfig) -> None:
    """Refuse a stick, a judge or table metrics without a file: Hydra skips them, because some data have none."""
    chosen, sources = choices(config), runtime(config).get("config_sources", [])
    if any(source["schema"] == "pkg" and source["provider"] != "hydra" for source in sources):
        return  # only Hydra can list the files of a package that a user added
    for source in sources:
        for file in Path(source["path"], "recipe").glob("*/*.yaml") if source["schema"] == "file" else ():
            raise UsageError(f"{file} is not read: the recipe of DATA and MODEL stands in recipe/DATA/SIZE/MODEL.yaml")
    for key in OPTIONAL_CHOICES:
        group, name = key.partition("@")[0], chosen.get(key)
        files = [Path(source["path"], group, f"{name}.yaml") for source in sources if source["schema"] == "file"]
        if name not in (None, chosen.get("data")) and not any(file.is_file() for file in files):
            known = ", ".join(sorted(path.stem for path in (config_folder() / group).glob("*.yaml")))
            raise UsageError(f"{key} must be a file of conf/{group}, such as {known}: got {name}")


def build(config: DictConfig) -> Experiment:
    """The live experiment, after every setting and every part was checked against its constructor.

    Raises:
        UsageError: a constructor does not take a key or a type, or refuses a value.
    """
    check(config)
    return make(config)


def make(config: DictConfig) -> Experiment:
    """The live experiment of settings that `check` let through.

    Raises:
        UsageError: an imported constructor does not take a key or a type, or refuses a value.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    for path, node in parts(config):
        check_part(path, node)
    try:
        experiment: Experiment = instantiate(config, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        raise
    return experiment


def check(config: DictConfig) -> None:
    """Refuse invalid settings as far as possible without importing torch, which takes seconds.

    Raises:
        UsageError: an unknown key, a bad study name, a number that is not finite or out of range, a part that its
            constructor refuses, or levers that set one key.
    """
    known = [entry.name for entry in fields(Experiment)]
    for key in config:
        if key not in (*known, "hydra"):
            raise UsageError(f"{key!s} is not an option: allowed are {', '.join(known)}")
    own = settings(config)
    check_study_name(own["name"])
    check_choices(overrides_of_job())
    check_optional_choices(config)
    check_levers(levers_of_job())
    load_plugins(own["plugins"])
    check_objective(own["objective"])
    check_measured(own["objective"], own["evaluation"])
    check_numbers("", own)
    check_ranges(**{key: own[key] for key in CHECKED_RANGES})
    for path, node in parts(config):
        check_part_early(path, node)
