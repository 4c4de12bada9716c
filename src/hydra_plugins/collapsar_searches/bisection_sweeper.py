"""Search for the smallest value of a setting at which chains are good enough; the page draws the curve."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from collapsar.errors import UsageError, check_not_negative
from collapsar.jobs.bisection import Bracket, Goal, bisect
from hydra_plugins.collapsar_searches.search import Search

SEARCH = "search.json"  # in the folder of the multirun, for the page

logger = logging.getLogger(__name__)


class BisectionSweeper(Search):
    """Halves an interval; chosen by `hydra/sweeper: bisection` in an experiment."""

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
        """Set what is searched for.

        Args:
            setting: The key of a number; larger values make chains better.
            low: Its smallest value.
            high: Its largest value.
            at_least: The smallest objective, averaged over seeds, that is good enough; null if `at_most` is set.
            at_most: The largest objective that is good enough; null if `at_least` is set.
            num_steps: Halvings after both ends were tried.
            seeds: Seeds of the chains at each value, in the syntax of a sweep.
        """
        super().__init__(seeds=seeds)
        check_not_negative(**{"hydra.sweeper.num_steps": num_steps})
        self.setting, self.low, self.high, self.num_steps = setting, low, high, num_steps
        self.goal = Goal(at_least=at_least, at_most=at_most)

    def search(self) -> None:
        objective = self.config.objective
        if not isinstance(objective, str):
            raise UsageError(
                f"this sweeper needs one objective that tells good chains from bad ones, as in objective=final/recall: "
                f"got {objective}"
            )
        if any(override.partition("=")[0].lstrip("+") == self.setting for override in self.typed):
            raise UsageError(f"{self.setting} is what is searched for: set hydra.sweeper.low and hydra.sweeper.high")
        search = {
            "setting": self.setting,
            "objective": objective,
            "at_least": self.goal.at_least,
            "at_most": self.goal.at_most,
        }
        (Path(self.config.hydra.sweep.dir) / SEARCH).write_text(json.dumps(search))
        found = bisect(self._measure, low=self.low, high=self.high, goal=self.goal, num_steps=self.num_steps)
        logger.info("%s", self._in_words(found))

    def _measure(self, values: Sequence[float]) -> list[float]:
        measured: list[float] = self.objectives([[f"{self.setting}={value}"] for value in values])
        for value, found in zip(values, measured, strict=True):
            is_met = "good enough" if self.goal.is_met(found) else "not good enough"
            logger.info("%s=%s: %s %.3g, %s", self.setting, value, self.config.objective, found, is_met)
        return measured

    def _in_words(self, found: Bracket) -> str:
        match found:
            case Bracket(low=None):
                return f"{self.setting}={self.low} is good enough already"
            case Bracket(high=None):
                return f"not even {self.setting}={self.high} is good enough"
            case _:
                return f"chains become good enough between {self.setting}={found.low} and {found.high}"
