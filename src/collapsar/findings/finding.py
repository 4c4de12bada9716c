"""A finding: a published claim, the chains that test it, and the regions that decide, as `conf/finding` states it.

A statistic is reproduced if its interval lies inside `reproduced`, and contradicted if inside a region of
`contradicted`; the gap between them is the smallest effect that matters.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from hydra.errors import HydraException
from omegaconf import OmegaConf
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from collapsar.config.command_line import parse
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import config_folder, digest
from collapsar.jobs.failures import did_you_mean
from collapsar.judging.metric_keys import find_metric, load_cases

PARAMETER = "parameter/"  # followed by the name of a fitted parameter and an index into its last axis
PARAMETER_KEY = re.compile(rf"{PARAMETER}\w+(/\d+)?")
LAW = "law"
LONGER = ("slope", "relative_slope", "area", "rmst", "kendall")  # reductions of two generations or more


@dataclass(frozen=True, kw_only=True)
class Region:
    """A closed interval; its ends may be infinite."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"a region is [lowest, highest], null for no end: got {self}")

    def __str__(self) -> str:
        return f"[{self.low:g}, {self.high:g}]".replace("inf", "∞").replace("-", "−")

    def holds(self, low: float, high: float) -> bool:
        return self.low <= low and high <= self.high


def key_of(override: str) -> str:
    """The key that an override sets."""
    return override.partition("=")[0].lstrip("+~")


def _region(content: Any) -> Any:
    if not isinstance(content, list) or len(content) != 2:
        raise ValueError(f"a region is [lowest, highest], null for no end: got {content!r}")
    low, high = content
    return {"low": -math.inf if low is None else low, "high": math.inf if high is None else high}


def _metric(key: str) -> str:
    load_cases()
    if not PARAMETER_KEY.fullmatch(key) and find_metric(key) is None:
        raise ValueError(f"there is no metric {key!r}")
    return key


def _generations(content: Any) -> Any:
    ends = content if isinstance(content, list) else [content] * 2
    if len(ends) != 2 or not all(type(end) is int for end in ends) or not 0 <= ends[0] <= ends[1]:
        raise ValueError(f"generations must be one, or the first and the last: got {content!r}")
    return ends


def _override(text: str) -> str:
    try:
        is_single = not parse(text).is_sweep_override() and "=" in text[1:]
    except HydraException:
        is_single = False
    if not is_single or text.split() != [text] or key_of(text) in ("seed", "name") or key_of(text).startswith("hydra"):
        what = "an override is KEY=VALUE of one value, without spaces, and not of seed, name or hydra"
        raise ValueError(f"{what}: got {text!r}")
    return text


def _set_twice(overrides: Sequence[str]) -> list[str]:
    keys = [key_of(each) for each in overrides]
    return [key for key in dict.fromkeys(keys) if keys.count(key) > 1]


Override = Annotated[str, AfterValidator(_override)]
MetricName = Annotated[str, AfterValidator(_metric)]
Bounds = Annotated[Region, BeforeValidator(_region)]
Seeds = Annotated[int, Field(ge=2)]
Generations = Annotated[tuple[int, int], BeforeValidator(_generations)]
Reduction = Literal["mean", "last", "slope", "relative_slope", "area", "ratio_to_first", "rmst", "kendall", "argmin"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Statistic(_Part):
    """One number of a chain, and what it says."""

    name: str
    metric: MetricName  # a key of the records, a fitted parameter's `fitted/...`, or `parameter/NAME/INDEX`
    generations: Generations
    arm: str | None = None  # the arm that is measured; None for `argmin`, which takes all arms that set `over`
    minus: str | None = None  # the arm whose number of the same seed is subtracted
    other: MetricName | None = None  # whose order `kendall` compares with
    over: str | None = None  # the setting whose value `argmin` returns
    reduce: Reduction = "mean"
    expected: float | Literal["law"] | None = None  # the law's value (`law`) or a number; None: the regions decide
    reproduced: Bounds | None = None
    contradicted: tuple[Bounds, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Statistic":
        for key, reduce in (("other", "kendall"), ("over", "argmin")):
            if (getattr(self, key) is None) == (self.reduce == reduce):
                raise ValueError(f"{self.name}: {key} goes with reduce: {reduce}, and only with it")
        if self.reduce in LONGER and self.generations[0] == self.generations[1]:
            raise ValueError(f"{self.name}: reduce: {self.reduce} needs two generations: got {self.generations[0]}")
        if (self.arm is None) != (self.reduce == "argmin") or (self.minus and self.minus == self.arm):
            raise ValueError(f"{self.name}: it needs an arm, and minus another one or none; argmin takes no arm")
        if (self.expected is None) == (self.reproduced is None) or (self.expected is not None and self.contradicted):
            raise ValueError(f"{self.name}: either expected decides, or reproduced and contradicted do")
        if isinstance(self.expected, float) and not (self.expected and math.isfinite(self.expected)):
            raise ValueError(f"{self.name}: expected must be law, or a finite number that is not 0")
        for no in self.contradicted:
            yes = self.reproduced
            if yes and yes.low <= no.high and no.low <= yes.high:
                raise ValueError(f"{self.name}: reproduced and contradicted overlap: {yes} and {no}")
        if self.minus and any(own and own.holds(0.0, 0.0) for own in (self.reproduced, *self.contradicted)):
            raise ValueError(f"{self.name}: 0, which is no difference, must lie in the gap between the regions")
        return self


class Control(_Part):
    """The finding with further overrides, and the verdict that it must then get."""

    overrides: Annotated[tuple[Override, ...], Field(min_length=1)]
    expect: Literal["reproduced", "contradicted", "undecided"]


class Scope(_Part):
    """What the chains are, and what they do not show."""

    data: str
    family: str
    does_not_show: str


class Finding(_Part):
    """A claim as a contract; `protocol` rises with every change of meaning."""

    name: str
    protocol: Annotated[int, Field(ge=1)]
    tier: Literal["exact", "same_setting", "analogue"]
    row: Annotated[int, Field(ge=1)]
    source: str
    claim: str
    scope: Scope
    track: Literal["cpu", "gpu"]
    command: tuple[Override, ...]
    arms: Annotated[dict[str, tuple[Override, ...]], Field(min_length=1)]
    statistics: Annotated[tuple[Statistic, ...], Field(min_length=1)]
    looks: Annotated[tuple[Seeds, ...], Field(min_length=1)] = (5, 10, 20)
    controls: tuple[Control, ...] = ()

    @property
    def folder_name(self) -> str:
        """Its folder below the output; another protocol has another one."""
        return f"{self.name}_v{self.protocol}"

    def settings_of(self, arm: str) -> Mapping[str, str]:
        """What an arm's overrides set, as text, by key."""
        return {key_of(each): each.partition("=")[2] for each in (*self.command, *self.arms[arm])}

    @property
    def hash(self) -> str:
        """Eight characters that change with anything that the finding says."""
        return digest({"finding": self.model_dump_json()})

    @model_validator(mode="after")
    def _check(self) -> "Finding":
        if [*self.looks] != sorted(set(self.looks)):
            raise ValueError(f"looks must rise: got {[*self.looks]}")
        twice = [key for own in self.arms.values() for key in _set_twice((*self.command, *own))]
        if twice or len(set(self.arms.values())) < len(self.arms):
            got = ", ".join(twice) or "equal arms"
            raise ValueError(f"arms must differ, set no key twice, and set no key that command sets: got {got}")
        for each in self.controls:
            if twice := [key for own in self.arms.values() for key in _set_twice((*each.overrides, *own))]:
                raise ValueError(f"controls must set no key twice, and none that an arm sets: got {twice[0]}")
        if len({own.name for own in self.statistics}) < len(self.statistics):
            raise ValueError("each statistic needs a name of its own")
        for own in self.statistics:
            for arm in (own.arm, own.minus):
                if arm is not None and arm not in self.arms:
                    raise ValueError(f"{own.name}: there is no arm {arm!r}: there are {', '.join(self.arms)}")
            for arm in filter(None, (own.arm, own.minus)) if own.arm else self.arms:
                settings = self.settings_of(arm)
                if (length := settings.get("num_generations", "")).isdigit() and own.generations[1] >= int(length):
                    problem = f"generations must be below num_generations={length} of arm {arm}"
                    raise ValueError(f"{own.name}: {problem}: got {own.generations[1]}")
                set_to = settings.get(str(own.over), "0")
                if type(parse(f"over={set_to}").value()).__name__ not in ("int", "float"):
                    problem = f"over needs a number in each arm, and arm {arm} sets {own.over}={set_to}"
                    raise ValueError(f"{own.name}: {problem}")
            if own.expected is not None and self.tier != "exact":
                raise ValueError(f"{own.name}: expected needs tier: exact: got {self.tier}")
        return self


def load_findings(names: Sequence[str] = (), *, track: str | None = None) -> list[Finding]:
    """The findings of these names, or all of a track, by row; UsageError if there is no such finding."""
    folder = config_folder() / "finding"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    for name in names:
        if name not in known:
            raise UsageError(f"there is no finding {name!r}: {did_you_mean(name, known)}there are {', '.join(known)}")
    found = [load_finding(folder / f"{name}.yaml") for name in dict.fromkeys(names or known)]
    chosen = [each for each in found if names or track in (None, each.track)]
    return sorted(chosen, key=lambda each: (each.row, each.name))


def load_finding(path: Path) -> Finding:
    """The finding that a YAML file states; UsageError for an unknown or missing key, or a value that is not allowed."""
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8-sig")))  # refuses a key twice
        return Finding.model_validate({**content, "name": path.stem} if isinstance(content, dict) else content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path.name} is not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        text = "no such key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path.name}: {f'{place}: ' if place else ''}{text}") from error
