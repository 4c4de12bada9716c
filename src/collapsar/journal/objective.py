"""The objective: the number that a finished chain returns to a sweeper, named in the config.

`final/KEY` is a metric of the last generation, `profile/KEY` a number of the chain's profile. A chain whose numbers
broke down returns the worst value of a metric, so that no search prefers it for its earlier values.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from collapsar.foundations.errors import UsageError
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import flatten
from collapsar.judging.metric_keys import METRICS, SUFFIXES, find_metric, groups_of, keys_of, metric_keys, split_key

PLACES = ("final", "profile")
PROFILE_NUMBERS = (
    *("num_generations", "recall_half_life", "variance_half_life", "first_dead_generation"),
    *("fid_growth.slope", "fid_growth.low", "fid_growth.high", "fid_growth.num_points"),
)  # dotted keys in `Profile`, which takes too long to import here
EVENTS = {
    "recall_half_life": ("recall",),
    "variance_half_life": ("pca/trace_ratio", "trace_ratio"),
    "first_dead_generation": ("classes_dropped",),
}
"""Numbers of generations until an event, and the metrics that would show it.

If the event did not happen, the number is infinite, or the last generation of a chain that the alarm stopped.
"""

PARTS_OF_TABLES = ("column", "group")  # prefixes of the name of a column or of a group of rows
NEEDS_FACTORS = re.compile(r"_(common|uncommon|rare)$|^combinations_|^levels_dropped$|^factor_share_|_where_")

Objective = str | list[str] | None


def check_objective(objective: Any, evaluation: Any = None) -> None:
    """Refuse what is not null, `final/KEY`, `profile/KEY`, or a list of these keys that the evaluation can measure.

    Whatever the data: `Measured.check` knows them. Settings of a wrong type are left to the checks of parts.
    """
    if objective is None:
        return
    for key in objective if isinstance(objective, list) and objective else [objective]:
        place, _, name = key.partition("/") if isinstance(key, str) else ("", "", "")
        if place not in PLACES or not name:
            allowed = "null, final/KEY for a metric of the last generation, profile/KEY for a number of the profile"
            raise UsageError(f"objective must be {allowed}, or a list of these: got {key!r}")
    settings = evaluation if isinstance(evaluation, dict) else {}
    groups, spaces, table = (settings.get(key) for key in ("metrics", "spaces", "table"))
    if isinstance(groups, list) and isinstance(spaces, dict):
        of_table = table.get("metrics") or [] if isinstance(table, dict) else []
        batch_groups = settings.get("batch_metrics") or []
        Measured(groups=[*groups, *of_table], batch_groups=batch_groups, spaces=list(spaces)).check(objective)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a chain will measure, according to its settings."""

    groups: Sequence[str]  # of metrics
    batch_groups: Sequence[str]  # whose values have an interval
    spaces: Sequence[str]  # feature spaces whose names stand before a key
    has_factors: bool = True  # whether the data are drawn from known factors

    def check(self, objective: Objective) -> None:
        """Raise UsageError, with what there will be, for an objective that no chain with these settings has."""
        known = metric_keys()  # loads the case studies, whose groups METRICS then holds
        if objective is None or not METRICS.keys() >= set(self.groups):  # keys of a group from outside are unknown
            return
        for key in keys_in(objective):
            if self.has(key):
                continue
            place = key.partition("/")[0]
            names = {name for group in self.groups for name in keys_of(group) if "{" not in name}
            numbers = PROFILE_NUMBERS if place == "profile" else [name for name in known if name in names]
            there = [each for each in (f"{place}/{number}" for number in numbers) if self.has(each)]
            close = get_close_matches(key, there, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise UsageError(f"objective={key} is not measured: {hint}this chain has {', '.join(there)}")

    def has(self, key: str) -> bool:
        """Whether a finished chain may have this number."""
        place, _, name = key.partition("/")
        if place == "final":
            return self._has_metric(name)
        shown_by = EVENTS.get(name, ()) if name != "variance_half_life" else ()  # analytic models know their variance
        return name in PROFILE_NUMBERS and (not shown_by or any(map(self._has_metric, shown_by)))

    def _has_metric(self, key: str) -> bool:
        parts, groups = split_key(key), groups_of(key, among=self.groups)
        if NEEDS_FACTORS.search(parts.name) and not self.has_factors:
            return False
        if parts.suffix in ("_low", "_high"):
            groups = [group for group in groups if group in self.batch_groups]
        if parts.space.partition("/")[0] in PARTS_OF_TABLES:
            return any(group.startswith("table_") for group in groups)
        if parts.space:
            return parts.space in self.spaces and any(not METRICS[group].of_first_space for group in groups)
        return bool(groups)


def read_objective(
    objective: Objective, *, records: Sequence[GenerationRecord], profile: Mapping[str, Any]
) -> float | tuple[float, ...] | None:
    """A number, one for each key of a list, or None without an objective; UsageError for what the chain lacks."""
    if objective is None:
        return None
    numbers = numbers_of(records, profile=profile)
    if profile.get("ending") == "broke down":
        numbers |= {key: worst for key in keys_in(objective) if (worst := worst_final(key)) is not None}
    for key in keys_in(objective):
        if key not in numbers:
            measured = [known for known in sorted(numbers) if not known.endswith(SUFFIXES)]
            raise UsageError(f"objective={key} was not measured: this chain has {', '.join(measured)}")
    return numbers[objective] if isinstance(objective, str) else tuple(numbers[key] for key in objective)


def keys_in(objective: str | list[str]) -> list[str]:
    """The keys of an objective that is not null."""
    return [objective] if isinstance(objective, str) else objective


def numbers_of(records: Sequence[GenerationRecord], *, profile: Mapping[str, Any]) -> dict[str, float]:
    """All numbers of a chain that can be an objective, by key; `EVENTS` that did not happen have the worst value."""
    numbers: dict[str, Any] = {}
    for record in records[-1:]:
        numbers |= {f"final/{key}": value for key, value in record.metrics.items()}
        never = [key for key, metrics in EVENTS.items() if any(metric in record.metrics for metric in metrics)]
        lasted = record.generation if profile.get("ending") == "stopped" else math.inf
        numbers |= {f"profile/{key}": lasted for key in never}
        num_classes = sum(share > 0 for share in record.class_shares.get("real", ()))
        if 1 < num_classes <= len(profile.get("missing_classes", ())) + 1:
            numbers["profile/first_dead_generation"] = 0  # dead from the start: generation 0 has no class left to lose
    described = {key: value for key, value in profile.items() if key != "findings"}  # answers, not numbers
    numbers |= {f"profile/{key}": value for key, value in flatten(described).items() if isinstance(value, int | float)}
    return {key: float(value) for key, value in numbers.items()}


def worst_final(key: str) -> float | None:
    """The worst value that a metric can have, by a key such as final/recall; None if neither way is worse."""
    metric = find_metric(key.removeprefix("final/")) if key.startswith("final/") else None
    return metric.worst if metric else None
