"""What was chosen for a chain, and the name of its arm: its regime and each other choice, as in `replace, lever=sgd`.

It is stored with a chain when the chain starts. Folder, terminal, W&B, page and exports show this one name.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from collapsar.foundations.errors import printable
from collapsar.foundations.settings import class_name, flatten

CHOICES = "choices.json"
FRONT = ("data", "model")  # their choices stand before the regime, without a key
MAX_IN_FOLDER = 60  # characters of an arm in the name of its folder; the digest tells longer ones apart
SEPARATOR = ", "


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What was chosen for a chain, as `choices.json` in its run folder stores it."""

    arm: str  # its name
    choices: dict[str, Any]  # by group or dotted key: the files of groups, and what was typed
    settings: str  # a digest of the arm's settings, which are the same for all seeds


def read_chosen(folder: Path) -> Chosen | None:
    """What was chosen for the chain of a run folder; None if it was made by an earlier version."""
    try:
        content = json.loads((folder / CHOICES).read_text(encoding="utf-8"))
        arm, choices = printable(str(content["arm"])), dict(content["choices"])
        return Chosen(arm=arm, choices=choices, settings=str(content["settings"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chosen_in(folders: Iterable[Path]) -> list[Chosen]:
    """What was chosen in these run folders, read from one of those that differ in the seed alone."""
    found: dict[str, Chosen] = {}
    for folder in folders:
        name = folder.name.rpartition("_seed")[0]
        if name not in found and (chosen := read_chosen(folder)):
            found[name] = chosen
    return list(found.values())


def arm_name(named: Mapping[str, Any], *, regime: str) -> str:
    """The name of an arm: the regime with these other choices, which are given by group or dotted key."""
    rest = sorted((key for key in named if key not in (*FRONT, "regime")), key=lambda key: ("." in key, key))
    front = [value_text(named[part]) for part in FRONT if part in named]
    return SEPARATOR.join([*front, regime, *(setting_text(key, named[key]) for key in rest)])


def told_apart(chosen: Chosen, known: Sequence[Chosen], *, settings: Mapping[str, Any]) -> Chosen:
    """The same choices, with a name that no other arm of the study has; an arm that is known keeps its name.

    `settings` of the chain are its values of what was chosen for another chain only.
    """
    for other in known:
        if other.settings == chosen.settings:
            return replace(chosen, arm=other.arm)
    names = {other.arm: other.choices for other in known}
    name = chosen.arm
    if name in names:
        mine, theirs, flat = chosen.choices, names[name], flatten(settings)
        values = {key: mine.get(key, flat.get(key)) for key in sorted({*mine, *theirs})}
        apart = [setting_text(key, value) for key, value in values.items() if theirs.get(key) != value]
        name = SEPARATOR.join([name, *apart])
    numbered = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return replace(chosen, arm=next(each for each in numbered if each not in names))


def in_folder_name(arm: str, *, without: Iterable[str]) -> str:
    """The name of an arm as a part of a file's name, without the words that stand there already; may be empty."""
    kept = "_".join(word for word in arm.split(SEPARATOR) if word not in without)
    return re.sub(r"[^\w.]+", "-", kept, flags=re.ASCII)[:MAX_IN_FOLDER].strip("-_.")


def setting_text(key: str, value: Any) -> str:
    """A setting as it is typed, but a class of ours as a group option."""
    part, _, leaf = key.rpartition(".")
    if leaf == "_target_" and part:
        name = class_name(value)
        return f"{part}={name if '.' in name else re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name).lower()}"
    return f"{key}={value_text(value)}"


def value_text(value: Any) -> str:
    """A value as it is typed, with + between the items of a list."""
    if isinstance(value, list | tuple):
        return "+".join(map(value_text, value)) or "none"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
