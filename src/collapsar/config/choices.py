"""What was chosen, and refusals of choices that Hydra would drop: without a file, or one of two alike levers.

Hydra's own node names the chosen files, whether the command line or an experiment chose them.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from collapsar.foundations.chosen import value_text
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import SEEDS, config_folder, flatten, is_below, is_free, recipes

GROUP = "lever/"
NAMED_GROUPS = ("data", "model", "regime")
SHARED_VARIABLE = "COLLAPSAR_SHARED_OVERRIDES"  # passes what all arms of a multirun share on to its jobs, as JSON
TELLING = ("data.path",)  # free, but data.checksum follows from it
WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # word boundaries in a class's name
SCALARS = bool | int | float | str | None
BACKGROUND = (  # how samples are measured and how long models train: arms seldom differ in these alone
    *("experiment", "plugins", "data", "evaluation", "stick", "space", "judge"),
    *("trainer", "batch_size", "num_threads"),
)


def choices(config: DictConfig) -> dict[str, str]:
    """The choice made in each group; none if Hydra's own node is absent."""
    node = _hydra_of(config)
    chosen = node.runtime.choices if node else {}
    return {str(group): str(choice) for group, choice in chosen.items() if choice is not None}


def part_names(config: DictConfig) -> list[str]:
    """The names of data, model and regime."""
    chosen = choices(config)
    return [chosen.get(group) or part_name(config[group]) for group in NAMED_GROUPS]


def part_name(node: Mapping[str, Any]) -> str:
    """The name of a part that no group option names, from its class: FashionMNIST becomes fashion_mnist."""
    return WORD_STARTS.sub("_", str(node["_target_"]).rpartition(".")[2]).lower()


def _hydra_of(config: DictConfig) -> Any:
    """Hydra's own node; a running job asks HydraConfig, as Hydra has removed the node from the config."""
    node = OmegaConf.select(config, "hydra")
    return HydraConfig.get() if node is None and HydraConfig.initialized() else node


def _typed(node: Any, *kinds: str) -> list[str]:
    """The overrides of a job, Hydra's own (`hydra`) or others (`task`); unresolved, or Hydra may fail to read them."""
    typed: Any = OmegaConf.to_container(node.overrides, resolve=False) if node else {}
    return [override for kind in kinds for override in typed.get(kind, [])]


def typed_choices(overrides: Sequence[str]) -> dict[str, Any]:
    """What overrides choose, by group or dotted key, without what no arms differ in: free settings and seeds."""
    found = {}
    for each in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = each.get_key_element().lstrip("+~"), each.value()
        if key in TELLING or not (is_free(key) or key in SEEDS):
            found[key] = value if isinstance(value, SCALARS) else value_text(value)
    return found


def all_choices(config: DictConfig) -> dict[str, Any]:
    """The chosen files by group, without those that follow from the data, and what was typed for the job."""
    chosen, typed = choices(config), typed_choices(_typed(_hydra_of(config), "task"))
    named = {group: choice for group, choice in chosen.items() if not (group.startswith("hydra/") or is_free(group))}
    of_data = {group for group, choice in named.items() if group == "recipe" or choice == chosen.get("data")}
    return {group: choice for group, choice in named.items() if group == "data" or group not in of_data} | typed


def naming_choices(config: DictConfig) -> dict[str, Any]:
    """The typed choices that name an arm: those that not all jobs of several arms have; else all but `BACKGROUND`."""
    node = _hydra_of(config)
    typed = typed_choices(_typed(node, "task"))
    given = json.loads(os.environ.get(SHARED_VARIABLE, "null"))
    if node is not None and node.mode == RunMode.MULTIRUN and given is not None:
        shared = typed_choices(given)
        return {key: value for key, value in typed.items() if key not in shared or shared[key] != value}
    is_background = {key: key != "data" and is_below(key.partition("@")[0], BACKGROUND) for key in typed}
    return {key: value for key, value in typed.items() if not is_background[key]}


def check_choices(config: DictConfig) -> None:
    """Refuse alike levers, and a choice without a file, which Hydra skips in an optional group: some data lack a judge.

    Unless typed, a choice that is named for the data may lack a file, and a recipe too: some models have none.
    """
    if (node := _hydra_of(config)) is None:
        return
    chosen = choices(config)
    overrides = OverridesParser.create().parse_overrides(_typed(node, "hydra", "task"))
    typed = [(each.get_key_element().lstrip("+"), each.value()) for each in overrides]
    search_path = ConfigSearchPathImpl()
    for each in node.runtime.config_sources:
        search_path.append(each.provider, f"{each.schema}://{each.path}")
        for path in Path(each.path, "recipe").glob("*/*.yaml") if each.schema == "file" else ():
            raise UsageError(f"{path} is not read: the recipe of DATA and MODEL stands in recipe/DATA/SIZE/MODEL.yaml")
    files = ConfigRepository(search_path)
    for key, choice in chosen.items():
        group = key.partition("@")[0]
        is_optional = (group == "recipe" or choice == chosen.get("data")) and (key, choice) not in typed
        file = f"{group}/{choice}"
        if not is_optional and not files.config_exists(file):
            folder = f"{file.rpartition('/')[0]}/"
            known = [f"{group}/{option}" for option in files.get_group_options(group)]  # with nested recipes
            options = [option.removeprefix(folder) for option in known if option.startswith(folder)]
            raise MissingConfigException(f"no {file}", missing_cfg_file=file, options=options)
    check_levers(levers_of_job())


def check_size(config: DictConfig) -> None:
    """Refuse a size without a recipe for the data and the model: only a recipe sets `size`, so it is missing then."""
    if not OmegaConf.is_missing(config, "size"):
        return
    chosen = {"size": "full"} | choices(config)
    size, data, model = (chosen.get(group) or part_name(config[group]) for group in ("size", "data", "model"))
    names = sorted(path.stem for path in (config_folder() / "recipe").glob("*.yaml"))
    found = ", ".join(f"{name}_{known}" for name in names for known in recipes(name).get(size, {}))
    missing = f"size={size} has no recipe for data={data} model={model}"
    raise UsageError(f"{missing}: set size=small; there is one for {found}")


def check_levers(levers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse two levers that set one key to different values; `levers` are their values by name and dotted key."""
    for (first, own), (second, other) in combinations(levers.items(), 2):
        for key in (key for key in own if key in other and own[key] != other[key]):
            values = f"{own[key]!r} and {other[key]!r}"
            raise UsageError(f"levers {first} and {second} both set {key}, to {values}: choose one of them")


def levers_of_job() -> dict[str, dict[str, Any]]:
    """The values that each lever of the running job sets, by dotted key; empty if no job runs."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return {}
    return composed_levers(HydraConfig.get().job.config_name, _typed(HydraConfig.get(), "hydra", "task"))


def composed_levers(config_name: str | None, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """The values that each chosen lever sets; levers in the defaults of another lever count as part of that one."""
    loader: Any = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(config_name=config_name, overrides=overrides, run_mode=RunMode.RUN).defaults
    _, files = loader._parse_overrides_and_create_caching_repo(config_name, overrides)  # includes hydra.searchpath
    parents = {str(default.config_path): str(default.parent) for default in defaults}
    found: dict[str, dict[str, Any]] = {}
    for path in (path for path in parents if path.startswith(GROUP)):
        own: Any = OmegaConf.to_container(files.load_config(path).config, resolve=False)
        owner = path
        while parents.get(owner, "").startswith(GROUP):
            owner = parents[owner]
        name = owner.removeprefix(GROUP)
        found[name] = found.get(name, {}) | flatten(own)
    return found
