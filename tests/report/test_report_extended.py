"""Arms that `extend` left shorter, because recall is halved in all their chains, beside arms that were extended."""

import pytest
import yaml
from planted_comparison import change, edit_records, write_comparison

from collapsar.report.page import write_report
from collapsar.report.sections.forest import notes
from collapsar.study.analysis import RMST
from collapsar.study.study import read_study

EXTENDED, SHORT, LONG = "mix", 8, 16


def cut(run):
    """Let a chain end after its first generations, as it did before the study was extended."""
    lines = (run / "records.jsonl").read_text().splitlines(keepends=True)
    (run / "records.jsonl").write_text("".join(lines[:SHORT]))
    change(run, {"num_generations": SHORT})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same comparison with short chains, with long ones, and with long ones in the arm that was extended alone."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("short", "long", "extended"):
        for run in write_comparison(folder / name, num_generations=LONG).iterdir():
            if name == "short" or (name == "extended" and not run.name.startswith(EXTENDED)):
                cut(run)
            change(run, {"extend": "censored" if name == "extended" else None})
    return folder


@pytest.fixture(scope="module")
def found(folders):
    """The comparison of each of them."""
    return {name: read_study([folders / name]).comparisons[0] for name in ("short", "long", "extended")}


def effects(comparison, outcome):
    return {row.arm.name: row.effects[outcome].difference for row in comparison.arms}


def test_recall_survival_is_that_of_a_study_in_which_every_arm_is_long(found):
    assert found["extended"].horizon == LONG - 1
    assert effects(found["extended"], RMST) == effects(found["long"], RMST)
    assert effects(found["extended"], RMST) != effects(found["short"], RMST)
    rows = [{row.arm.name: row.survival for row in found[name].arms} for name in ("extended", "long")]
    for arm, survival in rows[0].items():
        assert (survival.rmst, survival.censored_share) == (rows[1][arm].rmst, rows[1][arm].censored_share)


def test_other_outcomes_and_costs_are_compared_where_the_shortest_arm_ends(found):
    assert found["extended"].final == SHORT - 1
    for outcome in ("recall", "downstream_f1"):
        assert effects(found["extended"], outcome) == effects(found["short"], outcome)
    assert found["extended"].spending == found["short"].spending


def test_the_page_says_where_and_shows_every_arm(folders, found, tmp_path):
    said = "All but recall survival is compared at generation 7, where arms end that `extend` left."
    assert said in notes(found["extended"])[0]
    assert said not in notes(found["long"])[0]
    page = write_report([folders / "extended"], tmp_path / "page.html").read_text()
    assert said in page
    assert not found["extended"].left_out


def test_the_table_of_effects_has_the_last_generation_of_each_outcome(folders):
    table = read_study([folders / "extended"]).effects
    assert set(table.horizon[table.outcome == RMST]) == {LONG - 1}
    assert set(table.horizon[table.outcome != RMST]) == {SHORT - 1}


def test_a_short_arm_of_which_a_chain_is_censored_is_left_out_and_not_taken_for_an_outcome(folders, tmp_path):
    for run in (folders / "extended").iterdir():
        config = yaml.safe_load((run / "config.yaml").read_text())
        if run.name.startswith(EXTENDED) and config["seed"] < 3:
            copy = tmp_path / run.name
            copy.mkdir()
            for file in run.iterdir():
                (copy / file.name).write_bytes(file.read_bytes())
            cut(copy)
        else:
            (tmp_path / run.name).symlink_to(run)
    (comparison,) = read_study([tmp_path]).comparisons
    counts = {row.arm.name: row.effects[RMST].difference.num_seeds for row in comparison.arms}
    assert counts.pop("mix, real_fraction=0.1") == 3
    assert set(counts.values()) == {6}


def test_a_space_that_sees_the_same_agrees_also_where_arms_differ_after_the_shortest_one_ends(folders, tmp_path):
    for run in write_comparison(tmp_path, num_generations=LONG, seeds=range(3)).iterdir():
        slow = {"replace": 0.06, "gradient clipping": 0.05}.get(run.name.rpartition("-")[0])

        def course(record, slow=slow):
            if slow:
                record["metrics"]["recall"] = 0.6 * (1 - slow) ** record["generation"]
            record["metrics"]["pca/recall"] = record["metrics"]["recall"]

        edit_records(run, course)
        if not slow and not run.name.startswith(EXTENDED):
            cut(run)
        change(run, {"extend": "censored"})
    (comparison,) = read_study([tmp_path]).comparisons
    assert (comparison.final, comparison.horizon) == (SHORT - 1, LONG - 1)
    verdicts = {row.arm.name: (row.deciding.verdict, row.deciding.judged.reason) for row in comparison.arms}
    assert verdicts["gradient clipping"] == ("better", "")
    assert {reason for _, reason in verdicts.values()} == {""}
