"""`extend=censored` continues the arms in which recall of a chain is not halved yet, whole, and leaves all others."""

import json
from pathlib import Path

import pytest
import yaml

from collapsar.config import composition
from collapsar.config.composition import chain_name, check
from collapsar.foundations.errors import UsageError
from collapsar.foundations.files import line_with_checksum
from collapsar.foundations.record import GenerationRecord
from collapsar.foundations.settings import digest
from collapsar.jobs import multirun
from collapsar.library.composing import experiment_of
from collapsar.study.study import read_study
from tiny_chains import compose_settings

LASTS, HALVED = [0.6, 0.5], [0.6, 0.2]
ARMS = ("tracking=none", "regime=replace,accumulate", "evaluation.metrics=[support]")
LONGER = ("num_generations=2", "extend=censored")


def stored(folder, *, seed, recalls, asked=2, regime="Replace", status="", extend=None):
    """A run folder whose chain had this recall at its generations, of as many as were asked for."""
    run = folder / f"digits_vae_{regime}_seed{seed}_{len(list(folder.glob('*')))}"
    run.mkdir(parents=True)
    config = {"seed": seed, "num_generations": asked, "extend": extend, "regime": {"_target_": f"own.{regime}"}}
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {}, "model": {}} | config))
    (run / "status.json").write_text(json.dumps({"state": status}))
    records = [
        GenerationRecord(
            generation=generation, seed=seed, data="digits", model="vae", regime=regime, pool={"origins": {}},
            num_evaluated=1, num_real=1, metrics={"recall": recall}, seconds={},
        )
        for generation, recall in enumerate(recalls)
    ]  # fmt: skip
    (run / "records.jsonl").write_text("".join(f"{record.to_json()}\n" for record in records))
    return run


def kept(folder, *, wanted=5):
    """The lengths that arms below the folder keep, by their regime."""
    named = {digest(arm.settings): arm.chains[0].records[0].regime for arm in read_study(folder).arms}
    found = multirun._kept_lengths(sorted(folder.iterdir()), wanted=wanted, only="")
    return {named[key]: length for key, length in found.items()}


def test_an_arm_keeps_its_length_if_recall_is_halved_in_all_its_chains_or_died_with_them(tmp_path):
    stored(tmp_path, seed=0, recalls=HALVED)
    stored(tmp_path, seed=1, recalls=LASTS[:1], status="stopped")
    stored(tmp_path, seed=0, recalls=HALVED, regime="Mix")
    stored(tmp_path, seed=1, recalls=LASTS, regime="Mix")
    assert kept(tmp_path) == {"Replace": 2}


def test_chains_that_did_not_measure_recall_are_extended(tmp_path):
    run = stored(tmp_path, seed=0, recalls=HALVED)
    plant(run, lambda metrics: metrics.pop("recall"))
    assert kept(tmp_path) == {}


@pytest.mark.parametrize("longer", [[0.6, 0.5, 0.4], [0.6, 0.5, 0.1, 0.1, 0.1]])
def test_an_arm_that_was_stopped_while_it_was_extended_goes_on_whatever_its_longer_chains_found(longer, tmp_path):
    stored(tmp_path, seed=0, recalls=longer, asked=5, extend="censored")
    stored(tmp_path, seed=1, recalls=HALVED)
    assert kept(tmp_path) == {}


def test_a_killed_chain_is_censored_where_it_was_killed_unless_extend_runs_it_to_the_length_of_its_arm(tmp_path):
    for name, extend in (("Replace", None), ("Mix", "censored")):
        stored(tmp_path, seed=0, recalls=HALVED, regime=name)
        stored(tmp_path, seed=1, recalls=LASTS[:1], regime=name, extend=extend)
    assert kept(tmp_path) == {"Mix": 2}


def test_each_shorter_arm_is_told_in_one_sentence(tmp_path, caplog):
    caplog.set_level("INFO")
    for seed, recalls in enumerate((HALVED, LASTS)):
        stored(tmp_path, seed=seed, recalls=HALVED)
        stored(tmp_path, seed=seed, recalls=recalls, regime="Mix")
        stored(tmp_path, seed=seed, recalls=[*LASTS] * 3, asked=6, regime="Accumulate")
    kept(tmp_path)
    assert [record.message for record in caplog.records if record.name == multirun.__name__] == [
        "Mix is extended to 5 generations: recall is not halved in 1 of 2 chains",
        "Replace keeps its 2 generations: recall is halved in 2 chains",
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("extend=all",), "extend must be null or censored: got 'all'"),
        (("extend=true",), "extend must be null or censored: got 'True'"),
        (("extend=censored", "evaluation.metrics=[frechet,classes]"), "add support to evaluation.metrics"),
    ],
)
def test_what_cannot_be_extended_is_refused_when_it_is_composed(overrides, words):
    with pytest.raises(UsageError, match=words):
        check(compose_settings(*overrides))


def test_a_wrong_value_is_one_line_and_code_2(collapsar, tiny):
    code, stderr = collapsar("-m", *tiny, *ARMS, "extend=all")
    assert (code, stderr) == (2, "collapsar: extend must be null or censored: got 'all'\n")


def test_the_setting_names_no_other_folder():
    assert chain_name(_root_=compose_settings(*LONGER)) == chain_name(_root_=compose_settings())


def test_the_settings_of_a_folder_from_before_this_one_still_make_an_experiment():
    settings = composition.settings(compose_settings())
    assert settings.pop("extend") is None
    assert experiment_of(settings).extend is None


def plant(run, edit):
    """Change the metrics of every record of a run."""
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        edit(record["metrics"])
        del record["checksum"]
    (run / "records.jsonl").write_text("".join(f"{line_with_checksum(json.dumps(record))}\n" for record in records))


def lengths():
    """By regime and seed, how many generations are stored, and how many the chain asks for."""
    found = read_study("outputs").chains
    return {(chain.records[0].regime, chain.seed): (len(chain.records), chain.num_generations) for chain in found}


@pytest.fixture
def short(collapsar, tiny):
    """Two arms with a generation each: recall is gone in both chains of `replace`, and in one of `accumulate`."""
    assert collapsar("-m", *tiny, *ARMS, "num_generations=1", "seed=0,1")[0] == 0
    for run in Path("outputs/study").glob("*_seed*_*"):
        is_lasting = "accumulate" in run.name and "seed1" in run.name
        plant(run, lambda metrics, lasts=is_lasting: metrics.update(recall=0.5 if lasts else 0.0))


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
@pytest.mark.usefixtures("short")
def test_a_multirun_extends_an_arm_whole_and_gives_missing_seeds_the_length_of_their_arm(launcher, collapsar, tiny):
    chosen = [f"hydra/launcher={launcher}", *(["hydra.launcher.n_jobs=1"] if launcher == "joblib" else [])]
    code, stderr = collapsar("-m", *tiny, *ARMS, *LONGER, "seed=0,1,2", *chosen)
    assert code == 0
    assert "replace keeps its 1 generation: recall is halved in 2 chains" in collapsar.printed
    assert "accumulate is extended to 2 generations: recall is not halved in 1 of 2 chains" in collapsar.printed
    expected = {
        (name, seed): (length, length) for name, length in (("replace", 1), ("accumulate", 2)) for seed in range(3)
    }
    assert lengths() == expected
    assert "unfinished" not in stderr + Path("outputs/study/report.html").read_text()


@pytest.mark.usefixtures("short")
def test_a_chain_alone_is_decided_by_its_arm_and_the_multirun_goes_on_with_an_arm_that_is_half_extended(
    collapsar, tiny
):
    assert collapsar("-m", *tiny, *ARMS, *LONGER, "seed=0,1", "dry_run=true")[0] == 0
    assert "replace keeps its 1 generation" in collapsar.printed
    assert "accumulate is extended to 2 generations" in collapsar.printed
    assert "2 generations to go" in collapsar.printed
    for name in ("replace", "accumulate"):
        assert collapsar(*tiny, f"regime={name}", *LONGER, "seed=0", "tracking=none", ARMS[-1])[0] == 0
    expected = {(name, seed): (1, 1) for name in ("replace", "accumulate") for seed in (0, 1)}
    assert lengths() == expected | {("accumulate", 0): (2, 2)}
    for run in Path("outputs/study").glob("*accumulate*"):
        plant(run, lambda metrics: metrics.update(recall=0.0))
    assert collapsar("-m", *tiny, *ARMS, *LONGER, "seed=0,1")[0] == 0
    assert lengths() == expected | {("accumulate", 0): (2, 2), ("accumulate", 1): (2, 2)}
