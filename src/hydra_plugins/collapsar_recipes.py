"""Recipes for Hydra: `recipe/mnist/small/vae` is the entry `small`, `vae` in conf/recipe/mnist.yaml.

Hydra's own source has a file for each config; this one reads all recipes of a data set from one file.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from collapsar.foundations.settings import config_folder, recipes

GROUP = "recipe"
SAME_AS = {"tiny": "small"}  # sizes whose recipes are those of another size


class RecipeSearchPath(SearchPathPlugin):
    """Lets Hydra look for recipes in our files."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("collapsar", f"{RecipeSource.scheme()}://{config_folder()}")


class RecipeSource(ConfigSource):
    """The recipes in `conf/recipe`: their keys go to the top of the config, and their path sets `size`."""

    @staticmethod
    def scheme() -> str:
        return "recipes"

    def load_config(self, config_path: str) -> ConfigResult:
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found: {config_path}")
        _, data, size, model = config_path.split("/")
        content = OmegaConf.create({"size": size, **recipes(data)[SAME_AS.get(size, size)][model]})
        return ConfigResult(self.provider, self.full_path(), content, header={"package": "_global_"})

    def available(self) -> bool:
        return config_folder().is_dir()

    def is_group(self, config_path: str) -> bool:
        return config_path == GROUP

    def is_config(self, config_path: str) -> bool:
        group, _, name = config_path.partition("/")
        data, size, model = name.split("/") if name.count("/") == 2 else ("", "", "")
        return group == GROUP and model in recipes(data).get(SAME_AS.get(size, size), {})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        if config_path != GROUP or results_filter == ObjectType.GROUP:
            return []
        files = sorted(path.stem for path in (config_folder() / GROUP).glob("*.yaml"))
        return [f"{name}/{size}/{model}" for name in files for size in recipes(name) for model in recipes(name)[size]]
