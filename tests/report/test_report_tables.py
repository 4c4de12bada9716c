"""The pictures of tables on the page: read from what chains stored, whoever wrote it."""

import json
import re

import pytest
from planted_runs import write_records
from planted_tables import write_tables

from collapsar.cases.tables.table_pictures import table_picture
from collapsar.report.page import render
from collapsar.report.sections.classes import score_maps
from collapsar.report.sections.curves import is_curve
from collapsar.study.chains import read_chains
from collapsar.study.study import read_study


@pytest.fixture
def run(make_run):
    folder = make_run(num_generations=5, with_images=False)
    write_tables(folder, num_generations=5)
    return folder


def picture_of(run):
    (chain,) = read_chains([run])
    return table_picture(chain)


def change(run, generation, edit):
    path = run / f"generation_{generation:03d}" / "table.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_the_first_the_middle_and_the_last_generation_are_shown(run):
    assert picture_of(run).generations == [0, 2, 4]


def test_each_column_has_a_histogram_of_real_rows_and_of_each_generation(run):
    assert [len(column.bars) for column in picture_of(run).columns] == [4, 4, 4, 4]


def test_a_column_that_moved_says_how_far(run):
    moved = {column.name: column.moved for column in picture_of(run).columns}
    kept = 0.7**4
    assert moved["outcome"] == pytest.approx(100 * (0.4 - 0.4 * kept))


def test_a_category_that_died_has_no_bar(run):
    (plan,) = (column for column in picture_of(run).columns if column.name == "plan")
    assert [sum(share > 0 for share in shares) for shares, _ in plan.bars] == [4, 4, 4, 3]
    paths = re.findall(r'aria-label="plan, [^"]*"><path class="\w+" d="([^"]*)"', render(read_study([run])))
    assert [path.count("M") for path in paths] == [4, 4, 4, 3]


def test_maps_are_of_real_rows_of_the_last_generation_and_of_their_difference(run):
    maps = picture_of(run).maps
    assert list(maps) == ["Real rows", "Generation 4", "Difference"]
    assert {tone for tone, _, _ in maps["Real rows"]} == {"over"}
    assert {tone for tone, _, _ in maps["Difference"]} == {"under"}


def test_an_association_that_is_not_known_has_no_colour(run):
    cells = "".join(path for _, _, path in picture_of(run).maps["Real rows"])
    assert cells.count("M") == 4 * 4 - 2


def test_the_page_shows_all_three_and_still_figures_are_no_charts(run):
    page = render(read_study([run]))
    for words in ('<h2 id="tables-title">The table</h2>', "What goes with what", "Example rows"):
        assert words in page
    (section,) = re.findall(r"<section id=\"tables\".*?</section>", page, re.DOTALL)
    assert "data-chart" not in section
    assert "<del>51.68</del>" in section


def test_chains_of_images_have_no_table(make_run):
    page = render(read_study([make_run(num_generations=2)]))
    assert 'id="tables"' not in page
    assert 'id="films"' in page


def test_chains_of_tables_have_no_film(run):
    assert 'id="films"' not in render(read_study([run]))


def test_names_from_data_are_escaped(make_run):
    folder = make_run(num_generations=2, with_images=False)
    write_tables(folder, num_generations=2, name="<script>alert(1)</script>")
    page = render(read_study([folder]))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.clear(),
        lambda content: content.update(columns=[]) or content.update(association=None),
        lambda content: content["columns"][0].update(synthetic=[]),
        lambda content: content["columns"][0].update(synthetic=["<b>"]),
        lambda content: content["columns"][0].update(synthetic=[float("inf")] * 20),
        lambda content: content["columns"][0].update(synthetic=[0.5, 0.5]),
        lambda content: content["association"].update(synthetic=[[1.0]]),
        lambda content: content.update(rows=[["no dict"]]),
    ],
)
def test_a_picture_that_cannot_be_read_is_left_out(run, edit):
    change(run, 4, edit)
    assert picture_of(run) is None
    assert 'id="tables"' not in render(read_study([run]))


def test_a_file_that_was_cut_short_is_left_out(run):
    path = run / "generation_004" / "table.json"
    path.write_text(path.read_text()[:100])
    assert picture_of(run).generations == [0, 2, 3]


def test_scores_of_columns_are_a_heat_map_and_no_curves(run):
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        record["metrics"] |= {
            "column/age/column_shape": 0.9 * 0.8 ** record["generation"],
            "column/plan/column_shape": 0.95,
            "column/plan/categories_dropped": 1.0,
            "column/age/column_shape_floor": 0.97,
        }
    write_records(run, records)
    maps = score_maps(read_study([run]).arms)
    ((_, shapes),) = maps["column_shape"]
    assert [name for name, _, _ in shapes.rows] == ["age", "plan"]
    assert shapes.rows[0][2][-1].shade == round(100 * (1 - 0.8**4))
    assert "categories_dropped" not in maps
    assert not is_curve("column/age/column_shape")
    assert "Column shape by column" in render(read_study([run]))
