"""Odd studies: arms and chains that lack something, or that are there twice; what is said of them is true."""

import io
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_comparison import change, edit_records
from planted_courses import NUM_GENERATIONS, chain_of, replace_regime, text_of
from rich.console import Console

from collapsar.report.__main__ import main
from collapsar.report.page import render
from collapsar.report.sections.answer import headline, not_finished
from collapsar.report.sections.answer import sentence as sentence_of_arm
from collapsar.report.sections.forest import notes, sentence
from collapsar.report.tables import effects_table, table_of
from collapsar.report.wording import time_of_chain, waiting_text
from collapsar.study.comparison import forecast_power
from collapsar.study.study import Study, read_study
from collapsar.study.survival import WaitingTime, recall_survival

KEEPS = [0.8] * NUM_GENERATIONS
HALVES = [0.8 * 0.5**t for t in range(NUM_GENERATIONS)]


def arms_of(regimes, *, seeds=(0, 1, 2), settings=None, **metrics):
    """Chains of every regime, with the course of recall given by its name, slightly other for every seed."""
    chains = []
    for regime, recalls in regimes.items():
        for seed in seeds:
            own = [None if value is None else value * (1 - seed / 100) for value in recalls]
            chain = replace_regime(chain_of(own, seed=seed, regime=regime, **metrics))
            chains.append(replace(chain, config=chain.config | (settings or {})))
    return chains


def terminal(drawn):
    output = io.StringIO()
    Console(width=250, file=output).print(drawn)
    return " ".join(output.getvalue().split())


# The answer


def test_an_arm_whose_last_generation_lacks_recall_is_in_the_answer():
    regimes = {"replace": [*HALVES[:-1], None], "mix": [*KEEPS[:-1], None], "accumulate": [*HALVES[:-1], None]}
    said = headline(Study(arms_of(regimes)).summaries)
    assert said.startswith("2 of 3 arms collapsed: replace (3 of 3 seeds, halved after 1 generation)")
    assert "1 did not collapse: mix" in said


def test_an_arm_without_a_generation_counts_among_all_arms():
    chains = arms_of({"replace": HALVES, "mix": HALVES})
    idle = replace_regime(chain_of([], regime="accumulate"))
    assert headline(Study(chains).summaries).startswith("Both arms collapsed")
    said = headline(Study([*chains, idle]).summaries)
    assert said.startswith("2 of 3 arms collapsed")
    assert said.endswith("1 has no finished generation: accumulate.")
    page = text_of(render(Study([*chains, idle])))
    assert said.split(" (")[0] in page
    assert "not measured for replace; mix; accumulate" in page


def test_an_arm_that_broke_down_before_its_first_sample_is_not_said_to_have_had_recall():
    broken = [replace_regime(chain_of([], seed=seed, regime="mix", ending="broke down")) for seed in (0, 1)]
    page = text_of(render(Study([*arms_of({"replace": HALVES, "accumulate": HALVES}), *broken])))
    assert "2 of 3 arms collapsed" in page
    assert "1 never drew a sample: mix." in page
    assert "mix never drew a sample; seed 0 broke down in generation 0, which counts as the worst outcome" in page
    assert "from 0 to 0" not in page


def test_of_many_arms_with_one_seed_none_is_dropped_in_silence():
    regimes = ["replace", "mix", "accumulate", "window", "reset", "refresh"]
    chains = [chain_of(HALVES, regime=regime) for regime in regimes] + [chain_of(HALVES, seed=1)]
    assert "One seed of mix; accumulate; window; reset; and 1 more has no interval" in headline(Study(chains).summaries)


def test_lost_levels_of_factors_are_a_time_of_the_arm_as_of_its_chains():
    shares = [{"night": {"known": 0.3, "real": 0.3, "synthetic": share}} for share in (0.3, 0.2, 0.01, 0.0, 0.0, 0.0)]
    chain = chain_of(KEEPS)
    records = [replace(record, factor_shares=own) for record, own in zip(chain.records, shares, strict=True)]
    study = Study([replace(chain, records=tuple(records))])
    (summary,) = study.summaries
    assert waiting_text(summary.first_dead) == time_of_chain(study.chains[0], "first_dead_generation") == "2"
    assert "levels of factors were lost from generation 2 on" in headline(study.summaries)


def test_a_variance_that_is_not_halved_is_not_in_n_generations_for_arm_and_chain():
    study = Study(arms_of({"replace": KEEPS}, trace_ratio=[0.9] * NUM_GENERATIONS))
    (summary,) = study.summaries
    assert (
        waiting_text(summary.variance_half_life) == time_of_chain(study.chains[0], "variance_half_life") == "not in 5"
    )
    assert time_of_chain(chain_of(KEEPS), "variance_half_life") == "–"


def test_a_range_that_did_not_end_has_its_bound():
    waiting = WaitingTime(median=6.6, low=6.5, high=float("inf"), num_generations=7)
    assert waiting_text(waiting) == "6.6 (6.5 to >7)"


def test_a_breakdown_is_not_said_to_leave_all_classes():
    chains = [chain_of([0.8] * 3, seed=seed, ending="broke down", dropped=[0] * 3) for seed in (0, 1)]
    shares = {"real": [0.5, 0.5], "synthetic": [0.5, 0.5]}
    chains = [replace(one, records=tuple(replace(own, class_shares=shares) for own in one.records)) for one in chains]
    (summary,) = Study(chains).summaries
    assert "classes died from generation 3 on; seed 0" in sentence_of_arm(summary)
    assert "0 gone" not in sentence_of_arm(summary)


# Chains that do not count


def test_a_run_that_repeats_another_is_said_to_be_left_out_on_the_page_and_in_the_terminal():
    twin = replace(chain_of(KEEPS), label="twin")
    chains = [chain_of(HALVES), chain_of(HALVES, seed=1), twin]
    arms = Study(chains).arms
    assert not_finished(arms) == (
        "Means, intervals and verdicts leave out 1 run with the settings and the seed of another."
    )
    page = text_of(render(Study(chains)))
    assert "Not all runs count" in page
    assert "0 of 3 runs" not in page
    assert "* vae, replace, seed 0: twin repeats another run; left out of means" in terminal(table_of(Study(chains)))


def test_a_finished_run_that_is_shorter_is_marked_in_the_terminal_and_not_called_unfinished():
    chains = [chain_of(HALVES), chain_of(HALVES, seed=1), chain_of(HALVES[:4], seed=2, num_generations=4)]
    table = terminal(table_of(Study(chains)))
    assert "seed 2 *" in table
    assert "finished with 4 generations, fewer than others of its arm; left out of means" in table
    page = text_of(render(Study(chains)))
    assert "Not all runs count" in page
    assert "runs are not finished" not in page


def test_one_chain_that_ended_early_is_an_outcome():
    chains = [chain_of(KEEPS), chain_of([0.8, 0.1], seed=1, ending="stopped")]
    said = not_finished(Study(chains).arms)
    assert "count 1 run stopped by the alarm as an outcome, with the last values carried on" in said


def test_runs_of_two_folders_with_one_name_keep_apart(make_run, tmp_path):
    for study in ("one", "two"):
        make_run(f"{study}/run", num_generations=3, with_images=False)
    labels = [chain.label for chain in read_study([tmp_path / "one", tmp_path / "two"]).chains]
    assert labels == [str(tmp_path / "one" / "run"), str(tmp_path / "two" / "run")]
    assert [chain.label for chain in read_study(tmp_path / "one").chains] == ["run"]


# Comparisons


def test_an_arm_that_lacks_the_deciding_outcome_is_not_judged_by_another():
    fixed = {"analysis": {"primary": "downstream_auc"}}
    auc = [0.9 - 0.05 * t for t in range(NUM_GENERATIONS)]
    chains = arms_of({"replace": HALVES}, settings=fixed, downstream_auc=auc)
    chains += arms_of({"mix": HALVES}, settings=fixed, downstream_auc=[0.9] * NUM_GENERATIONS)
    chains += arms_of({"accumulate": KEEPS}, settings=fixed)
    study = Study(chains)
    (found,) = study.comparisons
    assert sentence(found) == (
        "Of 2 arms, 1 is better (mix), none is worse than replace, and none is undecided. "
        "1 is not judged (accumulate): too few shared seeds have the outcome that decides."
    )
    assert [(row.arm.name, row.deciding is None) for row in found.arms] == [("mix", False), ("accumulate", True)]
    assert "recall_rmst" in found.arms[1].effects
    assert "What decides is the final downstream AUC." in text_of(render(study))
    assert "1 is not judged" in terminal(effects_table(found))


def test_a_study_without_recall_says_nothing_of_its_survival():
    own = {"downstream_auc": [0.9] * NUM_GENERATIONS}
    lacking = dict.fromkeys(("replace", "mix", "accumulate"), [None] * NUM_GENERATIONS)
    study = Study(arms_of(lacking, **own))
    (found,) = study.comparisons
    assert "recall survival" not in terminal(effects_table(found)).lower()
    assert "recall survival is counted" not in text_of(render(study)).lower()


def test_chains_that_fixed_different_analyses_are_not_said_to_have_fixed_nothing():
    fixed = [{"analysis": {"primary": "recall"}}, {"analysis": {"primary": "recall", "horizon": 3}}]
    chains = [
        chain
        for seed in (0, 1)
        for chain in arms_of(dict.fromkeys(("replace", "mix", "accumulate"), KEEPS), seeds=[seed], settings=fixed[seed])
    ]
    (found,) = Study(chains).comparisons
    assert notes(found)[0].startswith("The chains fixed different analyses, so recall_rmst decides")


def test_a_smallest_effect_without_a_primary_outcome_is_one_of_the_outcome_that_decides():
    regimes = {"replace": HALVES, "mix": [0.8, 0.45, *HALVES[2:]], "accumulate": [0.8, 0.46, *HALVES[2:]]}
    study = Study(arms_of(regimes, settings={"analysis": {"smallest_effect": 2.0}}))
    (found,) = study.comparisons
    assert {row.deciding.verdict for row in found.arms} == {"equivalent"}
    unmeasured = {"analysis": {"smallest_effect": 2.0, "primary": "downstream_auc"}}
    (found,) = Study(arms_of(regimes, settings=unmeasured)).comparisons
    assert "equivalent" not in {row.deciding.verdict for row in found.arms}
    assert notes(found)[0].endswith(
        "recall_rmst decides, the first outcome that is measured, and no arm is called equivalent."
    )
    assert "2 of the first outcome that is measured matters" in forecast_power([c.config for c in study.chains])[0]


def test_arms_without_an_outcome_are_left_out_for_that_reason():
    chains = arms_of({"replace": HALVES, "mix": KEEPS, "accumulate": KEEPS})
    chains += arms_of({"window": [None] * NUM_GENERATIONS})
    assert "Without an outcome on two shared seeds up to generation 5, and left out: window." in text_of(
        render(Study(chains))
    )


def test_recall_that_was_never_there_is_not_alive_at_generation_0():
    found = recall_survival([chain_of([0.0] * NUM_GENERATIONS), chain_of(KEEPS, seed=1)], horizon=5)
    assert found.alive == [0.5] * 6
    assert found.at_risk == [2, 1, 1, 1, 1, 1]
    assert found.rmst == 2.5


def test_recall_that_was_last_measured_before_the_end_is_censored_there():
    found = recall_survival([chain_of([*KEEPS[:-1], None]), chain_of(KEEPS, seed=1)], horizon=5)
    assert found.at_risk == [2, 2, 2, 2, 2, 1]


def test_chains_that_were_stopped_before_recall_halved_are_not_said_to_have_fallen():
    regimes = {regime: [0.8, 0.7] for regime in ("replace", "mix", "accumulate")}
    page = text_of(render(Study(arms_of(regimes, ending="stopped"))))
    assert "that never fell to it" not in page
    assert "A chain that its alarm stopped, or whose numbers broke down, counts as fallen where it ended." in page


# Values


def test_a_value_that_is_not_finite_is_one_that_was_not_measured(make_run, tmp_path):
    run = make_run(num_generations=5, with_images=False)

    def break_down(record):
        if record["generation"] > 1:
            record["metrics"]["fid"] = float("nan" if record["generation"] == 2 else "inf")

    edit_records(run, break_down)
    study = read_study(run)
    assert ["fid" in record.metrics for record in study.chains[0].records] == [True, True, False, False, False]
    page = text_of(render(study))
    assert "nan" not in page.lower().split()
    assert main([str(run), "--text", "--csv", str(tmp_path / "out.csv"), "-o", str(tmp_path / "page.html")]) == 0
    assert pd.read_csv(tmp_path / "out.csv")["value"].notna().all()


def test_a_setting_that_some_arms_lack_has_a_dash_in_the_phase_map(make_run):
    for flag in (1, 2):
        for kind in ({}, {"kind": "x"}):
            run = make_run(f"study/{flag}{kind.get('kind')}", num_generations=3, with_images=False)
            change(run, {"regime": {"_target_": "collapsar.data.regimes.Replace", "flag": flag} | kind})
    page = text_of(render(read_study(run.parent)))
    assert "regime.kind across" in page
    assert " None " not in page.partition("regime.kind across")[2].partition("Settings")[0]


def test_foreign_chains_measured_in_every_second_generation_are_whole(tmp_path):
    rows = [
        {"generation": generation, "seed": 0, "arm": arm, "metric": metric, "value": value}
        for arm, rate in (("a", 0.1), ("b", 0.3))
        for generation in (0, 2, 4, 6)
        for metric, value in (("recall", 0.9 * (1 - rate) ** generation), ("fid", 10 + generation))
    ]
    late = [{"generation": generation, "seed": 0, "arm": "late", "value": 0.5} for generation in (0, 3)]
    rows += [own | {"metric": "recall" if own["generation"] else "fid"} for own in late]
    pd.DataFrame(rows).to_csv(tmp_path / "theirs.csv", index=False)
    assert main([str(tmp_path), "--import", str(tmp_path / "theirs.csv"), "--csv", str(tmp_path / "out.csv")]) == 0
    study = read_study(tmp_path)
    assert {chain.problem for chain in study.chains} == {""}
    chain = study.chain("theirs, b") if any(arm.name == "theirs, b" for arm in study.arms) else study.chain("b")
    assert [record.generation for record in chain.records] == list(range(7))
    assert chain.metrics_at(2)["recall"] == pytest.approx(0.9 * 0.7**2)
    found = {key: answer.evidence for key, answer in chain.profile.findings.items()}
    assert found["error_diverges"].startswith("over the last 4 measured generations FID moves by 1 ")
    late = next(chain for chain in study.chains if chain.num_generations == 4)
    evidence = late.profile.findings["real_not_reproduced"].evidence
    assert evidence == "recall was not measured at generation 0"


def test_a_pool_is_rated_that_was_trained_on_and_measured(make_run, tmp_path):
    for size, fid in ((100, 30.0), (300, 25.0), (1000, 20.0)):
        run = make_run(f"real{size}", num_generations=1, with_images=False)
        change(run, {"data": {"_target_": "collapsar.data.sources.real.Digits", "num_train": size}})
        edit_records(run, lambda record, size=size, fid=fid: plant(record, size=size, fid=fid))
    grown = make_run("grown", num_generations=6, num_finished=3, with_images=False, regime="accumulate")
    change(grown, {"data": {"_target_": "collapsar.data.sources.real.Digits", "num_train": 300}})
    (grown / "status.json").write_text(json.dumps({"state": "stopped", "message": "recall fell"}))
    edit_records(grown, lambda record: plant(record, size=300 + 1000 * record["generation"], fid=25.0))
    output = tmp_path / "page.html"
    assert main([str(tmp_path), "-o", str(output)]) == 0
    assert "the 2,300 samples in the pool of generation 2 are worth 300 real ones by FID" in text_of(output.read_text())


def plant(record, *, size, fid):
    record["pool"]["size"] = size
    record["metrics"] = {"fid": fid}


def test_a_data_set_of_one_chain_has_one_chain(make_run, tmp_path):
    run = make_run(num_generations=2, with_images=False)
    assert main([str(run), "--dataset", str(tmp_path / "data")]) == 0
    assert "each generation of 1 chain of generative models" in (tmp_path / "data" / "croissant.json").read_text()


def test_pictures_of_one_latent_say_so(make_run):
    run = make_run(num_generations=2)
    for archive in run.glob("generation_*/samples.npz"):
        with np.load(archive) as arrays:
            stored = {name: images[:1] for name, images in arrays.items()}
        np.savez_compressed(archive, **stored)
    page = render(read_study(run))
    assert "1 latent of vae, replace" in page
    assert "1 sample of vae, replace" in page
    assert not re.search(r"\b1 (?:latents|samples) of", page)
