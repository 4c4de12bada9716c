"""Every sentence about a study follows from its records, whatever became of its chains: drawn studies, no training."""

import io
import math
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from planted_courses import NUM_GENERATIONS, chain_of, replace_regime, text_of
from rich.console import Console

from collapsar.report.exports import tidy
from collapsar.report.page import render
from collapsar.report.sections.answer import (
    DECIDING,
    FATES,
    LITTLE,
    RULE,
    entry_gate,
    fate,
    headline,
    not_finished,
    ranked_by_loss,
    sentence,
)
from collapsar.report.sections.curves import chart_content
from collapsar.report.sections.forest import sentence as effects_sentence
from collapsar.report.tables import table_of
from collapsar.study.arms import group_arms
from collapsar.study.comparison import comparisons, outcome_of
from collapsar.study.predictors import keepings
from collapsar.study.study import Study
from collapsar.study.summaries import ArmSummary, contrasts
from collapsar.study.survival import class_survival


def summaries_of(*chains):
    return Study(chains).summaries


def terminal(*chains):
    output = io.StringIO()
    Console(width=200, file=output).print(table_of(Study(chains)))
    return " ".join(output.getvalue().split())


KEEPS = [0.8] * NUM_GENERATIONS
STOPPED = [0.8, 0.02]

# Survivorship


def test_chains_that_the_alarm_stopped_stay_in_means_verdicts_and_effects():
    chains = [chain_of(KEEPS), *(chain_of(STOPPED, seed=seed, ending="stopped") for seed in (1, 2))]
    (summary,) = summaries_of(*chains)
    assert [one.seed for one in summary.chains] == [0, 1, 2]
    assert summary.last["recall"].mean == pytest.approx((0.8 + 2 * 0.02) / 3)
    assert summary.kept_recall.num_seeds == 3
    found = summary.verdicts["real_not_reproduced"]
    assert (found.verdict, dict(found.counts)) == ("undecided", {"yes": 2, "no": 1, "undecided": 0})
    curve = chart_content(group_arms(chains))["curves"]["recall"][0]
    assert curve["generations"] == list(range(NUM_GENERATIONS))
    assert curve["mean"][2:] == pytest.approx([0.28] * (NUM_GENERATIONS - 2))


def test_what_is_carried_on_is_marked_in_page_text_and_export():
    chains = [chain_of(KEEPS), *(chain_of(STOPPED, seed=seed, ending="stopped") for seed in (1, 2))]
    page = text_of(render(Study(chains)))
    assert "count 2 runs stopped by the alarm as outcomes, with the last values carried on." in page
    assert "seed 1 was stopped by its alarm after generation 1" in page
    assert "3 2 carried on" in page
    assert "counted, last values carried on to generation 5" in terminal(*chains)
    table = tidy(group_arms(chains))
    carried = table[table["metric"] == "carried_from"]
    assert Counter(carried["chain"]) == {"replace-1": 4, "replace-2": 4}
    assert set(carried["value"]) == {1.0}
    recalls = table[(table["metric"] == "recall") & (table["generation"] == 5)]["value"]
    assert sorted(recalls) == [0.02, 0.02, 0.8]


def test_a_study_of_stopped_chains_alone_is_carried_on_to_what_was_asked_for():
    stopped = [chain_of(STOPPED, seed=seed, ending="stopped") for seed in (0, 1)]
    others = [chain_of(KEEPS, seed=seed, regime="accumulate") for seed in (0, 1)]
    arms = group_arms([*stopped, *others])
    assert {arm.horizon for arm in arms} == {NUM_GENERATIONS - 1}
    (contrast,) = contrasts([ArmSummary(arm) for arm in arms])
    assert contrast.differences["recall"].difference.num_seeds == 2


def test_only_chains_that_may_go_on_are_left_out_and_the_page_says_how_many():
    chains = [
        chain_of(KEEPS),
        chain_of([0.8, 0.7], seed=1),
        chain_of([], seed=2),
        chain_of([0.8], seed=3, ending="stopped"),
    ]
    (summary,) = summaries_of(*chains)
    assert [one.seed for one in summary.chains] == [0, 3]
    assert "leave out 2 runs that may go on" in not_finished(group_arms(chains))
    assert "leave out 2 runs that may go on" in text_of(render(Study(chains)))


def test_a_shorter_finished_chain_is_left_out_and_said_to_be():
    chains = [chain_of(KEEPS), chain_of([0.8, 0.7], seed=1, num_generations=2)]
    assert [chain.seed for chain in group_arms(chains)[0].counted] == [0]
    assert "leave out 1 finished run with fewer generations" in text_of(render(Study(chains)))


def test_running_chains_of_one_length_are_compared_as_far_as_they_came():
    (summary,) = summaries_of(*(chain_of([0.8, 0.7], seed=seed) for seed in (0, 1)))
    assert (summary.arm.horizon, len(summary.chains)) == (1, 2)


def test_a_breakdown_before_the_first_record_is_the_worst_outcome_and_is_named():
    chains = [chain_of(KEEPS), chain_of([], seed=1, ending="broke down")]
    (summary,) = summaries_of(*chains)
    assert summary.last["recall"].mean == pytest.approx(0.4)
    assert summary.half_life.low == 0.0
    assert "seed 1 broke down in generation 0, which counts as the worst outcome" in sentence(summary)
    assert "1 broke down" in headline([summary])
    assert "failed by vae, replace in 1 of 2 seeds, broke down" in entry_gate([summary])
    assert "broke down" in text_of(render(Study(chains)))


def test_a_study_in_which_every_chain_broke_down_at_once_has_a_page():
    chains = [chain_of([], seed=seed, ending="broke down", regime=regime) for seed in (0, 1) for regime in ("a", "b")]
    page = text_of(render(Study(chains)))
    assert "which counts as the worst outcome" in page
    assert "No chain drew a sample, as numbers broke down in generation 0: there is no answer." in page
    assert "Recall is 0" not in page
    assert "recall went from" not in page


@pytest.mark.parametrize(
    ("recalls", "ending", "half_life"),
    [
        ([0.8, 0.7], "stopped", 1.0),  # lasted that long, and is not known to have halved
        ([0.8, 0.7], "broke down", 2.0),  # nothing is left in the generation that broke down
        ([], "broke down", 0.0),
        ([0.0] * NUM_GENERATIONS, "", 0.0),
        (KEEPS, "", 5.0),
    ],
)
def test_the_half_life_that_decides_effects_is_never_longer_than_a_chain_lasted(recalls, ending, half_life):
    assert outcome_of(chain_of(recalls, ending=ending), "recall_half_life", horizon=5) == half_life


def test_effects_keep_the_seeds_of_chains_that_ended_early():
    ends = {"replace": KEEPS, "accumulate": KEEPS, "mix": STOPPED}
    chains = [
        chain_of(
            [value + 0.001 * seed for value in recalls],
            seed=seed,
            regime=regime,
            ending="stopped" if regime == "mix" and seed else "",
            num_generations=2 if regime == "mix" and not seed else NUM_GENERATIONS,
        )
        for regime, recalls in ends.items()
        for seed in range(4)
    ]
    chains = [replace_regime(chain) for chain in chains]
    (found,) = comparisons(group_arms(chains))
    (row,) = (row for row in found.arms if row.arm.name == "mix")
    assert (row.num_seeds, row.num_carried) == (3, 3)
    assert row.effects["recall"].difference.mean == pytest.approx(-0.78)
    assert "3 carried on" in text_of(render(Study(chains)))


def test_classes_of_a_stopped_chain_are_carried_on_and_those_of_a_broken_one_die():
    shares = {"real": [0.5, 0.5], "synthetic": [0.5, 0.5]}

    def with_shares(chain):
        return replace(chain, records=tuple(replace(record, class_shares=shares) for record in chain.records))

    stopped, broken = (with_shares(chain_of([0.8, 0.7], ending=ending)) for ending in ("stopped", "broke down"))
    assert class_survival([stopped], horizon=5).generations[-1] == 5.0
    curve = class_survival([broken], horizon=5)
    assert (curve.num_deaths, curve.alive[-1]) == (2, 0.0)


# Generation 0


def test_what_generation_0_lacks_is_the_models_fault_and_no_loss():
    chains = [chain_of(KEEPS, seed=seed, dropped=[3] * NUM_GENERATIONS, coverage=0.8) for seed in (0, 1)]
    (summary,) = summaries_of(*chains)
    assert fate(summary) == "kept"
    assert sentence(summary).startswith(
        "did not collapse (2 of 2 seeds): recall went from 0.800 to 0.800 [0.800, 0.800]"
    )
    assert sentence(summary).endswith(", and no class died; generation 0 lacks 3 classes on average.")
    assert summary.verdicts[DECIDING].verdict == "no"


def test_the_entry_gate_is_a_sentence_of_its_own():
    passed = chain_of(KEEPS, coverage=0.8)
    failed = chain_of([0.5] * NUM_GENERATIONS, regime="accumulate", coverage=0.8)
    assert entry_gate(summaries_of(passed)).endswith("at least 0.8 and 0.7 of their floors): passed.")
    text = entry_gate(summaries_of(passed, failed))
    assert "failed by accumulate, recall 0.5 of 0.95, coverage 0.8 of 0.9; passed by replace" in text
    assert "not measured for vae, replace" in entry_gate(summaries_of(chain_of(KEEPS)))
    assert text in text_of(render(Study([passed, failed])))


def test_a_study_without_recall_from_the_start_says_that_nothing_can_be_lost():
    chains = [chain_of([0.0] * 2, regime=regime, num_generations=2) for regime in ("replace", "accumulate")]
    said = headline(summaries_of(*chains))
    assert said.startswith("Recall is 0 at generation 0 already")
    assert "No chain has measured" not in text_of(render(Study(chains)))
    assert len(ranked_by_loss(summaries_of(*chains))) == 2


# Headline


def test_the_headline_names_seeds_and_interval_and_what_two_seeds_leave_open():
    chains = [chain_of([0.8] + [0.8 * kept] * 5, seed=seed) for seed, kept in enumerate((0.02, 0.45))]
    said = headline(summaries_of(*chains))
    assert said.startswith("The arm collapsed: vae, replace (2 of 2 seeds, 24\u202f% [0, ")
    assert "too few seeds to be sure" in said


def test_seeds_that_disagree_leave_the_answer_undecided():
    chains = [chain_of([0.8] + [0.8 * kept] * 5, seed=seed) for seed, kept in enumerate((0.02, 0.9))]
    said = headline(summaries_of(*chains))
    assert said.startswith("Whether the arm collapsed is undecided: vae, replace (1 yes, 1 no of 2 seeds")


def test_one_seed_has_its_caveat():
    assert "One seed has no interval: another seed may answer otherwise." in headline(summaries_of(chain_of(KEEPS)))


def test_an_arm_that_another_definition_calls_collapsed_is_not_said_to_be_spared():
    rising = chain_of(KEEPS, fid=[10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
    said = headline(summaries_of(rising))
    assert "kept tails and modes, but collapsed by another definition (“The error rises over the generations”" in said


def test_a_study_that_did_not_measure_recall_says_so_and_no_more():
    said = headline(summaries_of(chain_of([None] * 2, num_generations=2)))
    assert said == "No chain has measured recall, so there is no answer: see what else is measured."


def test_a_first_generation_alone_is_no_answer():
    said = headline(summaries_of(chain_of([0.8])))
    assert said.startswith("There is one generation so far")


def test_the_rule_of_the_headline_stands_on_the_page():
    assert RULE in text_of(render(Study([chain_of(KEEPS)])))


def test_the_caption_names_the_horizon_of_the_table():
    short = [chain_of([0.8, 0.8], num_generations=2)]
    assert ">1: not in 1 generation" in terminal(*short)
    assert ">7" not in terminal(*short)
    assert "not in" not in terminal(chain_of([0.8, 0.1], num_generations=2))


# Drawn studies


def draw_chain(generator, *, seed, regime):
    """A chain with any fate: dead from the start, stopped, broken down, running, short, with or without metrics."""
    num_generations = int(generator.choice([1, 2, 6, 6, 6]))
    first = generator.choice([0.0, 0.02, 0.4, 0.9])
    rate = generator.choice([0.0, 0.05, 0.3, 0.9])
    kind = generator.choice(["", "", "stopped", "broke down", "running"])
    if kind == "stopped" and num_generations == 1:
        kind = ""
    length = int(generator.integers(int(kind == "stopped"), num_generations)) if kind else num_generations
    recalls = [None if seed == 99 else first * (1 - rate) ** t for t in range(length)]
    if length > 1 and generator.random() < 0.1:
        recalls[-1] = None
    lacking = int(generator.integers(0, 4))
    dropped = [lacking + (t * int(rate > 0.2)) for t in range(length)] if generator.random() < 0.7 else None
    growth = generator.choice([0.0, 8.0])
    return chain_of(
        recalls,
        seed=seed,
        ending=kind if kind in ("stopped", "broke down") else "",
        num_generations=num_generations,
        regime=regime,
        dropped=dropped,
        coverage=float(generator.choice([0.1, 0.85])) if generator.random() < 0.7 else None,
        fid=[10.0 + growth * t for t in range(length)],
        downstream_auc=[0.5 + 0.4 * 0.7**t for t in range(length)],
    )


def draw_study(generator):
    regimes = ["replace", "accumulate", "mix", "window"][: int(generator.integers(1, 5))]
    with_recall = generator.random() < 0.9
    chains = [
        draw_chain(generator, seed=seed, regime=regime)
        for regime in regimes
        for seed in range(int(generator.integers(1, 4)))
    ]
    if not with_recall:
        chains = [
            replace(
                chain,
                records=tuple(
                    replace(one, metrics={key: value for key, value in one.metrics.items() if "recall" not in key})
                    for one in chain.records
                ),
            )
            for chain in chains
        ]
    return [replace_regime(chain) for chain in chains]


def check_arms(arms, summaries):
    """Nothing is dropped in silence, and means rest on every chain that has an outcome."""
    for arm, summary in zip(arms, summaries, strict=True):
        assert len(arm.counted) + len(arm.left_out) == len(arm.distinct)
        for chain in arm.distinct:
            is_outcome = bool(chain.ending) or (not chain.is_open and chain.last_generation == arm.horizon)
            assert chain in arm.counted or not is_outcome
        for key, interval in summary.last.items():
            assert interval.num_seeds == sum(key in chain.last for chain in arm.counted)
        for found in summary.verdicts.values():
            assert sum(found.counts.values()) == len(summary.chains)
            assert found.verdict == "undecided" or found.counts[found.verdict] == len(summary.chains)


def check_profiles(chains):
    """Losses count from generation 0, a dead chain has the half-life 0, and a stopped one no no."""
    for chain in chains:
        profile = chain.profile
        if chain.records and chain.records[0].metrics.get("recall") == 0:
            assert profile.recall_half_life == 0.0
        if not chain.records and chain.ending == "broke down":
            assert profile.recall_half_life == 0.0
        assert profile.first_dead_generation != 0
        assert all(finding.generation != 0 for finding in profile.findings.values())
        if chain.ending:
            assert "no" not in {finding.verdict for finding in profile.findings.values()}


def check_headline(said, summaries):
    """The headline says of no arm what the table of definitions denies."""
    counted = [summary for summary in summaries if summary.chains]
    for summary in counted:
        verdicts = {key: found.verdict for key, found in summary.verdicts.items()}
        match fate(summary):
            case "collapsed":
                assert verdicts[DECIDING] == "yes"
            case "kept":
                assert verdicts[DECIDING] == "no"
                assert "yes" not in verdicts.values()
            case "in part":
                assert verdicts[DECIDING] == "no"
                assert "yes" in verdicts.values()
            case "undecided":
                assert verdicts[DECIDING] == "undecided"
            case "had little":
                assert summary.first["recall"].mean < LITTLE
            case "never drew":
                assert not any(chain.records for chain in summary.chains)
    fates = Counter(map(fate, counted))
    if found := re.match(r"(\d+|All|Both|None) ?(?:of )?(\d*) ?arms collapsed", said):
        number = 0 if found[1] == "None" else int(found[1]) if found[1].isdigit() else len(summaries)
        assert (number, int(found[2] or 2)) == (fates["collapsed"], len(summaries))
        assert number or fates["kept"] == len(summaries)
        others = r"(\d+) (?:kept tails|did not|is undecided|are undecided|had next to|never drew|has no|have no)"
        told = sum(map(int, re.findall(others, said)))
        assert told + number == len(summaries) or said.startswith("None of"), "every arm is counted once"
        assert told == len(summaries) or not said.startswith("None of") or fates["kept"] == len(summaries)
    if "No chain has measured recall" in said:
        assert not any("recall" in summary.first for summary in counted)
        assert set(fates) == {"undecided"}
    if said.startswith("The ") and "collapsed:" in said:
        assert fates["collapsed"] == len(counted) == 1
    silent = ("had little", "never drew")
    single = [summary for summary in counted if len(summary.chains) == 1 and fate(summary) not in silent]
    is_answer = any(words in said for words in ("collapsed", "did not collapse"))
    assert not (single and is_answer) or "another seed may answer otherwise" in said


def check_effects(arms):
    """Effects rest on the same chains, with values that a chain cannot exceed by having ended early."""
    for found in comparisons(arms):
        for row in found.arms:
            assert all(row.num_seeds >= effect.difference.num_seeds for effect in row.effects.values())
            assert row.deciding == row.effects.get(found.outcomes[0])
            assert row.num_carried <= row.num_seeds
        assert effects_sentence(found).startswith(f"Of {len(found.arms)} arms, ")
    for arm in arms:
        for chain in arm.counted:
            half_life = outcome_of(chain, "recall_half_life", horizon=arm.horizon)
            assert half_life is None or 0 <= half_life <= max(chain.last_generation + 1, 0)


def check_grammar(text):
    assert not re.search(
        r"(?<![\d.,>−])(?<!generation )\b1 (?:classes|generations|seeds|chains|runs|arms|levels)\b", text
    )
    assert not re.search(r"\b(?:0|[2-9]|\d\d+) (?:class|generation|seed|chain|run|arm)\b(?! [\d])", text)
    assert "nan" not in text.lower().split()


@pytest.mark.parametrize("number", range(40))
def test_every_sentence_about_a_drawn_study_follows_from_its_records(number):
    chains = draw_study(np.random.default_rng(number))
    arms = group_arms(chains)
    summaries = [ArmSummary(arm) for arm in arms]
    check_arms(arms, summaries)
    check_profiles(chains)
    check_headline(headline(summaries), summaries)
    check_effects(arms)
    for summary in ranked_by_loss(summaries):
        assert sentence(summary).startswith((*FATES.values(), "has one generation so far"))
        ended = sum(bool(one.ending) for one in summary.chains)
        assert sentence(summary).count("was stopped by") + sentence(summary).count("broke down in") == ended
    assert keepings(arms) is not None
    if number % 4 == 0:
        text = text_of(render(Study(chains)))
        check_grammar(text)
        open_chains = [chain for arm in arms for chain in arm.left_out if chain.is_open]
        assert not open_chains or f"leave out {len(open_chains)} run" in text
    check_grammar(terminal(*chains))
    curves = chart_content(arms)["curves"].get("recall", [])
    for curve in curves:
        assert all(value is None or math.isfinite(value) for value in curve["mean"])
