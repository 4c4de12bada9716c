"""A search by Optuna: it suggests trials, we run them, and it gets their objectives.

Its suggestions follow from the seed, the number of the trial and the objectives of earlier trials, and finished chains
are read again. So a search that was stopped loses no trial, whether trials are kept in memory or in a storage.
"""

import importlib.util
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from collapsar.errors import UsageError, check_positive
from hydra_plugins.collapsar_searches.search import Search

logger = logging.getLogger(__name__)


class OptunaSweeper(Search):
    """Optuna's TPE; `conf/hydra/sweeper/optuna.yaml` explains the settings."""

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
        self.params, self.num_trials, self.num_at_once = dict(params or {}), n_trials, n_jobs
        self.seed, self.storage, self.study_name = seed, storage, study_name

    def search(self) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = search_space([*(f"{key}={value}" for key, value in self.params.items()), *self._take_choices()])
        study = optuna.create_study(
            directions=self.directions, storage=self.storage, study_name=self.study_name, load_if_exists=True
        )
        while (left := self.num_trials - sum(trial.state.is_finished() for trial in study.trials)) > 0:
            trials = self._next(study, space, count=min(left, self.num_at_once))
            measured = self.objectives([[f"{key}={value}" for key, value in trial.params.items()] for trial in trials])
            for trial, found in zip(trials, measured, strict=True):
                values = found if isinstance(found, list) else [found]
                study.tell(trial.number, values)
                logger.info("trial %d of %d: %s: %s", trial.number + 1, self.num_trials, trial.params, values)
        for best in study.best_trials:
            logger.info("best: trial %d, %s: %s", best.number + 1, best.params, best.values)

    def _take_choices(self) -> list[str]:
        """Move the typed sweeps, except one over seeds, from the overrides to the search space."""
        typed = OverridesParser.create().parse_overrides(self.typed)
        choices = [one for one in typed if one.is_sweep_override() and one.get_key_element() != "seed"]
        self.typed = [str(one.input_line) for one in typed if one not in choices]
        return [str(one.input_line) for one in choices]

    def _next(self, study: Any, space: Mapping[str, Any], *, count: int) -> list[Any]:
        """Trials that were begun and not finished, then new ones."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        from collapsar.seeding import derive_seed

        trials = list(study.get_trials(states=[TrialState.RUNNING]))[:count]
        while len(trials) < count:
            # Each trial has a new sampler: one with a history would suggest something else after a restart.
            study.sampler = TPESampler(seed=derive_seed(self.seed, len(study.trials), "search") % 2**32)
            trials.append(study.ask(dict(space)))
        return trials


def search_space(params: Sequence[str]) -> dict[str, Any]:
    """Optuna's distribution of each parameter; refuses no parameters, or a value that is not a choice."""
    if not params:
        raise UsageError(
            "there is nothing to search: say what may be chosen, as in 'regime.real_fraction=interval(0,0.5)', or in "
            "hydra.sweeper.params"
        )
    overrides = OverridesParser.create().parse_overrides(list(params))
    return {override.get_key_element(): distribution(override) for override in overrides}


def distribution(override: Override) -> Any:
    """Optuna's distribution of one parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        start, end, is_log = value.start, value.end, "log" in value.tags  # tag(log, interval(1e-4, 1e-1))
        assert start is not None, "Hydra's grammar wants both ends"
        assert end is not None
        if isinstance(start, int) and isinstance(end, int):
            return IntDistribution(start, end, log=is_log)
        return FloatDistribution(start, end, log=is_log)
    if override.is_sweep_override():
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    raise UsageError(
        f"hydra.sweeper.params.{override.key_or_group} must be a choice, such as interval(0.0,0.5), a,b or range(1,9): "
        f"got {override.get_value_element_as_str()}"
    )
