"""Settings as dotted keys, and the rule that decides which of them define a chain.

These binding settings name a chain's folder, must be equal when it is opened again, and separate the report's arms.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import file_is_whole

CONFIG = "config.yaml"  # of a run folder
FREE_SETTINGS = (
    *("name", "num_generations", "extend", "objective", "analysis", "share_generation_0", "tracking", "alarm"),
    *("data.root", "data.path"),  # data.checksum identifies a table
    *("evaluation.cache_folder", "continue_on_another_device", "wait_for_lock", "checkpoint_minutes", "dry_run"),
)
"""Settings that do not change what a generation is: a folder may be continued with other values."""

OURS = "collapsar."
NAMED_SINCE = {"lightning.Trainer": "Trainer"}
"""Classes of other libraries that bind by a short name: `conf` held them when this rule first named folders."""

SEEDS = ("seed", "data.seed")
"""Keys of a chain's seed: chains that differ only in these belong to one arm."""

AFTER_TRAINING_0 = ("num_synthetic", "regime", "bias", "correction", "selection", "judge", "labelled_by", "evaluation")
"""Settings that act only after a chain's first training: chains that differ only in these share that training."""

UNUSED_WHILE = {"judge": {"selection._target_": "KeepAll", "labelled_by": None}}
"""Parts whose settings do not count while other settings have these values."""

QUICK_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C, if libyaml is installed

INTRODUCED_AS = yaml.load((Path(__file__).parent / "introduced.yaml").read_text(encoding="utf-8"), QUICK_LOADER)
"""Settings added after this rule first named folders, with the value that leaves a chain unchanged."""


def config_folder() -> Path:
    """`conf`: inside an installed wheel, or at the top of a checkout."""
    installed = Path(str(files("collapsar"))) / "conf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "conf"


@cache
def recipes(data: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Content of `conf/recipe/DATA.yaml`, by size and model; empty if there is no such file.

    If the file says `by_side`, each setting is an interpolation that finds the recipe when the images are known.
    """
    content = _read("recipe", data)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in content.pop("by_side", {}):
        for size, models in recipes(name).items():
            for model, recipe in models.items():
                own = found.setdefault(size, {}).setdefault(model, {})
                for key in whole_recipe(recipe):
                    part, _, leaf = key.rpartition(".")
                    within = own.setdefault(part, {}) if part else own
                    within[leaf] = f"${{recipe_by_side:{key},{size},{model},${{data.sample_shape}}}}"
    return found | {size: recipes(own)[size] if isinstance(own, str) else own for size, own in content.items()}


def recipe_by_side(key: str, size: str, model: str, shape: Sequence[int]) -> Any:
    """A setting of the recipe for images [channels, height, width]; if it has none, the setting without a recipe."""
    bounds, side = _read("recipe", "images")["by_side"], max(shape[1:])
    data = next(name for name, most in bounds.items() if most is None or side <= most)
    if model not in recipes(data).get(size, {}):
        problem = f"size={size} has no recipe for model={model} and images of {side} pixels"
        raise UsageError(f"{problem}: set size=small, or data.image_size={bounds[data] + 1} or more")
    return (_without_recipe(model) | whole_recipe(recipes(data)[size][model]))[key]


@cache
def _without_recipe(model: str) -> dict[str, Any]:
    parts = {"training": _read("training", "default"), "trainer": _read("trainer", "default"), "model": {}}
    own = _read("model", model)
    for name in (*own.pop("defaults", []), "_self_"):
        parts["model"] |= own if name == "_self_" else _read("model", name)
    return flatten(_read(".", "config") | parts)


def _read(group: str, name: str) -> dict[str, Any]:
    path = config_folder() / group / f"{name}.yaml"
    return yaml.load(path.read_text(encoding="utf-8"), QUICK_LOADER) if path.is_file() else {}


def whole_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe by dotted key, including those of the recipes that it builds on."""
    whole: dict[str, Any] = {}
    for base in recipe.get("defaults", []):
        if base != "_self_":
            data, size, model = base.removeprefix("/recipe/").split("/")
            whole |= whole_recipe(recipes(data)[size][model])
    return whole | flatten({key: value for key, value in recipe.items() if key != "defaults"})


def flatten(config: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """A nested config as one level of dotted keys; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= flatten(value, prefix=f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def read_config(path: Path) -> dict[str, Any]:
    """The resolved configuration of a run folder, empty if the file holds none; UsageError if it is damaged."""
    text = path.read_text(encoding="utf-8", errors="replace")
    damaged = UsageError(f"{path} is damaged: delete it, and the command that made the chain writes it anew")
    if file_is_whole(text) is False:
        raise damaged
    try:
        config = yaml.load(text, QUICK_LOADER)
    except yaml.YAMLError as error:
        raise damaged from error
    return config if isinstance(config, dict) else {}


def is_free(key: str) -> bool:
    """Whether a dotted setting may change within a run folder."""
    return is_below(key, FREE_SETTINGS)


def is_below(key: str, parts: Iterable[str]) -> bool:
    """Whether a dotted key is one of these parts, or lies below one."""
    return any(key == part or key.startswith(f"{part}.") for part in parts)


def binding_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that define every generation of a chain, by dotted key.

    Left out are free settings, null or empty values (a choice that is switched off), settings of an unused part, and
    later settings with the value they were introduced with. A class of ours is given by its name alone, so that it may
    move to another module; any other class by its full path.
    """
    flat = {key: with_class_names(value, key=key) for key, value in flatten(config).items() if not is_free(key)}
    unused = [part for part, values in UNUSED_WHILE.items() if all(flat.get(key) == values[key] for key in values)]
    return {
        key: value
        for key, value in flat.items()
        if value not in (None, [], {})
        and not (key in INTRODUCED_AS and INTRODUCED_AS[key] == value)
        and not is_below(key, unused)
    }


def arm_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The binding settings without the seed: chains with equal ones are one arm."""
    return {key: value for key, value in binding_settings(config).items() if key not in SEEDS}


def first_training_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The binding settings that the training of generation 0 depends on."""
    return {key: value for key, value in binding_settings(config).items() if not is_below(key, AFTER_TRAINING_0)}


def with_class_names(value: Any, *, key: str) -> Any:
    """A value with each `_target_`, at its key or within its lists, replaced by its `class_name`."""
    if isinstance(value, Mapping):
        return {str(inner): with_class_names(content, key=str(inner)) for inner, content in value.items()}
    if isinstance(value, list):
        return [with_class_names(content, key="") for content in value]
    return class_name(value) if key.rpartition(".")[2] == "_target_" else value


def class_name(target: Any) -> str:
    """The name that a `_target_` binds by: the name of our class or function, the full path of any other."""
    path = str(target)
    return path.rpartition(".")[2] if path.startswith(OURS) else NAMED_SINCE.get(path, path)


def path_of_others(part: Any) -> list[str]:
    """The full path of a class or function that is not ours, whose name may equal one of ours; empty for ours."""
    path = f"{part.__module__}.{getattr(part, '__qualname__', type(part).__qualname__)}"
    return [] if path.startswith(OURS) else [path]


def digest(values: Mapping[str, Any]) -> str:
    """Eight characters; equal plain values give the same ones in any order."""
    return blake2b(yaml.safe_dump(dict(values)).encode(), digest_size=4).hexdigest()
