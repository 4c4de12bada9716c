"""How Hydra composes an experiment: where `conf` lies, the schema, names of chains, and checks before anything runs.

Nothing heavy is imported before the experiment is built: help, completion and refused choices need no torch.
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

from collapsar.config.constructors import check_numbers, check_part, parts
from collapsar.config.experiment import Experiment
from collapsar.config.levers import check_levers, levers_of_job
from collapsar.earlier import earlier_digest
from collapsar.errors import UsageError
from collapsar.journal.objective import check_objective
from collapsar.judging.plugins import load_plugins
from collapsar.records.settings import binding_settings, class_name, config_folder, digest

NAMED_GROUPS = ("data", "model", "regime")
WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # in the name of a class


def register() -> None:
    """Make the schema and the resolvers known to Hydra; a second call changes nothing."""
    ConfigStore.instance().store(name="experiment_schema", node=Experiment)
    OmegaConf.register_new_resolver("study_folder", study_folder, replace=True)
    OmegaConf.register_new_resolver("chain_name", chain_name, replace=True)
    OmegaConf.register_new_resolver("file_checksum", file_checksum, replace=True)


def file_checksum(path: str | None) -> str | None:
    """Sixteen characters that a file's content always gives; None where there is no file, which is refused later."""
    file = Path(path).expanduser() if path else None
    if file is None or not file.is_file():
        return None
    with file.open("rb") as content:
        return file_digest(content, "blake2b").hexdigest()[:16]


def study_folder(*, _root_: DictConfig) -> str:
    """The folder of a study within `outputs`: its name, checked before Hydra makes the folder.

    Raises:
        UsageError: the name would lead elsewhere.
    """
    name: str = _root_.name
    check_study_name(name)
    return name


def check_study_name(name: str) -> None:
    """Refuse a name that is not the name of one folder.

    Raises:
        UsageError: it is empty, has a path separator or an unprintable character, or is `.` or `..`.
    """
    if not name.strip() or name in (".", "..") or not name.isprintable() or re.search(r"[/\\]", name):
        raise UsageError(
            f"name must be the name of one folder, without path separators or control characters: got {name!r}"
        )


def chain_name(*, _root_: DictConfig) -> str:
    """A name that the same settings always get: data, model, regime, seed, and a digest of everything that binds."""
    config, chosen = settings(_root_), choices(_root_)
    names = [chosen.get(group) or part_name(config[group]) for group in NAMED_GROUPS]
    return f"{join_names(names)}_seed{config['seed']}_{digest(binding_settings(config))}"


def earlier_chain_name(config: DictConfig) -> str | None:
    """The name that version 0.1 gave a chain with these settings; None if there was no such chain."""
    own, chosen = settings(config), choices(config)
    earlier = earlier_digest(own)
    names = [chosen.get(group) or "custom" for group in NAMED_GROUPS]
    return f"{join_names(names)}_seed{own['seed']}_{earlier}" if earlier else None


def join_names(names: list[str]) -> str:
    """Group choices as a part of a folder's name: a choice in a subfolder of its group has a slash."""
    return "_".join(names).replace("/", "_")


def choices(config: DictConfig) -> dict[str, str]:
    """What was chosen in each group. A running job asks Hydra, which has taken its own node out of the config."""
    node = OmegaConf.select(config, "hydra.runtime.choices")
    if node is None and HydraConfig.initialized():
        node = HydraConfig.get().runtime.choices
    return {str(group): str(choice) for group, choice in (node or {}).items() if choice is not None}


def part_name(node: Mapping[str, Any]) -> str:
    """A part that no group option stands for, by the name of its class: FashionMNIST is fashion_mnist."""
    return WORD_STARTS.sub("_", class_name(node["_target_"])).lower()


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
    """Refuse a size that has no recipe for the data and the model: such a recipe says the size itself.

    Raises:
        UsageError: with the recipes that there are.
    """
    if not OmegaConf.is_missing(config, "size"):
        return
    chosen = {"size": "full"} | choices(config)
    size, data, model = (chosen.get(group) or part_name(config[group]) for group in ("size", "data", "model"))
    recipes = ", ".join(sorted(path.stem for path in (config_folder() / "recipe" / size).glob("*.yaml")))
    raise UsageError(
        f"size={size} has no recipe for data={data} model={model}: set size=small; there is one for {recipes}"
    )


def build(config: DictConfig) -> Experiment:
    """The live experiment, having checked every setting and every part against its constructor.

    Raises:
        UsageError: a key or a type that a constructor does not take, or a value that it refuses.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check(config)
    try:
        experiment: Experiment = instantiate(config, _convert_="object")
    except InstantiationException as error:
        if isinstance(error.__cause__, UsageError):
            raise error.__cause__ from error
        raise
    return experiment


def check(config: DictConfig) -> None:
    """Refuse what no experiment has, before any part is made.

    Raises:
        UsageError: an unknown key, a name that is no folder's, a number that is not finite, an unfit part, or levers
            that set one key.
    """
    known = [entry.name for entry in fields(Experiment)]
    for key in config:
        if key not in (*known, "hydra"):
            raise UsageError(f"{key!s} is not an option: allowed are {', '.join(known)}")
    own = settings(config)
    check_study_name(own["name"])
    check_numbers("", own)
    check_objective(own["objective"])
    check_levers(levers_of_job())
    load_plugins(own["plugins"])
    for path, node in parts(config):
        check_part(path, node)
