"""A finding: a published claim, the chains that test it, and the regions that decide, as `conf/finding` states it.

A statistic is reproduced if its interval lies inside `reproduced`, and contradicted if inside a region of
`contradicted`; the gap between them is the smallest effect that matters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml  # type: ignore[import-untyped]
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import config_folder, digest
from collapsar.jobs.failures import did_you_mean
from collapsar.judging.metric_keys import find_metric, load_cases

PARAMETER = "parameter/"  # followed by the name of a fitted parameter and an index into its last axis
LAW = "law"


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
        return content
    low, high = content
    return {"low": -math.inf if low is None else low, "high": math.inf if high is None else high}


def _metric(key: str) -> str:
    load_cases()
    if not key.startswith(PARAMETER) and find_metric(key) is None:
        raise ValueError(f"there is no metric {key!r}")
    return key


def _override(text: str) -> str:
    if "=" not in text or " " in text or key_of(text) in ("seed", "name") or text.startswith("hydra"):
        raise ValueError(f"an override is KEY=VALUE without spaces, and not of seed, name or hydra: got {text!r}")
    return text


Override = Annotated[str, AfterValidator(_override)]
MetricName = Annotated[str, AfterValidator(_metric)]
Bounds = Annotated[Region, BeforeValidator(_region)]
Seeds = Annotated[int, Field(ge=2)]
Generations = Annotated[tuple[int, int], BeforeValidator(lambda own: [own, own] if isinstance(own, int) else own)]
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
        if not 0 <= self.generations[0] <= self.generations[1]:
            raise ValueError(f"generations must be one, or the first and the last: got {self.generations}")
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

    overrides: tuple[Override, ...]
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

    @property
    def hash(self) -> str:
        """Eight characters that change with anything that the finding says."""
        return digest({"finding": self.model_dump_json()})

    @model_validator(mode="after")
    def _check(self) -> "Finding":
        if [*self.looks] != sorted(set(self.looks)):
            raise ValueError(f"looks must rise: got {[*self.looks]}")
        shared = {key_of(each) for each in self.command}
        twice = [key for own in self.arms.values() for each in own if (key := key_of(each)) in shared]
        if twice or len(set(self.arms.values())) < len(self.arms):
            got = ", ".join(twice) or "equal arms"
            raise ValueError(f"arms must differ, and set no key that command sets: got {got}")
        if len({own.name for own in self.statistics}) < len(self.statistics):
            raise ValueError("each statistic needs a name of its own")
        for own in self.statistics:
            for arm in (own.arm, own.minus):
                if arm is not None and arm not in self.arms:
                    raise ValueError(f"{own.name}: there is no arm {arm!r}: there are {', '.join(self.arms)}")
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
    found = [load_finding(folder / f"{name}.yaml") for name in names or known]
    chosen = [each for each in found if names or track in (None, each.track)]
    return sorted(chosen, key=lambda each: (each.row, each.name))


def load_finding(path: Path) -> Finding:
    """The finding that a YAML file states; UsageError for an unknown or missing key, or a value that is not allowed."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Finding.model_validate({**content, "name": path.stem} if isinstance(content, dict) else content)
    except yaml.YAMLError as error:
        raise UsageError(f"{path.name} is not YAML: {str(error).splitlines()[0]}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        text = "no such key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path.name}: {f'{place}: ' if place else ''}{text}") from error
