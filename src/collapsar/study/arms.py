"""Arms: the chains whose settings differ only in the seed, each with the name that was stored with its chains.

Chains of earlier versions have no names: their arms are named by the settings that differ from those of the baseline
or, without one, from those of the other arms. The baseline has nothing switched on: it is the arm for which least was
chosen; among equals the one with the fewest settings; among equals the one that differs least from the others; among
equals the one under `replace`. If several are left, as in a sweep over the values of one number, there is no baseline.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from collapsar.foundations.chosen import FRONT, SEPARATOR, setting_text
from collapsar.foundations.errors import printable
from collapsar.foundations.settings import arm_settings, flatten
from collapsar.study.chains import Chain

NAMED_PARTS = (*FRONT, "regime")
MIN_OTHERS = 2  # arms beside the baseline; with one there is nothing to rank
PLAIN_REGIME = ("regime._target_", "Replace")
LEADING = {"size": "small", "model.body": None}  # batch and budget follow from these; the value if one is absent


@dataclass(frozen=True, kw_only=True, repr=False)
class Arm:
    """Chains that differ only in the seed."""

    chains: tuple[Chain, ...]  # in the order of their seeds
    name: str = ""  # its name, such as "replace, lever=sgd", which no other arm of the study has
    is_baseline: bool = False  # whether it is the arm of its family with nothing switched on
    distinctions: dict[str, Any] = field(default_factory=dict)  # from other arms, by part or dotted key; None if absent

    def __repr__(self) -> str:
        seeds = ", ".join(str(chain.seed) for chain in self.chains)
        return f"Arm({self.name!r}, seeds {seeds}, up to generation {self.horizon})"

    @cached_property
    def family(self) -> tuple[str, str]:
        """Its data and its model; arms of one family are compared with each other."""
        return part_name(self.chains, "data"), part_name(self.chains, "model")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that its chains share, by dotted key."""
        return arm_settings(self.chains[0].config)

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
        outcomes = (chain for chain in self.distinct if chain.has_outcome)
        return tuple(chain for chain in outcomes if chain.ending or chain.last_generation == self.horizon)

    @cached_property
    def left_out(self) -> tuple[Chain, ...]:
        """The distinct chains that are still open, or that requested fewer generations."""
        return tuple(chain for chain in self.distinct if chain not in self.counted)

    @cached_property
    def carried(self) -> tuple[Chain, ...]:
        """The counted chains whose last values are carried on to the horizon."""
        return tuple(chain for chain in self.counted if chain.last_generation < self.horizon)


def group_arms(chains: Sequence[Chain]) -> list[Arm]:
    """The arms, sorted by what sets them apart: numbers by size, other values in the order of their first chains."""
    groups: dict[str, list[Chain]] = {}
    for chain in chains:
        groups.setdefault(json.dumps(arm_settings(chain.config), sort_keys=True, default=str), []).append(chain)
    arms = [Arm(chains=tuple(sorted(group, key=lambda chain: chain.seed))) for group in groups.values()]
    arms = [replace(arm, distinctions=own) for arm, own in zip(arms, _distinctions(arms), strict=True)]
    baselines = {}
    for own in by_family(arms):
        found = find_baseline([arm.settings for arm in own], names=[_stored_name(arm) for arm in own])
        if found is not None:
            baselines[own[0].family] = own[found]
    named = [
        replace(arm, name=_name(arm, baseline=base), is_baseline=arm is base)
        for arm in arms
        for base in [baselines.get(arm.family)]
    ]
    arms = _made_unique(named)
    orders = {key: in_order([arm.distinctions[key] for arm in arms]) for arm in arms[:1] for key in arm.distinctions}
    return sorted(arms, key=lambda arm: [orders[key].index(value) for key, value in arm.distinctions.items()])


def by_family(arms: Sequence[Arm]) -> list[list[Arm]]:
    """The arms of each family, in the order of its first arm."""
    found: dict[tuple[str, str], list[Arm]] = {}
    for arm in arms:
        found.setdefault(arm.family, []).append(arm)
    return list(found.values())


def num_choices_apart(one: Arm, other: Arm) -> int:
    """In how many choices two arms differ, without settings that one arm lacks: these follow from other choices."""
    pairs = [(value, other.distinctions[key]) for key, value in one.distinctions.items()]
    return sum(first != second and first is not None and second is not None for first, second in pairs)


def part_name(chains: Sequence[Chain], part: str) -> str:
    """The name of a part in the records; before there are any, its name or class in the config."""
    for chain in chains:
        if chain.records:
            return str(getattr(chain.records[0], part))
    content = chains[0].config.get(part)
    if not isinstance(content, Mapping):
        return str(content)
    return str(content.get("name") or str(content.get("_target_", part)).rsplit(".", 1)[-1].lower())


def _distinctions(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """For each arm, the parts and settings that tell the arms apart, without those that follow from earlier ones."""
    columns: dict[str, list[Any]] = {part: [part_name(arm.chains, part) for arm in arms] for part in NAMED_PARTS}
    flat = [flatten(arm.chains[0].config) for arm in arms]
    columns |= {key: [config.get(key, absent) for config in flat] for key, absent in LEADING.items()}
    keys = dict.fromkeys(key for arm in arms for key in arm.settings)
    columns |= {key: [arm.settings.get(key) for arm in arms] for key in keys if key not in LEADING}
    chosen: dict[str, list[Any]] = {}
    known = [""] * len(arms)
    for key, values in columns.items():
        refined = [f"{before}|{value}" for before, value in zip(known, values, strict=True)]
        if len(set(refined)) > len(set(known)):
            chosen[key], known = values, refined
    return [{key: values[index] for key, values in chosen.items()} for index in range(len(arms))]


def _stored_name(arm: Arm) -> str:
    return next((chain.chosen.arm for chain in arm.chains if chain.chosen), "")


def _name(arm: Arm, *, baseline: Arm | None) -> str:
    """The stored name or, without one, the settings that set the arm apart from a baseline or the other arms."""
    if stored := _stored_name(arm):
        return stored
    regime = part_name(arm.chains, "regime")
    if baseline is None:
        present = {key: value for key, value in arm.distinctions.items() if value is not None}
        front = [str(present.pop(part)) for part in NAMED_PARTS if part in present]
        return SEPARATOR.join([*front, *_texts(present)]) or f"{arm.family[1]}, {regime}"
    apart = [key for key in differing_keys(arm.settings, baseline.settings) if key != "regime._target_"]
    front = [str(arm.distinctions[part]) for part in FRONT if part in arm.distinctions]
    return SEPARATOR.join([*front, regime, *(setting_text(key, arm.settings.get(key)) for key in apart)])


def _made_unique(arms: Sequence[Arm]) -> list[Arm]:
    """The arms; names that several studies gave to different arms are completed by what differs."""
    names = [arm.name for arm in arms]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [index for index, arm in enumerate(arms) if arm.name == name]
        for index, own in zip(alike, _distinctions([arms[index] for index in alike]), strict=True):
            front = [own.pop(part) for part in FRONT if part in own]
            names[index] = SEPARATOR.join([*front, name, *_texts(own)])
    counts = [1 + names[:index].count(name) for index, name in enumerate(names)]
    names = [f"{name} ({count})" if count > 1 else name for name, count in zip(names, counts, strict=True)]
    return [replace(arm, name=printable(name)) for arm, name in zip(arms, names, strict=True)]


def _texts(distinctions: Mapping[str, Any]) -> list[str]:
    return [setting_text(key, value) for key, value in distinctions.items() if value is not None]


def in_order(values: Sequence[Any]) -> list[Any]:
    """Distinct values: sorted if they are numbers, else as they come."""
    distinct = [value for index, value in enumerate(values) if value not in values[:index]]
    return sorted(distinct) if all(isinstance(value, int | float) for value in distinct) else distinct


def find_baseline(arms: Sequence[Mapping[str, Any]], *, names: Sequence[str] = ()) -> int | None:
    """The index of the baseline among arms of one model, given their settings by dotted key; None if there is none.

    Names tell what was chosen for an arm; without one for each arm, settings alone decide.
    """
    if len(arms) <= MIN_OTHERS:
        return None
    chosen = [name.count(SEPARATOR) for name in names] if names and all(names) else [0] * len(arms)
    distances = [sum(len(differing_keys(own, other)) for other in arms) for own in arms]
    key, plain = PLAIN_REGIME
    each = zip(chosen, arms, distances, strict=True)
    ranks = [(num_chosen, len(own), far, own.get(key) != plain) for num_chosen, own, far in each]
    first = min(ranks)
    return ranks.index(first) if ranks.count(first) == 1 else None


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The settings that differ: those of the first arm before those that only the second has."""
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key) != other.get(key)]
