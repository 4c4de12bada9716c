"""Sweepers that choose the next chains by earlier objectives: a bisection, and Optuna. A trial is a chain of each seed.

Finished chains of a trial are read again at once, so the same command continues a search that was stopped.
"""

import importlib.util
import json
import logging
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from collapsar.foundations.errors import UsageError, check_not_negative, check_positive
from collapsar.jobs.multirun import arm_jobs

SEARCH = "search.json"  # of a bisection, in the folder of the multirun, for the page

logger = logging.getLogger(__name__)


class FailedTrialError(Exception):
    """A job of a trial failed; the reason is already noted."""


class Search(Sweeper):
    """A sweeper whose trials depend on earlier trials."""

    launcher: Launcher
    hydra_context: HydraContext
    config: DictConfig

    def __init__(self, *, seeds: str) -> None:
        self.seeds = seeds
        self.num_jobs = 0  # launched so far

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search to the end, or until a job fails: the reason is printed at the end, and the same command continues."""
        self.typed = list(arguments)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        with suppress(FailedTrialError):
            self.search()

    @abstractmethod
    def search(self) -> None:
        """Run trials one after another, or several at once."""

    def objectives(self, trials: Sequence[Sequence[str]]) -> list[list[float]]:
        """The mean over seeds of each objective of each trial, which is given by its overrides.

        The typed overrides may change the seeds, but not the values of a trial. A job that fails is a FailedTrialError.
        """
        jobs = arm_jobs([""], params=[f"seed={self.seeds}"], typed=self.typed, loader=self.hydra_context.config_loader)
        of_all = [[*job, *overrides] for overrides in trials for job in jobs]
        returned = self.launcher.launch(of_all, initial_job_idx=self.num_jobs)
        self.num_jobs += len(of_all)
        found = [job.return_value for job in returned]
        if None in found:
            raise FailedTrialError
        rows = [value if isinstance(value, Sequence) else [value] for value in found]
        trials_of_rows = [rows[first : first + len(jobs)] for first in range(0, len(rows), len(jobs))]
        return [[fmean(values) for values in zip(*own, strict=True)] for own in trials_of_rows]


class BisectionSweeper(Search):
    """Finds the smallest good enough value of a setting; `conf/hydra/sweeper/bisection.yaml` explains the arguments."""

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
        if (at_least is None) == (at_most is None):
            needed = "one of at_least and at_most, which the objective must reach"
            raise UsageError(f"hydra.sweeper needs {needed}: got at_least={at_least} and at_most={at_most}")
        self.setting, self.low, self.high, self.num_steps = setting, low, high, num_steps
        self.bounds = {"at_least": at_least, "at_most": at_most}
        self.lowest = -math.inf if at_least is None else at_least
        self.highest = math.inf if at_most is None else at_most

    def search(self) -> None:
        objective = self.config.objective
        if not isinstance(objective, str):
            needed = "one objective that tells good chains from bad ones, as in objective=final/recall"
            raise UsageError(f"this sweeper needs {needed}: got {objective}")
        if any(override.partition("=")[0].lstrip("+") == self.setting for override in self.typed):
            raise UsageError(f"{self.setting} is what is searched for: set hydra.sweeper.low and hydra.sweeper.high")
        content = json.dumps({"setting": self.setting, "objective": objective, **self.bounds})
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
        measured = [found for (found,) in self.objectives([[f"{self.setting}={value}"] for value in values])]
        are_met = [self.lowest <= found <= self.highest for found in measured]
        for value, found, is_met in zip(values, measured, are_met, strict=True):
            verdict = "good enough" if is_met else "not good enough"
            logger.info("%s=%s: %s %.3g, %s", self.setting, value, self.config.objective, found, verdict)
        return are_met


class OptunaSweeper(Search):
    """Optuna's TPE suggests trials, and gets their objectives; `conf/hydra/sweeper/optuna.yaml` explains the settings.

    Suggestions follow from the seed, the number of the trial and the objectives of earlier trials. So a search that was
    stopped loses no trial, whether trials are kept in memory or in a storage.
    """

    def __init__(
        self,
        *,
        direction: str | Sequence[str],
        params: Mapping[str, str] | None,
        n_trials: int,
        n_jobs: int,
        seed: int,
        seeds: str,
        storage: str | None,
        study_name: str,
    ) -> None:
        super().__init__(seeds=seeds)
        check_positive(**{"hydra.sweeper.n_trials": n_trials, "hydra.sweeper.n_jobs": n_jobs})
        if importlib.util.find_spec("optuna") is None:
            raise UsageError("hydra/sweeper=optuna needs optuna: pip install 'collapsar[optuna]'")
        self.directions: list[Any] = [direction] if isinstance(direction, str) else list(direction)
        self.params, self.num_trials, self.num_at_once = params or {}, n_trials, n_jobs
        self.seed, self.storage, self.study_name = seed, storage, study_name

    def search(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        typed = OverridesParser.create().parse_overrides(self.typed)
        swept = [one for one in typed if one.is_sweep_override() and one.get_key_element() != "seed"]
        self.typed = [str(one.input_line) for one in typed if one not in swept]  # what is swept goes to the space
        given = [f"{key}={value}" for key, value in self.params.items()]
        space = search_space([*given, *(str(one.input_line) for one in swept)])
        study = optuna.create_study(
            directions=self.directions, storage=self.storage, study_name=self.study_name, load_if_exists=True
        )
        while (left := self.num_trials - sum(trial.state.is_finished() for trial in study.trials)) > 0:
            trials = self._next(study, space, count=min(left, self.num_at_once))
            measured = self.objectives([[f"{key}={value}" for key, value in trial.params.items()] for trial in trials])
            for trial, found in zip(trials, measured, strict=True):
                study.tell(trial.number, found)
                logger.info("trial %d of %d: %s: %s", trial.number + 1, self.num_trials, trial.params, found)
        for best in study.best_trials:
            logger.info("best: trial %d, %s: %s", best.number + 1, best.params, best.values)

    def _next(self, study: Any, space: dict[str, Any], *, count: int) -> list[Any]:
        """Trials that were begun and not finished, then new ones."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        from collapsar.foundations.seeding import derive_seed

        trials = list(study.get_trials(states=[TrialState.RUNNING]))[:count]
        while len(trials) < count:
            # Each trial has a new sampler: one with a history would suggest something else after a restart.
            study.sampler = TPESampler(seed=derive_seed(self.seed, len(study.trials), "search") % 2**32)
            trials.append(study.ask(space))
        return trials


def search_space(params: Sequence[str]) -> dict[str, Any]:
    """Optuna's distribution of each parameter; refuses no parameters, or a value that is not a choice."""
    if not params:
        places = "as in 'regime.real_fraction=interval(0,0.5)', or in hydra.sweeper.params"
        raise UsageError(f"there is nothing to search: say what may be chosen, {places}")
    overrides = OverridesParser.create().parse_overrides(list(params))
    return {override.get_key_element(): distribution(override) for override in overrides}


def distribution(override: Override) -> Any:
    """Optuna's distribution of one parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        ends: tuple[Any, Any] = (value.start, value.end)  # Hydra's grammar wants both
        is_whole = all(isinstance(end, int) for end in ends)
        kind = IntDistribution if is_whole else FloatDistribution
        return kind(*ends, log="log" in value.tags)  # as in tag(log, interval(1e-4, 1e-1))
    if override.is_sweep_override():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    problem = f"hydra.sweeper.params.{override.key_or_group} must be a choice"
    got = override.get_value_element_as_str()
    raise UsageError(f"{problem}, such as interval(0.0,0.5), a,b or range(1,9): got {got}")
