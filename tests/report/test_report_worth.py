"""What samples are worth in real ones: sentences on the page and in the terminal, a figure, and rows of the exports."""

import io
import re

import pandas as pd
import pytest
from planted_comparison import change, edit_records
from rich.console import Console

from collapsar.report.exports import tidy, write_csv
from collapsar.report.page import render
from collapsar.report.sections.worth import HEIGHT, WIDTH, content, sentences
from collapsar.report.tables import report_tables
from collapsar.study.study import read_study

FID = {100: 16.0, 200: 8.0, 400: 4.0, 800: 2.0}
DIGITS = {"_target_": "collapsar.data.sources.real.Digits"}


@pytest.fixture
def plant(make_run):
    """Writes a run with these values of FID by generation, whose first pool has `size` samples and later ones 1,000."""

    def write(place, values, *, size=800, **options):
        folder = make_run(place, num_generations=len(values), with_images=False, **options)
        change(folder, {"data": DIGITS | {"num_train": size}})

        def edit(record):
            del record["metrics"]["recall"]
            record["metrics"]["fid"] = values[record["generation"]]
            record["pool"]["size"] = 1000 if record["generation"] else size

        edit_records(folder, edit)
        return folder

    return write


@pytest.fixture
def sized(plant):
    """One chain of one generation for each number of real samples."""
    return [plant(f"size{size}", [value], size=size) for size, value in FID.items() if size < 800]


def said(*folders):
    (curve,) = read_study(folders).real_curves
    return list(sentences(curve).values())


def test_an_arm_is_said_to_be_worth_what_its_last_pool_is_worth(plant, sized):
    assert said(*sized, plant("full", [2.0, 4.0, 8.0])) == [
        "the 1,000 samples in the pool of generation 2 are worth 200 real ones by FID"
    ]


def test_several_seeds_give_an_interval(plant, sized):
    full = [plant(f"full{seed}", [2.0, value], seed=seed) for seed, value in enumerate((5.9, 6.0, 6.1))]
    (sentence,) = said(*sized, *full)
    assert sentence == "the 1,000 samples in the pool of generation 1 are worth 283 real ones [271, 295] by FID"


@pytest.mark.parametrize(("value", "words"), [(16.1, "fewer than 100"), (1.9, "more than 800")])
def test_beyond_the_curve_its_end_is_said_and_no_number(plant, sized, value, words):
    assert said(*sized, plant("full", [2.0, value])) == [
        f"the 1,000 samples in the pool of generation 1 are worth {words} real ones by FID"
    ]


def test_page_and_terminal_say_the_same(plant, sized):
    study = read_study([*sized, plant("full", [2.0, 4.0]), plant("more", [2.0, 3.0], regime="accumulate")])
    page, written = render(study), io.StringIO()
    Console(width=400, file=written).print(report_tables(study))
    expected = sentences(study.real_curves[0])
    assert len(expected) == 2
    for name, sentence in expected.items():
        assert f"{sentence}." in page
        assert f"{name}: {sentence}" in written.getvalue()


def test_the_figure_has_every_number_of_real_samples_and_every_generation_where_it_lies(plant, sized):
    study = read_study([*sized, plant("full", [2.0, 4.0, 32.0])])
    (drawn,) = content(study)["drawn"]
    places = [drawn["across"](size) for size in (100, 200, 400, 800)]
    assert places == pytest.approx([0, WIDTH / 3, 2 * WIDTH / 3, WIDTH])
    assert [drawn["down"](value) for value in (99, 16, 9, 2, 0)] == [0, 0, HEIGHT / 2, HEIGHT, HEIGHT]
    section = render(study).partition('<section id="worth"')[2].partition("</section>")[0]
    line = re.search(r'<polyline class="line" points="(.*?)"', section)[1].split()
    assert line == ["0.0,0.0", "140.0,114.3", "280.0,171.4", "420.0,200.0"]
    dots = re.findall(r'cx="(.*?)" cy="(.*?)" r="\d" fill="currentColor"><title>.*?, (.*?)</title>', section)
    assert dots == [
        ("420.0", "200.0", "generation 0: worth 800 real samples"),
        ("280.0", "171.4", "generation 1: worth 400 real samples"),
        ("0.0", "0.0", "generation 2: worth fewer than 100 real samples"),
    ]


def test_without_three_sizes_or_without_a_later_generation_there_is_no_section(plant, sized):
    assert 'id="worth"' not in render(read_study([*sized[:1], plant("full", [2.0, 4.0])]))
    assert 'id="worth"' not in render(read_study([*sized, plant("first", [2.0])]))


def test_exports_have_what_each_chain_is_worth_and_beyond_the_curve_its_end(plant, sized, tmp_path):
    study = read_study([*sized, plant("full", [2.0, 4.0, 20.0, 1.0])])
    write_csv(study, tmp_path / "all.csv")
    table = pd.read_csv(tmp_path / "all.csv")
    worth = table[table["metric"].str.startswith("effective_sample_size") & (table["chain"] == "full")]
    rows = worth[["generation", "metric", "value"]].to_numpy().tolist()
    assert [(generation, metric, round(value, 9)) for generation, metric, value in rows] == [
        (0, "effective_sample_size_by_fid", 800),
        (1, "effective_sample_size_by_fid", 400),
        (2, "effective_sample_size_by_fid_high", 100),
        (3, "effective_sample_size_by_fid_low", 800),
    ]
    assert worth["arm"].nunique() == 1


def test_exports_of_a_study_without_a_curve_stay_as_they_were(plant):
    table = tidy(read_study([plant("full", [2.0, 4.0])]).arms)
    assert not table["metric"].str.startswith("effective_sample_size").any()


def test_recall_has_a_curve_of_its_own_where_it_is_measured(plant, sized):
    runs = [*sized, plant("full", [2.0, 4.0])]
    for run, recalls in zip(runs, [[0.2], [0.4], [0.6], [0.8, 0.3]], strict=True):
        edit_records(run, lambda record, own=recalls: record["metrics"].update(recall=own[record["generation"]]))
    study = read_study(runs)
    assert [curve.metric for curve in study.real_curves] == ["fid", "recall"]
    (sentence,) = sentences(study.real_curves[1]).values()
    assert sentence == "the 1,000 samples in the pool of generation 1 are worth 141 real ones by recall"
    assert sentence in render(study)
    table = tidy(study.arms).query("metric == 'effective_sample_size_by_recall' and chain == 'full'")
    assert table["value"].tolist() == pytest.approx([800, 100 * 2**0.5])
