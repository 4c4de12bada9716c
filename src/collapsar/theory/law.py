"""A law, and the settings of an analytic chain as laws read them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from collapsar.foundations.settings import OURS, class_name
from collapsar.theory.formulas import nearest

Curve: TypeAlias = Callable[[int], float]


@dataclass(frozen=True)
class Law:
    """What is expected of a fitted parameter of a chain."""

    key: str  # the fitted parameter
    symbol: str  # the expectation, as `collapsar-verify` names it
    formula: str  # in one line
    source: str
    at: Curve  # the expected value at a generation, which has been fitted t + 1 times
    kind: Literal["exact", "lower bound", "approximation"] = "exact"


class AnalyticChain:
    """The settings of a chain as the laws read them."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config, self.regime = config, own_class(config["regime"])
        self.n = int(config["data"]["num_train"])  # real samples
        number = self.n if config["num_synthetic"] is None else config["num_synthetic"]
        self.num_synthetic = number if isinstance(number, int) else 0  # in each generation; 0 if it changes
        self.spread = float(config["bias"]["spread"])  # lambda of the sampling bias; 1 without bias
        self.is_even = self.num_synthetic == self.n and self.spread == 1  # as many synthetic as real, without bias

    @property
    def fresh_sizes(self) -> dict[str, int] | None:
        """Sizes of pools of fresh real samples, if any, and the last generation's; None under another regime."""
        share = {"Replace": 0, "FreshReal": self.config["regime"].get("fresh_fraction")}.get(self.regime)
        num_fresh = self.counted(share)
        if not self.lasts(num_fresh) or self.num_synthetic < max(num_fresh, 1):
            return None
        return {"num_real": self.n, "num_samples": self.num_synthetic, "num_fresh": num_fresh}

    @property
    def real_share(self) -> float | None:
        """The share of real samples in each pool after the first; None if it changes."""
        settings = self.config["regime"]
        if (sizes := self.fresh_sizes) is not None:
            return sizes["num_fresh"] / sizes["num_samples"]
        if self.regime == "FixedReal" and (drawn := self.counted(settings["synthetic_ratio"])) >= 0:
            return self.n / (self.n + drawn)
        if self.regime == "Mix" and self.is_even and (real := self.counted(settings["real_fraction"])) >= 0:
            return real / self.n
        return None

    def counted(self, share: Any) -> int:
        """A constant share of the real samples' number, as a number of samples; -1 if it is none."""
        return nearest(share * self.n) if isinstance(share, int | float) and share <= 1 else -1

    def lasts(self, num_fresh: int) -> bool:
        """Whether there are so many fresh real samples for each pool."""
        num_needed = num_fresh * (int(self.config["num_generations"]) - 1)
        return num_fresh >= 0 and num_needed <= self.config["data"]["num_reserve"]


def own_class(node: Any) -> str:
    """A part's class name without its module; empty for a class that is not ours, which may do anything."""
    target = str(node.get("_target_", "")) if isinstance(node, Mapping) else ""
    return class_name(target) if target.startswith(OURS) else ""
