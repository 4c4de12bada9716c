"""What commands of one process have in common is read and merged once: files of conf, and the choices of a command.

Composing takes most of the time of a tiny command. Each gets a copy, so nothing of one reaches another.
"""

import copy
from types import SimpleNamespace

import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.defaults_list import DefaultsList, Overrides
from omegaconf import omegaconf as omegaconf_module

from collapsar.foundations.settings import config_folder

MOST_KEPT = 64


def compose_once(patched):
    """Let Hydra parse a text of YAML once, and merge the files of conf once for all commands that choose the same.

    Settings of single values are applied by Hydra itself, to a copy. Files elsewhere are composed anew.
    """
    patched.setattr(omegaconf_module, "yaml", SimpleNamespace(**{**vars(yaml), "load": parser()}))
    create, merge = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    shipped, lists, merged = f"file://{config_folder()}", {}, {}  # lists by choices, and what is merged by their ids

    def create_once(repo, config_name, overrides_list, prepend_hydra, skip_missing):
        sources = tuple(f"{source.scheme()}://{source.path}" for source in repo.get_sources())
        if any(source.startswith("file://") and source != shipped for source in sources):
            return create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        own = Overrides(repo=repo, overrides_list=overrides_list)
        values = set(map(id, own.config_overrides))
        choices = tuple(override.input_line for override in overrides_list if id(override) not in values)
        key = (sources, config_name, choices, prepend_hydra, skip_missing)
        known = lists.pop(key, None) or create(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        lists[key] = known  # as the newest
        if len(lists) > MOST_KEPT:
            oldest = lists.pop(next(iter(lists)))
            merged.pop(id(oldest.defaults), None)
        return DefaultsList(
            defaults=known.defaults,
            defaults_tree=known.defaults_tree,
            config_overrides=own.config_overrides,
            overrides=known.overrides,
        )

    def merge_once(self, defaults, repo):
        if all(defaults is not known.defaults for known in lists.values()):
            return merge(self, defaults, repo)
        if id(defaults) not in merged:
            merged[id(defaults)] = merge(self, defaults, repo)
        return copy.deepcopy(merged[id(defaults)])

    patched.setattr(config_loader_impl, "create_defaults_list", create_once)
    patched.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)


def parser():
    """A `yaml.load` that parses a text of a file once; OmegaConf copies what it gets."""
    parsed = {}

    def load(stream, Loader):  # noqa: N803  the name is that of PyYAML
        if isinstance(stream, str):
            return yaml.load(stream, Loader=Loader)
        text = stream.read()
        if text not in parsed:
            stream.seek(0)  # an error names the file
            parsed[text] = yaml.load(stream, Loader=Loader)
        return parsed[text]

    return load
