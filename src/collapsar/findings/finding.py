"""A finding: a published claim, the chains that test it, and the regions that decide, as `conf/finding` states it.

A statistic is reproduced if its interval lies inside `reproduced`, and contradicted if inside a region of
`contradicted`; the gap between them is the smallest effect that matters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from collapsar.errors import UsageError
from collapsar.jobs.failures import did_you_mean
from collapsar.judging.metric_keys import load_cases
from collapsar.judging.metric_lookup import find_metric
from collapsar.records.settings import config_folder, digest

TIERS = ("exact", "same_setting", "analogue")
TRACKS = ("cpu", "gpu")
REDUCTIONS = ("mean", "last", "slope", "relative_slope", "area", "ratio_to_first", "rmst", "kendall", "argmin")
VERDICTS = ("reproduced", "contradicted", "undecided")
SCOPE = ("data", "family", "does_not_show")
LOOKS = (5, 10, 20)
PARAMETER = "parameter/"  # followed by the name of a fitted parameter and an index into its last axis
LAW = "law"


@dataclass(frozen=True, kw_only=True)
class Region:
    """A closed interval; its ends may be infinite."""

    low: float
    high: float

    def holds(self, low: float, high: float) -> bool:
        """Whether an interval lies inside."""
        return self.low <= low and high <= self.high

    def meets(self, other: "Region") -> bool:
        """Whether the two share a point."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, kw_only=True)
class Statistic:
    """One number of a chain, and what it says.

    Attributes:
        metric: A key of the records, a fitted parameter's `fitted/...`, or `parameter/NAME/INDEX`.
        arm: Whose chains; None for `argmin`, which takes all arms that set `over`.
        minus: The arm whose number of the same seed is subtracted.
        other: The metric whose order `kendall` compares with.
        over: The setting whose value `argmin` returns.
        generations: The first and last generation.
        expected: The law's value (`law`) or a number; None: the regions decide.
    """

    name: str
    metric: str
    generations: tuple[int, int]
    arm: str | None = None
    minus: str | None = None
    other: str | None = None
    over: str | None = None
    reduce: str = "mean"
    expected: float | str | None = None
    reproduced: Region | None = None
    contradicted: tuple[Region, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """The finding with further overrides, and the verdict that it must then get."""

    overrides: tuple[str, ...]
    expect: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A claim as a contract; `protocol` rises with every change of meaning."""

    name: str
    protocol: int
    tier: str
    row: int
    source: str
    claim: str
    scope: Mapping[str, str]
    track: str
    command: tuple[str, ...]
    arms: Mapping[str, tuple[str, ...]]
    statistics: tuple[Statistic, ...]
    looks: tuple[int, ...] = LOOKS
    controls: tuple[Control, ...] = ()

    @property
    def folder_name(self) -> str:
        """Its folder below the output; another protocol has another one."""
        return f"{self.name}_v{self.protocol}"

    @property
    def hash(self) -> str:
        """Eight characters that change with anything that the finding says."""
        return digest({"finding": repr(asdict(self))})


def load_finding(path: Path) -> Finding:
    """The finding that a YAML file states.

    Raises:
        UsageError: a key is unknown or missing, a value is not allowed, or regions overlap.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return make_finding(path.stem, content)
    except yaml.YAMLError as error:
        raise UsageError(f"{path.name} is not YAML: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error


def load_findings(names: Sequence[str] = (), *, track: str | None = None, folder: Path | None = None) -> list[Finding]:
    """The findings of these names, or all of a track, by row; UsageError if there is no such finding."""
    folder = folder or config_folder() / "finding"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no finding {name!r}: {did_you_mean(name, known)}there are {', '.join(known)}")
    found = [load_finding(folder / f"{name}.yaml") for name in names or known]
    return sorted(
        (each for each in found if names or track in (None, each.track)), key=lambda each: (each.row, each.name)
    )


def make_finding(name: str, content: Any) -> Finding:
    """The finding that this content of a YAML file states; raises UsageError as `load_finding` does."""
    given = _keys("the finding", content, Finding, without=("name",))
    arms = _mapping("arms", given["arms"])
    given |= {
        "arms": {str(arm): _overrides(f"arms.{arm}", own) for arm, own in arms.items()},
        "command": _overrides("command", given["command"]),
        "scope": {key: str(text) for key, text in _mapping("scope", given["scope"]).items()},
        "statistics": tuple(_statistic(own, arms=[*map(str, arms)]) for own in _list("statistics", given["statistics"])),
        "looks": tuple(_list("looks", given.get("looks", LOOKS))),
        "controls": tuple(_control(own) for own in _list("controls", given.get("controls", ()))),
    }
    finding = Finding(name=name, **given)
    _one_of("tier", finding.tier, TIERS)
    _one_of("track", finding.track, TRACKS)
    for key in ("protocol", "row"):
        if type(given[key]) is not int or given[key] < 1:
            raise UsageError(f"{key} must be a whole number from 1 on: got {given[key]!r}")
    if sorted(finding.scope) != sorted(SCOPE):
        raise UsageError(f"scope has the keys {', '.join(SCOPE)}: got {', '.join(finding.scope) or 'none'}")
    if not finding.looks or any(type(look) is not int or look < 2 for look in finding.looks):
        raise UsageError(f"looks must be whole numbers from 2 on: got {list(finding.looks)}")
    if [*finding.looks] != sorted(set(finding.looks)):
        raise UsageError(f"looks must rise: got {list(finding.looks)}")
    for each in (*finding.command, *(override for own in finding.arms.values() for override in own)):
        if each.startswith(("seed=", "hydra", "name=")):
            raise UsageError(f"the board sets seed, name and hydra itself: got {each}")
    if len({own for own in finding.arms.values()}) < len(finding.arms):
        raise UsageError("arms must differ in their overrides")
    if not finding.statistics or len({own.name for own in finding.statistics}) < len(finding.statistics):
        raise UsageError("statistics must name at least one, each with a name of its own")
    if finding.tier != "exact" and any(own.expected is not None for own in finding.statistics):
        raise UsageError(f"expected needs tier: exact: got {finding.tier}")
    return finding


def _statistic(content: Any, *, arms: Sequence[str]) -> Statistic:
    given = _keys("a statistic", content, Statistic)
    name, metrics = given["name"], [given["metric"], *([given["other"]] if given.get("other") else [])]
    where = f"statistic {name!r}"
    load_cases()
    for metric in metrics:
        if not str(metric).startswith(PARAMETER) and find_metric(str(metric)) is None:
            raise UsageError(f"{where}: there is no metric {metric!r}")
    first, *rest = _list(f"{where}: generations", given["generations"])
    last = rest[-1] if rest else first
    if len(rest) > 1 or not all(type(each) is int for each in (first, last)) or not 0 <= first <= last:
        raise UsageError(f"{where}: generations must be one, or the first and the last: got {given['generations']!r}")
    given["generations"] = (first, last)
    given["reproduced"] = None if given.get("reproduced") is None else _region(where, given["reproduced"])
    given["contradicted"] = tuple(_region(where, own) for own in given.get("contradicted") or ())
    made = Statistic(**given)
    _one_of(f"{where}: reduce", made.reduce, REDUCTIONS)
    for key, value in (("other", made.other), ("over", made.over)):
        if (value is None) == (made.reduce == {"other": "kendall", "over": "argmin"}[key]):
            raise UsageError(f"{where}: {key} goes with reduce: {'kendall' if key == 'other' else 'argmin'}, and only so")
    for arm in (made.arm, made.minus):
        if arm is not None:
            _one_of(f"{where}: arm", arm, arms)
    if (made.arm is None) != (made.reduce == "argmin") or (made.minus is not None and made.minus == made.arm):
        raise UsageError(f"{where}: it needs an arm, minus another one or none; argmin takes no arm")
    _check_decision(where, made)
    return made


def _check_decision(where: str, made: Statistic) -> None:
    """Refuse a statistic that nothing or two things decide, and regions that overlap or hold the lack of an effect."""
    expected = made.expected
    if (expected is None) == (made.reproduced is None and not made.contradicted):
        raise UsageError(f"{where}: either expected decides, or reproduced and contradicted do")
    if expected is None and made.reproduced is None:
        raise UsageError(f"{where}: reproduced is missing")
    if isinstance(expected, str) and expected != LAW:
        raise UsageError(f"{where}: expected must be law, a number or null: got {expected!r}")
    if not isinstance(expected, str | None) and (isinstance(expected, bool) or not math.isfinite(expected) or not expected):
        raise UsageError(f"{where}: expected must be finite and not 0: got {expected!r}")
    for region in made.contradicted:
        if made.reproduced is not None and region.meets(made.reproduced):
            shown = [[own.low, own.high] for own in (made.reproduced, region)]
            raise UsageError(f"{where}: reproduced and contradicted overlap: got {shown[0]} and {shown[1]}")
    regions = [own for own in (made.reproduced, *made.contradicted) if own is not None]
    if made.minus is not None and any(own.holds(0.0, 0.0) for own in regions):
        raise UsageError(f"{where}: 0, which is no difference, must lie in the gap between the regions")


def _control(content: Any) -> Control:
    given = _keys("a control", content, Control)
    _one_of("expect", given["expect"], VERDICTS)
    return Control(overrides=_overrides("controls", given["overrides"]), expect=given["expect"])


def _keys(what: str, content: Any, of: type, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """The content as arguments of a class; UsageError for an unknown or a missing key."""
    given = _mapping(what, content)
    known = {field.name: field for field in fields(of) if field.name not in without}  # type: ignore[arg-type]
    for key in given:
        if key not in known:
            raise UsageError(f"{what} has no key {key!r}: {did_you_mean(str(key), [*known])}allowed: {', '.join(known)}")
    missing = [key for key, field in known.items() if field.default is MISSING and key not in given]
    if missing:
        raise UsageError(f"{what} lacks {', '.join(missing)}")
    return dict(given)


def _mapping(what: str, content: Any) -> Mapping[Any, Any]:
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"{what} must be a mapping: got {content!r}")
    return content


def _list(what: str, content: Any) -> Sequence[Any]:
    found = content if isinstance(content, list | tuple) else [content]
    if not found and what not in ("controls",):
        raise UsageError(f"{what} must not be empty")
    return found


def _overrides(what: str, content: Any) -> tuple[str, ...]:
    if not isinstance(content, list) or not all(isinstance(each, str) and "=" in each for each in content):
        raise UsageError(f"{what} must be a list of overrides KEY=VALUE: got {content!r}")
    if any(" " in each for each in content):
        raise UsageError(f"{what}: an override has no spaces: got {content!r}")
    return tuple(content)


def _region(where: str, content: Any) -> Region:
    if not isinstance(content, list) or len(content) != 2:
        raise UsageError(f"{where}: a region is [lowest, highest], null for no end: got {content!r}")
    low, high = (end if value is None else value for value, end in zip(content, (-math.inf, math.inf), strict=True))
    if not all(isinstance(end, int | float) and not math.isnan(end) for end in (low, high)) or low > high:
        raise UsageError(f"{where}: a region is [lowest, highest], null for no end: got {content!r}")
    return Region(low=float(low), high=float(high))


def _one_of(what: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UsageError(f"{what} must be one of {', '.join(allowed)}: got {value!r}")
