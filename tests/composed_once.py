"""What commands of one process have in common is read and merged once: files of conf, and the choices of a command.

Composing takes most of the time of a tiny command. Each gets a copy, so nothing of one reaches another.
"""

from types import SimpleNamespace

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import omegaconf as omegaconf_module

from collapsar.config.loader import Files, Loader
from collapsar.foundations.settings import config_folder

MOST_KEPT = 64


class Newest(dict):
    """The entries that were used last."""

    def get(self, key):
        if key in self:
            self[key] = self.pop(key)
        return super().get(key)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if len(self) > MOST_KEPT:
            del self[next(iter(self))]


def compose_once(patched):
    """Let Hydra parse a text of YAML once, and merge the files of conf once for all commands that choose the same.

    A command with files elsewhere composes them anew.
    """
    patched.setattr(omegaconf_module, "yaml", SimpleNamespace(**{**vars(yaml), "load": parser()}))
    shipped, kept = f"file://{config_folder()}", {}

    def begin(self, config_search_path):
        ConfigLoaderImpl.__init__(self, config_search_path)
        sources = tuple(f"{source.scheme()}://{source.path}" for source in self.get_sources())
        is_shipped = all(source == shipped for source in sources if source.startswith("file://"))
        self._files = kept.setdefault(sources, {}) if is_shipped else {}

    def begin_files(self, delegate):
        of_one_command(self, delegate)
        self.lists = Newest()

    of_one_command = Files.__init__
    patched.setattr(Loader, "__init__", begin)
    patched.setattr(Files, "__init__", begin_files)


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
