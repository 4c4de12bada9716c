"""Refuse two levers that set the same key: Hydra would silently let the last one win.

Hydra's list of defaults names the chosen files, whether the command line or an experiment chose them.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import OmegaConf

from collapsar.errors import UsageError
from collapsar.records.settings import flatten

GROUP = "lever/"


def check_levers(levers: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse two levers that set one key to different values.

    Args:
        levers: For the name of each lever, its values by dotted key.
    """
    for (first, own), (second, other) in combinations(levers.items(), 2):
        for key in own:
            if key in other and own[key] != other[key]:
                raise UsageError(
                    f"levers {first} and {second} both set {key}, to {own[key]!r} and {other[key]!r}: "
                    "choose one of them"
                )


def levers_of_job() -> dict[str, dict[str, Any]]:
    """The values that each lever of the running job sets, by dotted key; empty if no job runs."""
    overrides = overrides_of_job()
    return composed_levers(HydraConfig.get().job.config_name, overrides) if overrides else {}


def overrides_of_job() -> list[str]:
    """The running job's overrides, unresolved because Hydra may fail to read them again; empty if no job runs."""
    if not (HydraConfig.initialized() and GlobalHydra.instance().is_initialized()):
        return []
    typed = OmegaConf.to_container(HydraConfig.get().overrides, resolve=False)
    assert isinstance(typed, dict)
    return [*typed["hydra"], *typed["task"]]


def check_choices(overrides: list[str]) -> None:
    """Refuse an unknown choice in an optional group, such as judge: Hydra would silently leave it out.

    Raises:
        MissingConfigException: with the existing choices.
    """
    if not overrides:
        return
    loader: Any = GlobalHydra.instance().config_loader()
    for override in OverridesParser.create().parse_overrides(overrides):
        group, choice = override.key_or_group, override.value()
        is_choice = isinstance(choice, str) and "${" not in choice and loader.repository.group_exists(group)
        if is_choice and not loader.repository.config_exists(f"{group}/{choice}"):
            file = f"{group}/{choice}"
            folder = f"{file.rpartition('/')[0]}/"
            known = [f"{group}/{option}" for option in loader.get_group_options(group)]  # with nested recipes
            options = [option.removeprefix(folder) for option in known if option.startswith(folder)]
            raise MissingConfigException(f"no {file}", missing_cfg_file=file, options=options)


def composed_levers(config_name: str | None, overrides: list[str]) -> dict[str, dict[str, Any]]:
    """The values that each chosen lever sets; levers in the defaults of another lever count as part of that one."""
    loader: Any = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list(config_name=config_name, overrides=overrides, run_mode=RunMode.RUN).defaults
    _, files = loader._parse_overrides_and_create_caching_repo(config_name, overrides)  # includes hydra.searchpath
    parents = {str(default.config_path): str(default.parent) for default in defaults}
    found: dict[str, dict[str, Any]] = {}
    for path in (path for path in parents if path.startswith(GROUP)):
        own = OmegaConf.to_container(files.load_config(path).config, resolve=False)
        assert isinstance(own, dict)
        owner = outermost(path, parents).removeprefix(GROUP)
        found[owner] = found.get(owner, {}) | flatten({str(key): value for key, value in own.items()})
    return found


def outermost(path: str, parents: Mapping[str, str]) -> str:
    """The chosen lever whose defaults lead to this one; this one itself if no other lever does."""
    while parents.get(path, "").startswith(GROUP):
        path = parents[path]
    return path
