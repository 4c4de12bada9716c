"""What sets an arm apart from its baseline, in the words of the files in `conf` that a user chooses from.

An arm's resolved settings do not name their files. But if a lever, a cause or a correction sets those that differ, its
name says more: "early stopping", not six keys. Settings that no file explains are written as they are typed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from collapsar.records.settings import class_name, config_folder, flatten, recipes, whole_recipe, with_class_names
from collapsar.study.baselines import differing_keys

WHOLE_GROUPS = ("cause", "lever")  # a file explains an arm only if the arm has all its settings
PART_GROUPS = ("regime", "bias", "correction", "selection")  # a file of the arm's class explains equal settings
PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
BODY = "model.body"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A file of a group in `conf`, and its settings by dotted key; an interpolation may become any value."""

    group: str
    words: str
    settings: dict[str, Any]

    def explained(self, settings: Mapping[str, Any], keys: list[str]) -> list[str]:
        """Which of these keys of an arm it explains; none if the arm cannot have been made with this file."""
        alike = [key for key, value in self.settings.items() if key in settings and _is_same(settings[key], value)]
        is_whole = len(alike) == len(self.settings)
        is_of_class = f"{self.group}._target_" in alike
        return [key for key in keys if key in alike] if is_whole or is_of_class else []


def difference_words(settings: Mapping[str, Any], *, baseline: Mapping[str, Any], recipe: str) -> str:
    """What sets an arm apart from the baseline.

    Args:
        settings: The arm's settings, by dotted key.
        baseline: The baseline's settings.
        recipe: `DATA_MODEL`, the start of a body's recipe name. Sizes that come with the body need no words.
    """
    left = [key for key in differing_keys(settings, baseline) if key in settings]
    words = []
    if BODY in left:
        words.append(f"{settings[BODY]} body")
        followed = _recipe(f"{recipe}_{settings[BODY]}")
        left = [key for key in left if key != BODY and not (key in followed and _is_same(settings[key], followed[key]))]
    while found := _best(settings, left):
        words.append(found.words)
        explained = found.explained(settings, left)
        left = [key for key in left if key not in explained]
    words += [setting_text(key, settings[key]) for key in left]
    gone = [key for key in baseline if key not in settings and not _part_changed(key, settings, baseline)]
    return ", ".join(words + [f"without {key.rpartition('.')[2]}" for key in gone])


def setting_text(key: str, value: Any) -> str:
    """A setting as it is typed: its last key; a class of ours as a group option, any other class by its path."""
    part, _, leaf = key.rpartition(".")
    if leaf != "_target_":
        return f"{leaf}={value}"
    name = class_name(value)
    typed = name if "." in name else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    return f"{part.rpartition('.')[2]}={typed}"


def _part_changed(key: str, settings: Mapping[str, Any], baseline: Mapping[str, Any]) -> bool:
    """Whether a setting is gone because the class of its part, or the body, has changed."""
    target = f"{key.partition('.')[0]}._target_"
    return settings.get(target) != baseline.get(target) or settings.get(BODY) != baseline.get(BODY)


def _best(settings: Mapping[str, Any], keys: list[str]) -> Choice | None:
    """The file that explains most of the keys; among equals, the one with the fewest settings."""
    counts = [(len(choice.explained(settings, keys)), -len(choice.settings), choice) for choice in _choices()]
    best = max(counts, key=lambda found: found[:2], default=None)
    return best[2] if best and best[0] else None


@cache
def _choices() -> tuple[Choice, ...]:
    found = [
        Choice(group=group, words=path.stem.replace("_", " "), settings=_settings_of(path, group=group))
        for group in (*WHOLE_GROUPS, *PART_GROUPS)
        for path in sorted((config_folder() / group).glob("*.yaml"))
        if path.stem != "none"
    ]
    return tuple(choice for choice in found if choice.settings)


@cache
def _recipe(name: str) -> dict[str, Any]:
    """The settings of the small recipe of `DATA_MODEL`; empty if there is none."""
    for path in (config_folder() / "recipe").glob("*.yaml"):
        if recipe := recipes(path.stem).get("small", {}).get(name.removeprefix(f"{path.stem}_")):
            return whole_recipe(recipe)
    return {}


def _settings_of(path: Path, *, group: str) -> dict[str, Any]:
    """The non-empty settings of a file by dotted key, including those of the files in its defaults."""
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text) or {}
    own: dict[str, Any] = {}
    for base in _bases(content.pop("defaults", [])):
        own |= _settings_of(config_folder() / base if "/" in base else path.with_name(base), group=group)
    package = found[1] if (found := PACKAGE.search(text)) else group
    flat = flatten(content, prefix="" if package == "_global_" else f"{package}.")
    own |= {key: with_class_names(_number(value), key=key) for key, value in flat.items()}
    return {key: value for key, value in own.items() if value not in (None, [], {})}


def _bases(defaults: list[Any]) -> Iterator[str]:
    """The files in a file's defaults, relative to its folder or, if they contain a slash, to the top of `conf`."""
    yield from (f"{entry.lstrip('/')}.yaml" for entry in defaults if isinstance(entry, str) and entry != "_self_")


def _number(value: Any) -> Any:
    """Text such as 1e-3, which YAML 1.1 does not read as a number, as the number that OmegaConf makes of it."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value) else value


def _is_same(value: Any, written: Any) -> bool:
    return value == written or (isinstance(written, str) and "${" in written)
