"""A search by Optuna loses no trial when it is stopped, and asks for the same trials as one that was not."""

from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from collapsar.foundations.errors import UsageError

optuna = pytest.importorskip("optuna", reason="optuna is not installed")

from hydra_plugins.collapsar_searches import OptunaSweeper, distribution, search_space  # noqa: E402

SHARE = {"share": "interval(0.0,1.0)"}


class Chains:
    """A launcher whose chains are finished at once: the objective is best at a share of .3, and noisy by seed."""

    def __init__(self, *, interrupted_at=None):
        self.trials, self.seeds, self.interrupted_at = [], [], interrupted_at

    def launch(self, job_overrides, initial_job_idx):
        if len(self.trials) == self.interrupted_at:
            raise KeyboardInterrupt
        returned = []
        for overrides in job_overrides:
            settings = dict(override.split("=") for override in overrides)
            self.trials.append(settings.pop("share"))
            self.seeds.append(settings["seed"])
            value = -((float(self.trials[-1]) - 0.3) ** 2) + 0.001 * int(settings["seed"])
            done = JobReturn()
            done.status, done.return_value = JobStatus.COMPLETED, value
            returned.append(done)
        return returned


def search(folder, *, storage, interrupted_at=None, n_trials=12, seeds="0", params=SHARE, typed=()):
    sweeper = OptunaSweeper(
        direction="maximize",
        params=params,
        n_trials=n_trials,
        n_jobs=1,
        seed=0,
        seeds=seeds,
        storage=storage,
        study_name="search",
    )
    sweeper.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    sweeper.hydra_context = SimpleNamespace(config_loader=None)
    sweeper.launcher = chains = Chains(interrupted_at=interrupted_at)
    try:
        sweeper.sweep(list(typed))
    except KeyboardInterrupt:
        return chains
    return chains


def test_a_search_kept_in_a_file_goes_on_where_it_was_stopped(tmp_path):
    whole = search(tmp_path, storage=f"sqlite:///{tmp_path}/whole.db")
    storage = f"sqlite:///{tmp_path}/stopped.db"
    first = search(tmp_path, storage=storage, interrupted_at=5)
    second = search(tmp_path, storage=storage)
    assert len(first.trials) == 5
    assert first.trials + second.trials == whole.trials
    study = optuna.load_study(study_name="search", storage=storage)
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.COMPLETE] * 12


def test_a_search_kept_in_memory_asks_for_the_same_trials_again(tmp_path):
    first = search(tmp_path, storage=None, interrupted_at=5)
    again = search(tmp_path, storage=None)
    assert again.trials[:5] == first.trials  # whose chains are finished, and so read
    assert len(again.trials) == 12


def test_a_trial_is_a_chain_of_every_seed_and_its_value_their_mean(tmp_path):
    storage = f"sqlite:///{tmp_path}/search.db"
    chains = search(tmp_path, storage=storage, n_trials=1, seeds="0,1,2")
    assert chains.seeds == ["0", "1", "2"]
    assert len(set(chains.trials)) == 1
    (trial,) = optuna.load_study(study_name="search", storage=storage).trials
    assert trial.value == pytest.approx(-((float(chains.trials[0]) - 0.3) ** 2) + 0.001)


def test_choices_may_be_typed_as_in_a_sweep(tmp_path):
    expected = search(tmp_path, storage=None, n_trials=2, seeds="0,1")
    typed = ("share=interval(0.0,1.0)", "seed=0,1")
    found = search(tmp_path, storage=None, n_trials=2, params=None, typed=typed)
    assert (found.trials, found.seeds) == (expected.trials, expected.seeds)


def test_no_trial_is_tried_twice(tmp_path):
    assert len(set(search(tmp_path, storage=None).trials)) == 12


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0,0.5)", optuna.distributions.FloatDistribution(0.0, 0.5)),
        ("int(interval(1,8))", optuna.distributions.IntDistribution(1, 8)),
        ("tag(log,interval(1e-4,1e-1))", optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)),
        ("replace,mix", optuna.distributions.CategoricalDistribution(["replace", "mix"])),
        ("range(1,4)", optuna.distributions.CategoricalDistribution(["1", "2", "3"])),
    ],
)
def test_hydras_words_for_a_choice_are_optunas(text, expected):
    (override,) = OverridesParser.create().parse_overrides([f"key={text}"])
    assert distribution(override) == expected


def test_a_lone_value_is_no_choice():
    with pytest.raises(UsageError, match=r"hydra.sweeper.params.key must be a choice, .*: got 3"):
        search_space(["key=3"])


def test_a_search_for_nothing_is_refused():
    with pytest.raises(UsageError, match=r"there is nothing to search"):
        search_space([])
