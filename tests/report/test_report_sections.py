"""The page is a table of sections: each has a heading and a place, and a module from outside adds one of its own."""

import re
import sys

import pytest

from collapsar.report import sections
from collapsar.report.page import render
from collapsar.report.sections import Section, add_section
from collapsar.study.study import read_study

CODE = """
def seeds(study):
    return {"seeds": [chain.seed for chain in study.chains]} if len(study.chains) > 1 else None
"""
TEMPLATE = "<p>Seeds {{ seeds|join(', ') }} of {{ arms|length }} arm, {{ wording.number_text(0.5) }}.</p>"
SEEDS = Section(name="seeds", title="My <seeds>", content="my_seeds:seeds")


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module of a user's own with a template beside it; the table of sections is put back after the test."""
    (tmp_path / "my_seeds.py").write_text(CODE)
    (tmp_path / "seeds.html.jinja").write_text(TEMPLATE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sections, "SECTIONS", list(sections.SECTIONS))
    monkeypatch.setattr("collapsar.report.page.SECTIONS", sections.SECTIONS)
    yield
    sys.modules.pop("my_seeds", None)


def headings(page):
    return re.findall(r'<section id="([^"]+)" aria-labelledby="\1-title">\s*<h2 id="\1-title">(.*?)</h2>', page)


def test_sections_stand_in_the_order_of_the_table_each_once_with_its_heading(sweep):
    found = [name for name, _ in headings(render(read_study([sweep])))]
    known = [section.name for section in sections.SECTIONS]
    assert found == [name for name in known if name in found]
    assert {"answer", "comparison", "curves", "films", "classes", "paths", "costs", "settings", "unfinished"} <= {
        *found
    }


def test_a_section_from_outside_stands_where_it_says_and_sees_the_study(outside, sweep):
    add_section(SEEDS, before="comparison")
    page = render(read_study([sweep]))
    found = headings(page)
    assert found[found.index(("seeds", "My &lt;seeds&gt;")) + 1] == ("comparison", "Comparison")
    (seeds,) = re.findall(r"<p>Seeds ([0-9, ]+) of 4 arm, 0.500.</p>", page)
    assert len(seeds.split(", ")) == 15


def test_a_section_with_nothing_to_show_is_left_out(outside, make_run):
    add_section(SEEDS)
    assert "seeds" not in dict(headings(render(read_study([make_run(num_generations=2)]))))


def test_a_section_of_the_same_name_takes_the_place_of_the_older_one(outside):
    place = [section.name for section in sections.SECTIONS].index("films")
    mine = Section(name="films", title="Mine", content="my_seeds:seeds")
    add_section(mine)
    assert sections.SECTIONS[place] == mine
    assert [section.name for section in sections.SECTIONS].count("films") == 1


def test_a_place_that_the_page_does_not_have_is_refused_with_those_that_it_has(outside):
    with pytest.raises(ValueError, match=r"before must be one of reels, answer, forest, .*: got 'footer'"):
        add_section(SEEDS, before="footer")
