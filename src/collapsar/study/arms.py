"""Arms: the chains whose settings differ only in the seed, each named by what sets it apart from the other arms.

If one of three or more arms of a model is the baseline, the arms are named by how they differ from it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from collapsar.errors import printable
from collapsar.records.settings import SEEDS, binding_settings, flatten
from collapsar.study.baselines import find_baseline
from collapsar.study.chains import Chain
from collapsar.study.difference_words import difference_words, setting_text

NAMED_PARTS = ("data", "model", "regime")
LEADING = {"size": "small", "model.body": None}  # batch and budget follow from these; the value if one is absent


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Chains that differ only in the seed.

    Attributes:
        name: What sets it apart from the other arms, such as "vae, replace".
        choices: The same as values, by part or dotted key; None if a key is absent from this arm.
        settings: The settings its chains share, by dotted key.
        chains: In the order of their seeds.
    """

    name: str
    choices: dict[str, Any]
    settings: dict[str, Any]
    chains: tuple[Chain, ...]

    @cached_property
    def distinct(self) -> tuple[Chain, ...]:
        """One chain for each seed, the longest: a seed that ran twice is one observation, not two."""
        longest: dict[int, Chain] = {}
        for chain in self.chains:
            if chain.seed not in longest or len(chain.records) > len(longest[chain.seed].records):
                longest[chain.seed] = chain
        return tuple(longest[seed] for seed in sorted(longest))

    @cached_property
    def horizon(self) -> int:
        """The generation that means end at: the last one reached or, if no chain is open, the last one requested."""
        reached = max(chain.last_generation for chain in self.distinct)
        is_open = any(chain.is_open for chain in self.distinct)
        asked = 0 if is_open else max(chain.num_generations for chain in self.distinct) - 1
        return max(reached, asked, 0)

    @cached_property
    def counted(self) -> tuple[Chain, ...]:
        """The distinct chains that means, verdicts and effects use: those that reached the horizon or ended before it.

        A chain that its alarm stopped or whose numbers broke down is an outcome, and its last values are carried on.
        Without such chains the collapsed ones would be left out.
        """
        return tuple(
            chain
            for chain in self.distinct
            if chain.has_outcome and (chain.ending or chain.last_generation == self.horizon)
        )

    @cached_property
    def left_out(self) -> tuple[Chain, ...]:
        """The distinct chains that are still open, or that requested fewer generations."""
        counted = self.counted
        return tuple(chain for chain in self.distinct if chain not in counted)

    @cached_property
    def carried(self) -> tuple[Chain, ...]:
        """The counted chains whose last values are carried on to the horizon."""
        return tuple(chain for chain in self.counted if chain.last_generation < self.horizon)


def group_arms(chains: Sequence[Chain]) -> list[Arm]:
    """The arms, sorted by what sets them apart: numbers by size, other values in the order of their first chains."""
    groups: dict[str, list[Chain]] = {}
    for chain in chains:
        groups.setdefault(json.dumps(settings_of(chain.config), sort_keys=True, default=str), []).append(chain)
    members = [sorted(group, key=lambda chain: chain.seed) for group in groups.values()]
    settings = [settings_of(group[0].config) for group in members]
    choices = _choices(members, settings)
    arms = [
        Arm(name=printable(name), choices=own, settings=shared, chains=tuple(group))
        for name, own, shared, group in zip(_names(choices, settings, members), choices, settings, members, strict=True)
    ]
    orders = {key: _order([own[key] for own in choices]) for key in choices[0]} if choices else {}
    return sorted(arms, key=lambda arm: [orders[key].index(value) for key, value in arm.choices.items()])


def num_choices_apart(one: Arm, other: Arm) -> int:
    """In how many choices two arms differ, without settings that one arm lacks: these follow from other choices."""
    pairs = [(value, other.choices[key]) for key, value in one.choices.items()]
    return sum(first != second and first is not None and second is not None for first, second in pairs)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that bind a chain, by dotted key, without its seed."""
    return {key: value for key, value in binding_settings(config).items() if key not in SEEDS}


def differing_settings(arms: Sequence[Arm]) -> dict[str, list[Any]]:
    """For each setting that differs between the arms, its value in each of them; None if it is absent."""
    keys = list(dict.fromkeys(key for arm in arms for key in arm.settings))
    columns = {key: [arm.settings.get(key) for arm in arms] for key in keys}
    return {key: values for key, values in columns.items() if any(value != values[0] for value in values)}


def part_name(chains: Sequence[Chain], part: str) -> str:
    """The name of a part in the records; before there are any, its name or class in the config."""
    for chain in chains:
        if chain.records:
            return str(getattr(chain.records[0], part))
    content = chains[0].config.get(part)
    if not isinstance(content, Mapping):
        return str(content)
    return str(content.get("name") or str(content.get("_target_", part)).rsplit(".", 1)[-1].lower())


def _choices(members: Sequence[Sequence[Chain]], settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each arm, the parts and settings that tell the arms apart, without those that follow from earlier ones."""
    columns: dict[str, list[Any]] = {part: [part_name(group, part) for group in members] for part in NAMED_PARTS}
    flat = [flatten(group[0].config) for group in members]
    columns |= {key: [config.get(key, absent) for config in flat] for key, absent in LEADING.items()}
    keys = dict.fromkeys(key for shared in settings for key in shared)
    columns |= {key: [shared.get(key) for shared in settings] for key in keys if key not in LEADING}
    chosen: dict[str, list[Any]] = {}
    known = [""] * len(members)
    for key, values in columns.items():
        refined = [f"{before}|{value}" for before, value in zip(known, values, strict=True)]
        if len(set(refined)) > len(set(known)):
            chosen[key], known = values, refined
    return [{key: values[index] for key, values in chosen.items()} for index in range(len(members))]


def _names(
    choices: Sequence[Mapping[str, Any]], settings: Sequence[dict[str, Any]], members: Sequence[Sequence[Chain]]
) -> list[str]:
    """The name of each arm: beside a baseline, its differences from that; else what tells the arms apart."""
    names = [_name(own, group) for own, group in zip(choices, members, strict=True)]
    for arms in indices_by_model(members):
        found = find_baseline([settings[index] for index in arms])
        if found is None:
            continue
        baseline = settings[arms[found]]
        for index in arms:
            data, model, regime = (part_name(members[index], part) for part in NAMED_PARTS)
            words = difference_words(settings[index], baseline=baseline, recipe=f"{data}_{model}") or regime
            of_model = [str(choices[index][part]) for part in ("data", "model") if part in choices[index]]
            names[index] = ", ".join([*of_model, words])
    return names


def indices_by_model(members: Sequence[Sequence[Chain]]) -> list[list[int]]:
    """The indices of arms that share their data and their model, in the order of their first arms."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, chains in enumerate(members):
        found.setdefault((part_name(chains, "data"), part_name(chains, "model")), []).append(index)
    return list(found.values())


def _name(choices: Mapping[str, Any], chains: Sequence[Chain]) -> str:
    present = {key: value for key, value in choices.items() if value is not None}
    if not present:
        return ", ".join(part_name(chains, part) for part in ("model", "regime"))
    return ", ".join(str(value) if key in NAMED_PARTS else setting_text(key, value) for key, value in present.items())


def _order(values: Sequence[Any]) -> list[Any]:
    """Distinct values: sorted if they are numbers, else in their order."""
    distinct = [value for index, value in enumerate(values) if value not in values[:index]]
    return sorted(distinct) if all(isinstance(value, int | float) for value in distinct) else distinct
