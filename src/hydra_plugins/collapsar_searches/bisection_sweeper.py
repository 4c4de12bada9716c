"""Search for the smallest value of a setting at which chains are good enough; the page draws the curve."""

import json
import logging
from pathlib import Path

from collapsar.errors import UsageError, check_not_negative
from hydra_plugins.collapsar_searches.search import Search

SEARCH = "search.json"  # in the folder of the multirun, for the page

logger = logging.getLogger(__name__)


class BisectionSweeper(Search):
    """Halves an interval; `conf/hydra/sweeper/bisection.yaml` explains the settings."""

    def __init__(
        self,
        *,
        setting: str,
        low: float,
        high: float,
        at_least: float | None,
        at_most: float | None,
        num_steps: int,
        seeds: str,
    ) -> None:
        super().__init__(seeds=seeds)
        check_not_negative(**{"hydra.sweeper.num_steps": num_steps})
        self.setting, self.low, self.high, self.num_steps = setting, low, high, num_steps
        self.at_least, self.at_most = at_least, at_most
        if (at_least is None) == (at_most is None):
            raise UsageError(
                "hydra.sweeper needs one of at_least and at_most, which the objective must reach: "
                f"got at_least={at_least} and at_most={at_most}"
            )

    def search(self) -> None:
        objective = self.config.objective
        if not isinstance(objective, str):
            raise UsageError(
                "this sweeper needs one objective that tells good chains from bad ones, as in objective=final/recall: "
                f"got {objective}"
            )
        if any(override.partition("=")[0].lstrip("+") == self.setting for override in self.typed):
            raise UsageError(f"{self.setting} is what is searched for: set hydra.sweeper.low and hydra.sweeper.high")
        bounds = {"at_least": self.at_least, "at_most": self.at_most}
        content = json.dumps({"setting": self.setting, "objective": objective, **bounds})
        (Path(self.config.hydra.sweep.dir) / SEARCH).write_text(content)
        match self.bisect():
            case None, _:
                logger.info("%s=%s is good enough already", self.setting, self.low)
            case _, None:
                logger.info("not even %s=%s is good enough", self.setting, self.high)
            case low, high:
                logger.info("chains become good enough between %s=%s and %s", self.setting, low, high)

    def bisect(self) -> tuple[float | None, float | None]:
        """The two values between which chains become good enough: the last one that is not, and the first one that is.

        Both ends are measured, then the interval is halved `num_steps` times. The first value is None if the smallest
        is good enough already, the second if none is.
        """
        low, high = self.low, self.high
        if not low < high:
            raise UsageError(f"hydra.sweeper.low must be below hydra.sweeper.high: got {low} and {high}")
        is_low_met, is_high_met = self._are_met(low, high)
        if is_low_met:
            return None, low
        if not is_high_met:
            return high, None
        for _ in range(self.num_steps):
            middle = (low + high) / 2
            low, high = (low, middle) if all(self._are_met(middle)) else (middle, high)
        return low, high

    def _are_met(self, *values: float) -> list[bool]:
        """Whether the chains with each of these values, which run at once, are good enough."""
        measured: list[float] = self.objectives([[f"{self.setting}={value}"] for value in values])
        if self.at_least is not None:
            are_met = [found >= self.at_least for found in measured]
        else:
            are_met = [found <= (self.at_most or 0.0) for found in measured]
        for value, found, is_met in zip(values, measured, are_met, strict=True):
            verdict = "good enough" if is_met else "not good enough"
            logger.info("%s=%s: %s %.3g, %s", self.setting, value, self.config.objective, found, verdict)
        return are_met
