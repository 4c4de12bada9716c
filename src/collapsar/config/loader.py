"""Hydra's loader, which merges the files of one command once for all jobs that choose the same ones.

Jobs of an arm differ in single values, such as the seed, which Hydra applies to a copy. A new command reads all anew.
"""

import copy
from dataclasses import replace
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal import hydra as hydra_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.defaults_list import create_defaults_list as create_anew
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from collapsar.config.command_line import apply_overrides


class Files(CachingConfigRepository):
    """The files of a command, each read once, and the lists of those that are merged, by what is chosen."""

    def __init__(self, delegate: IConfigRepository) -> None:
        super().__init__(delegate)
        self.lists: dict[tuple[str | None, ...], DefaultsList] = {}


class Defaults(list[ResultDefault]):
    """The files of one list of defaults, and what they are once merged."""

    merged: DictConfig | None = None


class Loader(ConfigLoaderImpl):
    """The loader of one command; a copy for another process starts without what this one has read."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self._files: dict[Any, Files] = {}  # by the primary config and the folders that were typed

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_files": {}}

    def _parse_overrides_and_create_caching_repo(self, config_name: str | None, overrides: list[str]) -> Any:
        parsed = OverridesParser.create().parse_overrides(overrides)
        key = config_name, *(each.input_line for each in parsed if each.get_key_element() == "hydra.searchpath")
        if key not in self._files:
            files = Files(self.repository)
            self._process_config_searchpath(config_name, parsed, files)
            self._files[key] = files
        return parsed, self._files[key]

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        return copy.deepcopy(super()._load_single_config(default, repo))  # merging changes it

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        assert isinstance(defaults, Defaults), "made by our create_defaults_list"
        if defaults.merged is None:
            defaults.merged = super()._compose_config_from_defaults_list(defaults, repo)
        return copy.deepcopy(defaults.merged)


def create_defaults_list(*, repo: IConfigRepository, overrides_list: list[Override], **others: Any) -> DefaultsList:
    """Hydra's function, called once for overrides that choose the same files."""
    if not isinstance(repo, Files):  # of a loader that is not ours: an application of the user's that calls us
        return create_anew(repo=repo, overrides_list=overrides_list, **others)
    values = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
    chosen = tuple(each.input_line for each in overrides_list if each not in values)
    if (known := repo.lists.get(chosen)) is None:
        made = create_anew(repo=repo, overrides_list=overrides_list, **others)
        known = replace(made, defaults=Defaults(made.defaults))
        if not any(str(choice).endswith("???") for choice in made.overrides.known_choices.values()):
            repo.lists[chosen] = known  # else a job may be refused what its multirun may leave open
    return replace(known, config_overrides=values)


def take_the_place_of_hydras() -> None:
    """Let commands compose with our loader, which also takes arguments of constructors; a second call does nothing."""
    hydra_module.ConfigLoaderImpl = Loader  # type: ignore[attr-defined]
    config_loader_impl.create_defaults_list = create_defaults_list  # type: ignore[assignment, attr-defined]
    ConfigLoaderImpl._apply_overrides_to_config = staticmethod(apply_overrides)  # type: ignore[assignment, method-assign]
