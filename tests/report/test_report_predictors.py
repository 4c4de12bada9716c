"""How long the predictor of a chain is of use, and who is hurt first: one sentence over the seeds of each arm."""

import io
import json

import pytest
from planted_comparison import change, edit_records
from planted_tables import write_tables
from rich.console import Console

from collapsar.report.page import render
from collapsar.report.sections.predictors import answer, generations, joined
from collapsar.report.tables import report_tables
from collapsar.study.study import read_study
from collapsar.study.survival import WaitingTime

AUC = [0.9, 0.75, 0.6, 0.45, 0.45]  # below .8 in generation 1, and below chance in generation 3
GROUPS = {"a": [0.9, 0.9, 0.8, 0.6, 0.6], "b": [0.8, 0.6, 0.5, 0.4, 0.4]}  # half of their lead is lost at .7 and .65
LEVELS = {"night": [0.9, 0.6, 0.6, 0.5, 0.5], "fog": [0.9, 0.8, 0.75, 0.72, 0.71]}
F1 = [[0.9, 0.8, 0.7, 0.6, 0.5], [0.9, 0.5, 0.4, 0.3, 0.2]]  # half of .9 is .45

OF_GROUPS = {f"group/{name}/downstream_auc": (scores, 0.9) for name, scores in GROUPS.items()}
OF_LEVELS = {f"downstream_auc_where_{name}": (scores, 0.9) for name, scores in LEVELS.items()}
OF_CLASSES = {f"downstream_f1_class_{index}": (scores, 0.9) for index, scores in enumerate(F1)}
OF_TABLE = {"downstream_auc": (AUC, 0.85), "downstream_auc_linear": (AUC, 0.8)}
OF_SCENES = {"downstream_auc": (AUC, 0.8)}


@pytest.fixture
def plant(make_run):
    """Writes a run of five generations with these scores, by key with that of a predictor of real samples."""

    def write(scores, *, place="run", delay=0, **options):
        folder = make_run(place, num_generations=5, with_images=False, **options)

        def add(record):
            at = max(0, record["generation"] - delay)
            for key, (values, real) in scores.items():
                record["metrics"] |= {key: values[at]} | ({} if real is None else {f"{key}_floor": real})

        edit_records(folder, add)
        return folder

    return write


def sentence(*folders):
    (found,) = read_study(folders).keepings
    return answer(found)


def test_the_sentence_says_when_the_predictor_is_worse_than_chance_and_than_one_of_real_rows_and_who_is_hurt_first(
    plant,
):
    assert sentence(plant(OF_TABLE | OF_GROUPS)) == (
        "Under vae, replace, the predictor is no better than chance after 3 generations, and worse than logistic "
        "regression on real data after 1; rows with group b are hurt first: half of their lead over chance is lost "
        "after 1 generation."
    )


def test_times_are_medians_and_ranges_over_seeds(plant):
    runs = [plant(OF_TABLE, place=f"run{seed}", seed=seed, delay=delay) for seed, delay in enumerate((0, 0, 1, 1, 4))]
    assert sentence(*runs) == (
        "Under vae, replace (5 seeds: median and range), the predictor is no better than chance after 4 generations "
        "(3 to >4), and worse than logistic regression on real data after 2 (1 to >4)."
    )


def test_the_baseline_comes_first_and_the_arm_that_keeps_its_predictor_longest_is_named(plant):
    runs = [
        plant(OF_TABLE, place="long", regime="accumulate", delay=4),
        plant(OF_TABLE, place="late", delay=1),
        plant(OF_TABLE, place="plain"),
    ]
    change(runs[1], {"training": {"gradient_clip_norm": 1.0}})
    assert sentence(*runs).startswith("Under replace, the predictor is no better than chance after 3 generations")
    assert sentence(*runs).endswith("; accumulate keeps it longest (no better than chance after >4).")


def test_where_arms_reach_chance_alike_the_reference_of_real_rows_tells_who_keeps_it_longer(plant):
    good = {"downstream_auc": ([0.9, 0.75, 0.7, 0.7, 0.7], 0.85)}
    runs = [plant(good, place="plain"), plant(good, place="other", regime="accumulate", delay=2)]
    assert sentence(*runs).endswith(
        "; accumulate keeps it longest (worse than the same predictor on real data after 3)."
    )


def test_of_two_arms_under_replace_the_plainer_one_comes_first(plant):
    runs = [plant(OF_TABLE, place="changed", delay=1), plant(OF_TABLE, place="plain")]
    change(runs[0], {"training": {"gradient_clip_norm": 1.0}})
    assert sentence(*runs).startswith("Under vae, replace, the predictor is no better than chance after 3 generations")


def test_no_arm_is_named_where_none_keeps_it_longer_than_the_baseline(plant):
    runs = [plant(OF_TABLE, place="plain", delay=1), plant(OF_TABLE, place="other", regime="accumulate")]
    assert sentence(*runs).endswith("; no other arm keeps it longer.")


def test_a_detector_of_scenes_is_held_against_itself_on_real_ones_and_hurt_by_factor(plant):
    assert sentence(plant(OF_SCENES | OF_LEVELS | OF_CLASSES)) == (
        "Under vae, replace, the predictor is no better than chance after 3 generations, and worse than the same "
        "predictor on real data after 1; samples with night are hurt first: half of their lead over chance is lost "
        "after 1 generation."
    )


def test_parts_that_are_hurt_in_the_same_generation_are_named_together(plant):
    both = OF_LEVELS | {"downstream_auc_where_rain": OF_LEVELS["downstream_auc_where_night"]}
    assert "samples with night and samples with rain are hurt first" in sentence(plant(OF_SCENES | both))


def test_where_all_are_hurt_in_the_same_generation_nobody_is_called_the_first(plant):
    steeper = {"downstream_auc_where_fog": ([0.9, 0.6, 0.5, 0.5, 0.4], 0.9)}
    assert (
        "no factor is hurt before another (half of their lead over chance is lost after 1 generation), samples with "
        "fog lose most (AUC 0.900 at first, 0.400 at the end)"
    ) in sentence(plant(OF_SCENES | OF_LEVELS | steeper))


def test_who_loses_most_is_named_where_nobody_loses_half(plant):
    mild = {key: OF_LEVELS[key] for key in ("downstream_auc_where_fog",)}
    assert (
        "no factor loses half of its lead over chance, samples with fog lose most (AUC 0.900 at first, 0.710 at "
        "the end)"
    ) in sentence(plant(OF_SCENES | mild))


def test_classes_stand_in_where_no_groups_are_scored_by_the_names_that_the_chain_stored(plant):
    run = plant(OF_TABLE | OF_CLASSES)
    assert "rows of class 1 are hurt first: half of their F1 is lost after 2 generations" in sentence(run)
    write_tables(run, num_generations=5)
    path = run / "generation_000" / "table.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": ["benign", "malignant"]}))
    assert "rows of class malignant are hurt first" in sentence(run)


def test_groups_are_called_by_their_column_and_numbers_have_their_point_back(plant):
    run = plant(OF_TABLE | {"group/at_most_3_25/downstream_auc": (GROUPS["b"], 0.9)})
    change(run, {"evaluation": {"table": {"task": {"subgroup": "age"}}}})
    assert "rows with age at most 3.25 are hurt first" in sentence(run)


def test_a_group_that_nobody_can_predict_has_nothing_to_lose(plant):
    assert "rows with" not in sentence(plant(OF_TABLE | {"group/b/downstream_auc": ([0.54, 0.5, 0.5, 0.4, 0.4], 0.5)}))


def test_without_a_predictor_of_real_samples_chance_alone_is_told_of(plant):
    said = sentence(
        plant({"downstream_auc": (AUC, None)} | {key: (scores, None) for key, (scores, _) in OF_GROUPS.items()})
    )
    assert "real data" not in said
    assert "rows with group b are hurt first" in said


def test_the_page_and_the_terminal_end_in_the_same_sentence(plant):
    run = plant(OF_TABLE | OF_GROUPS)
    said = sentence(run)
    assert f'<p class="headline">{said}</p>' in render(read_study([run]))
    written = io.StringIO()
    Console(width=400, file=written).print(report_tables(read_study([run])))
    assert written.getvalue().rstrip().endswith(said)


def test_records_without_a_predictor_have_no_such_sentence(make_run):
    run = make_run(num_generations=3, with_images=False)
    assert read_study([run]).keepings == []
    assert "the predictor is" not in render(read_study([run]))


def test_one_generation_is_not_called_generations():
    assert generations(WaitingTime(median=1.0, low=1.0, high=3.0, num_generations=5)) == "1 generation (1 to 3)"


def test_of_many_names_the_first_are_told():
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert joined(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
