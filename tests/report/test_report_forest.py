"""Arms against their baseline: which one that is, how arms are named, what is compared, and where it is shown."""

import io
import json
import re
import shutil

import pandas as pd
import pytest
import yaml
from planted_comparison import ARMS, change, edit_records, write_comparison
from rich.console import Console

from collapsar.foundations.chosen import CHOICES
from collapsar.report.__main__ import main
from collapsar.report.page import write_report
from collapsar.report.sections.forest import (
    MAX_TICKS,
    WIDTH,
    drawing,
    forest_content,
    notes,
    sentence,
    spent_text,
    ticks,
)
from collapsar.report.tables import effects_table
from collapsar.report.wording import p_text
from collapsar.study.arms import find_baseline
from collapsar.study.chains import read_chains
from collapsar.study.comparison import by_seed, outcome_of
from collapsar.study.study import read_study
from collapsar.study.verdicts import judge

REPLACE = {"regime._target_": "Replace"}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture
def own_copy(planted, tmp_path):
    """The planted comparison, for a test that changes it."""
    return shutil.copytree(planted, tmp_path / "copy")


def compared(folder):
    (found,) = read_study([folder]).comparisons
    return found


def baseline_of(*arms):
    found = find_baseline(arms)
    return None if found is None else arms[found]


def test_the_baseline_is_the_arm_for_which_least_was_chosen_also_if_it_has_more_settings():
    shipped, other = REPLACE | {"weights": "he", "steps": 650}, REPLACE | {"steps": 1800}
    arms = [shipped, shipped | {"a": 1}, other, other | {"a": 1}]
    assert find_baseline(arms) == 2
    names = ["replace", "replace, a=1", "vae_patch, replace", "vae_patch, replace, a=1"]
    assert find_baseline(arms, names=names) == 0
    assert find_baseline(arms, names=["", *names[1:]]) == 2


def test_the_baseline_is_the_arm_with_nothing_switched_on():
    assert baseline_of(REPLACE | {"a": 1}, REPLACE, REPLACE | {"b": 1}) == REPLACE


def test_of_arms_with_as_many_settings_the_baseline_is_the_one_that_others_differ_least_from():
    widths = [{"width": 32, "depth": 2}, {"width": 8, "depth": 2}, {"width": 32, "depth": 4}]
    assert baseline_of(*widths) == widths[0]


def test_of_regimes_the_baseline_is_replace():
    regimes = [{"regime._target_": name} for name in ("Accumulate", "Replace", "GoldenRatio")]
    assert baseline_of(*regimes) == REPLACE


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.5), (0.1, 0.2)])
def test_a_sweep_of_one_number_has_no_baseline(values):
    assert baseline_of(*({"real_fraction": value} for value in values)) is None


def test_two_arms_have_no_baseline():
    assert baseline_of(REPLACE, REPLACE | {"a": 1}) is None


def test_arms_have_the_names_that_were_stored_with_their_chains(planted):
    assert {arm.name for arm in read_study([planted]).arms} == set(ARMS)


def test_arms_of_an_earlier_version_are_named_by_the_settings_that_differ_from_the_baselines(own_copy):
    for stored in own_copy.glob(f"*/{CHOICES}"):
        stored.unlink()
    assert {arm.name for arm in read_study([own_copy]).arms} == {
        "replace",
        "replace, training.gradient_clip_norm=1.0",
        "replace, training.gradient_clip_norm=2.0",
        "mix, regime.real_fraction=0.1",
        "replace, model.width=8",
    }


def test_arms_of_two_models_have_a_baseline_each_and_their_models_in_their_names(own_copy):
    for run in sorted(own_copy.iterdir()):
        other = shutil.copytree(run, run.with_name(f"gan {run.name}"))
        edit_records(other, lambda record: record.update(model="gan"))
        settings = yaml.safe_load((other / "config.yaml").read_text())
        change(other, {"model": settings["model"] | {"_target_": "collapsar.models.gan.gan.GAN"}})
    found = read_study([own_copy]).comparisons
    assert sorted(comparison.baseline.name for comparison in found) == ["gan, replace", "vae, replace"]
    assert {row.arm.name for comparison in found for row in comparison.arms} >= {
        "vae, gradient clipping",
        "gan, mix, real_fraction=0.1",
    }


def test_planted_arms_are_ranked_and_called_as_planted(planted):
    verdicts = [(row.arm.name, row.deciding.verdict) for row in compared(planted).arms]
    assert verdicts == [
        ("mix, real_fraction=0.1", "better"),
        ("gradient clipping", "better"),
        ("gradient_clip_norm=2.0", "undecided"),
        ("width=8", "worse"),
    ]


def fixed_to(folder, **analysis):
    """The comparison of a folder whose chains fixed this before they ran."""
    for run in folder.iterdir():
        change(run, {"analysis": analysis})
    return compared(folder)


def test_what_an_experiment_fixed_decides_and_is_printed_with_its_hash(own_copy, tmp_path):
    found = fixed_to(own_copy, primary="recall", horizon=3, smallest_effect=0.5)
    assert (found.horizon, found.outcomes[0]) == (3, "recall")
    assert {row.deciding.verdict for row in found.arms} == {"equivalent"}
    said = (
        f"Fixed before the chains ran (hash {found.analysis.digest}): primary recall, horizon 3, smallest effect 0.5."
    )
    assert notes(found)[0] == said
    page = write_report([own_copy], tmp_path / "page.html").read_text()
    assert said in page
    assert page.count(">secondary</span>") == len(found.outcomes) - 1
    assert (
        "Of 4 arms, none is better, none is worse than replace, 4 are equivalent to it, and none is undecided." in page
    )


def test_the_hash_is_no_part_of_what_makes_an_arm(own_copy, planted):
    fixed = fixed_to(own_copy, primary="recall_rmst", horizon=7, smallest_effect=0.1)
    assert [row.arm.name for row in fixed.arms] == [row.arm.name for row in compared(planted).arms]


def test_where_nothing_was_fixed_the_page_says_so(planted):
    found = compared(planted)
    assert found.outcomes[0] == "recall_rmst"
    assert notes(found)[0].startswith("Nothing was fixed before the chains ran, so recall_rmst decides")


def test_a_horizon_that_the_chains_do_not_reach_is_said(own_copy):
    found = fixed_to(own_copy, primary="recall_rmst", horizon=20, smallest_effect=None)
    assert found.horizon == 7
    assert "The chains reach generation 7 only." in notes(found)[0]


def test_secondary_outcomes_are_corrected_for_their_number_and_the_primary_is_not(planted):
    found = compared(planted)
    arms = [found.baseline, *(row.arm for row in found.arms)]
    for outcome, num_outcomes in (("recall_rmst", 1), ("recall", 4), ("downstream_f1", 4)):
        base, *others = [by_seed(arm.distinct, outcome, horizon=7) for arm in arms]
        expected = [one.p_value for one in judge(base, others, num_outcomes=num_outcomes)]
        assert [row.effects[outcome].judged.p_value for row in found.arms] == pytest.approx(expected)


def test_a_space_without_labels_that_does_not_agree_leaves_an_arm_undecided(own_copy):
    for run in own_copy.glob("mix, real_fraction=0.1-*"):
        edit_records(run, lambda record: record["metrics"].update({"pca/recall": 0.7 * 0.1 ** record["generation"]}))
    found = compared(own_copy)
    verdicts = {row.arm.name: row.deciding.verdict for row in found.arms}
    assert (verdicts["mix, real_fraction=0.1"], verdicts["gradient clipping"]) == ("undecided", "better")
    assert "mix, real_fraction=0.1: the space pca, which saw no labels, does not agree." in notes(found)
    assert found.order_tau["pca"] < 1


def test_recall_with_other_settings_has_a_tau_with_recall(own_copy):
    """Here 3 neighbours give the order of arms by final recall, 10 the reversed one, and half of the samples none."""

    def add(record):
        recall = record["metrics"]["recall"]
        record["metrics"] |= {"recall_3_neighbours": 0.5 * recall, "recall_10_neighbours": 1 - recall}

    assert compared(own_copy).sensitivity == {}
    for run in own_copy.iterdir():
        edit_records(run, add)
    found = compared(own_copy)
    assert found.sensitivity == {"with 3 neighbours": pytest.approx(1.0), "with 10 neighbours": pytest.approx(-1.0)}
    assert (
        "Kendall's tau of the orders of arms by final recall and by recall with 3 neighbours: 1; "
        "with 10 neighbours: −1." in notes(found)
    )


def test_spaces_that_agree_have_a_tau_of_1(planted):
    assert compared(planted).order_tau == {"pca": pytest.approx(1.0)}


def test_without_a_space_that_saw_no_labels_the_page_says_that_verdicts_rest_on_one(own_copy):
    for run in own_copy.iterdir():
        edit_records(run, lambda record: record["metrics"].pop("pca/recall"))
    found = compared(own_copy)
    assert found.order_tau == {}
    assert "so verdicts rest on one space" in notes(found)[2]


def test_chains_that_fail_the_entry_gate_make_every_verdict_exploratory(planted, own_copy):
    assert "Exploratory: generation 0 fails the entry gate in 5 arms (" in notes(compared(planted))[-1]
    for run in own_copy.iterdir():
        edit_records(run, lambda record: record["metrics"].update(recall_floor=0.63, coverage=0.9, coverage_floor=0.9))
    found = compared(own_copy)
    assert found.below_gate == ()
    assert not any("Exploratory" in note for note in notes(found))


def test_recall_survival_is_the_mean_of_its_chains_with_those_that_are_censored_and_at_risk(planted):
    found = compared(planted)
    for row in found.arms:
        times = [outcome_of(chain, "recall_rmst", horizon=7) for chain in row.arm.distinct]
        assert row.survival.rmst == pytest.approx(sum(times) / len(times))
        assert row.survival.at_risk == [sum(time >= generation for time in times) for generation in range(8)]
    best, worst = found.arms[0].survival, found.arms[-1].survival
    assert (best.censored_share, worst.censored_share) == (0.5, 0)
    assert (worst.alive[0], worst.alive[-1]) == (1, 0)


def test_a_chain_that_is_still_open_is_censored_where_it_is(own_copy):
    before = compared(own_copy).arms[0].survival
    records = own_copy / "mix, real_fraction=0.1-0" / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:3]))
    after = compared(own_copy).arms[0].survival
    assert before.at_risk[2:4] == [6, 6]
    assert after.at_risk[2:4] == [6, 5]


def test_a_half_life_is_restricted_to_the_horizon(planted):
    chains = {chain.label: chain for chain in read_chains([planted])}
    never, early = chains["mix, real_fraction=0.1-0"], chains["replace-0"]
    assert never.profile.recall_half_life is None
    assert outcome_of(never, "recall_half_life", horizon=7) == 7.0
    assert outcome_of(early, "recall_half_life", horizon=7) == early.profile.recall_half_life
    assert outcome_of(early, "recall_half_life", horizon=1) == 1.0


@pytest.mark.parametrize(("recall", "half_life"), [(0.0, 0.0), (None, None)])
def test_recall_that_was_never_there_is_halved_at_once_and_one_not_measured_is_absent(own_copy, recall, half_life):
    edit_records(
        own_copy / "replace-0",
        lambda record: record["metrics"].pop("recall") if recall is None else record["metrics"].update(recall=recall),
    )
    (chain,) = read_chains([own_copy / "replace-0"])
    assert outcome_of(chain, "recall_half_life", horizon=7) == half_life


def test_a_chain_that_is_shorter_than_the_others_is_left_out(own_copy):
    records = own_copy / "width=8-0" / "records.jsonl"
    records.write_text("".join(records.read_text().splitlines(keepends=True)[:3]))
    (row,) = (row for row in compared(own_copy).arms if row.arm.name == "width=8")
    assert row.num_seeds == 5


def test_an_arm_that_shares_one_seed_is_named_as_left_out(own_copy):
    for seed in range(1, 6):
        shutil.rmtree(own_copy / f"width=8-{seed}")
    found = compared(own_copy)
    assert [arm.name for arm in found.left_out] == ["width=8"]
    assert len(found.arms) == 3


def test_one_longer_chain_does_not_move_the_horizon(own_copy):
    records = own_copy / "replace-0" / "records.jsonl"
    lines = records.read_text().splitlines()
    more = {key: value for key, value in json.loads(lines[-1]).items() if key != "checksum"} | {"generation": 8}
    records.write_text("\n".join([*lines, json.dumps(more)]) + "\n")
    found = compared(own_copy)
    assert found.horizon == 7
    assert {row.num_seeds for row in found.arms} == {6}


def test_without_two_arms_beside_a_baseline_there_is_no_comparison(sweep):
    assert read_study([sweep]).comparisons == []


def test_what_is_spent_is_that_of_a_chain(planted):
    found = compared(planted)
    assert (found.spending.num_steps, found.spending.num_real) == (8 * 450, 1437)
    assert found.spending.seconds == pytest.approx(8 * (1.9 + 0.1 * 2.5 + 0.08 + 0.41))


def test_a_first_training_that_another_chain_did_counts_in_full(own_copy):
    before = compared(own_copy).spending.seconds

    def share(record):
        if record["generation"] == 0:
            record["shared_seconds"] = {"train": record["seconds"].pop("train")}

    edit_records(own_copy / "replace-0", share)
    assert compared(own_copy).spending.seconds == pytest.approx(before)


@pytest.mark.parametrize(
    ("own", "baseline", "text"),
    [
        (3600.0, 3600.0, "3600, same"),
        (42.0, 36.0, "42 (+17\u202f%)"),
        (18.0, 36.0, "18 (−50\u202f%)"),
        (100.0, 0.0, "100"),
    ],
)
def test_what_is_spent_stands_beside_what_the_baseline_spent(own, baseline, text):
    assert spent_text(own, baseline=baseline) == text


@pytest.mark.parametrize(("value", "text"), [(0.0431, "p = 0.043"), (1.0, "p = 1"), (3e-7, "p < .0001")])
def test_p_values_have_two_digits(value, text):
    assert p_text(value) == text


def test_the_sentence_names_arms_that_were_told_apart_and_counts_the_others(planted):
    assert sentence(compared(planted)) == (
        "Of 4 arms, 2 are better (mix, real_fraction=0.1; gradient clipping), 1 is worse (width=8) than replace, "
        "and 1 is undecided."
    )


def test_the_sentence_says_none_where_no_arm_was_told_apart(own_copy):
    for name in ("mix, real_fraction=0.1", "gradient clipping"):
        for run in own_copy.glob(f"{name}-*"):
            shutil.rmtree(run)
    assert sentence(compared(own_copy)).startswith("Of 2 arms, none is better, 1 is worse (width=8) than replace")


def test_a_panel_is_drawn_for_each_outcome_with_an_effect_for_each_arm(planted):
    content = forest_content(compared(planted))
    assert [panel["title"].split()[0] for panel in content["panels"]] == ["Recall", *["Final"] * 4]
    assert all(len(panel["effects"]) == len(content["arms"]) == 4 for panel in content["panels"])


def test_effects_are_drawn_where_their_numbers_lie_between_the_ticks(planted):
    found = compared(planted)
    for told, drawn in zip(forest_content(found)["panels"], drawing(found)["panels"], strict=True):
        places = {0.0: drawn["zero"]}
        for effect, own in zip(told["effects"], drawn["effects"], strict=True):
            bounds, corrected = effect.judged.interval, effect.corrected
            places |= {effect.difference.mean: own["x"], bounds.low: own["thick"][0], bounds.high: own["thick"][1]}
            places |= dict(zip((corrected.low, corrected.high), own["thin"], strict=True))
        assert 0 < min(places.values()) < max(places.values()) < WIDTH
        lowest, highest = min(places), max(places)
        scale = (places[highest] - places[lowest]) / (highest - lowest)
        for value, place in places.items():
            assert place - places[lowest] == pytest.approx(scale * (value - lowest), abs=0.11)
        assert {text: x for x, text in drawn["ticks"]}["0"] == drawn["zero"]


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0, 0), (-5, 5.5), (-0.03, 0.4), (0, 1e-9), (-1234, 0.1), (-0.999, 0), (0, 0.5), (-7e5, 3)]
)
def test_ticks_are_few_and_hold_zero(lowest, highest):
    found = ticks(lowest, highest)
    assert 0 in found
    assert len(found) <= MAX_TICKS
    assert lowest <= min(found) <= max(found) <= highest


def test_the_page_shows_the_comparison_without_a_script_and_one_without_shows_none(planted, sweep, tmp_path):
    page = write_report([planted], tmp_path / "page.html").read_text()
    (plot,) = re.findall(r'<table class="forest">.*?</table>', page, re.DOTALL)
    told = [text.partition(": ")[::2] for text in re.findall(r"<title>(.*?)</title>", plot)]
    found = compared(planted)
    assert [name for name, _ in told] == [row.arm.name for row in found.arms for _ in found.outcomes]
    deciding = [text.partition(",")[0] for _, text in told[:: len(found.outcomes)]]
    assert deciding == [row.deciding.verdict for row in found.arms]
    assert all("% of pairs of runs" in text for _, text in told)
    assert plot.count('class="mark') == len(told) == 4 * 5
    assert "the baseline" in page
    assert '<table class="forest">' not in write_report([sweep], tmp_path / "other.html").read_text()


def test_the_terminal_shows_it_in_80_columns(planted):
    output = io.StringIO()
    Console(width=80, file=output).print(*map(effects_table, read_study([planted]).comparisons))
    lines = output.getvalue().splitlines()
    assert any(line.startswith(" gradient") and "better" in line and "same" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert "real" in output.getvalue().split("verdict")[1].splitlines()[0]


def test_the_csv_of_effects_stands_beside_that_of_the_chains(planted, tmp_path):
    assert main([str(planted), "--csv", str(tmp_path / "all.csv")]) == 0
    table = pd.read_csv(tmp_path / "all_effects.csv")
    assert len(table) == 4 * 5
    row = compared(planted).arms[0]
    assert table["difference"][0] == row.deciding.difference.mean
    assert (table["arm"][0], table["verdict"][0], table["seeds"][0]) == (row.arm.name, "better", 6)
    judged = row.deciding.judged
    assert (table["judged_low"][0], table["judged_high"][0]) == (judged.interval.low, judged.interval.high)
    assert (table["variance"][0], table["p_judged"][0]) == (judged.variance, pytest.approx(judged.p_value))
    assert table["is_primary"].tolist() == (table["outcome"] == "recall_rmst").tolist()
    assert table["censored_share"][0] == row.survival.censored_share


def test_the_figures_for_a_paper_have_the_forest(planted, tmp_path):
    assert main([str(planted), "--figures", str(tmp_path)]) == 0
    picture = (tmp_path / "forest.svg").read_text()
    assert all(arm in picture for arm in ("gradient clipping", "width=8"))
    assert (tmp_path / "forest.png").stat().st_size > 10_000
