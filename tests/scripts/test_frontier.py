"""The picture of the recipes that were tried: a table becomes points, and the committed picture shows them all."""

import re
from pathlib import Path

from matplotlib import rc_context

import frontier

ROOT = Path(__file__).resolve().parents[2]
TABLE = """### What was tried on MNIST

| recipe | seconds | precision | recall | coverage |
|---|---|---|---|---|
| VAE: a; **b** | 1 to 3; 4 shared | .8; .7 | .6 | .5; .4 |
| the same, conditional | 5 | .9 | .3 | .2 |
| **GAN** | 7 | 1 | 0 | .1 |
"""


def test_a_cell_with_several_numbers_is_several_points():
    ((section, header, rows),) = frontier.tables(TABLE)
    found = list(frontier.points(section, header, rows))
    assert [(kind, is_shipped) for kind, is_shipped, _, _ in found] == [
        ("VAE", False), ("VAE", True), ("conditional", False), ("GAN", True),
    ]  # fmt: skip
    assert [is_timed_alone for _, _, is_timed_alone, _ in found] == [False, False, True, True]
    assert [tuple(point.values()) for *_, point in found] == [
        (2, 0.8, 0.6, 0.5), (4, 0.7, 0.6, 0.4), (5, 0.9, 0.3, 0.2), (7, 1, 0, 0.1),
    ]  # fmt: skip


def test_seconds_of_a_shared_core_are_told_from_those_of_idle_ones():
    text = TABLE.replace("\n\n|", "\n\nSeconds are of one core that\nother work shared.\n\n|", 1)
    assert not any(alone for _, _, alone, _ in frontier.points(*next(iter(frontier.tables(text)))))


def test_the_committed_picture_shows_every_row_of_the_tables(tmp_path):
    text = (ROOT / "conf" / "recipe" / "README.md").read_text(encoding="utf-8")
    with rc_context(frontier.STYLE):
        frontier.draw(text).savefig(tmp_path / "drawn.svg")
    drawn, committed = (markers(path) for path in (tmp_path / "drawn.svg", ROOT / ".github" / "frontier.svg"))
    assert len(drawn) > 100
    assert committed == drawn, "draw it again: scripts/frontier"


def markers(path: Path) -> list[tuple[int, int]]:
    """Where a picture has markers and ticks, in units of its own."""
    places = re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', path.read_text(encoding="utf-8"))
    return [(round(float(x)), round(float(y))) for x, y in places]
