"""The Python that our README files show runs as it stands; blocks of one file run after each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
FILES = [ROOT / "README.md", *sorted(ROOT.glob("src/collapsar/**/README.md")), *sorted(ROOT.glob("conf/**/README.md"))]


def blocks(path):
    """The Python blocks of a file, each with the number of its first line."""
    text = path.read_text()
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in BLOCK.finditer(text)]


SHOWN = [path for path in FILES if blocks(path)]


def test_python_is_shown():
    assert ROOT / "src" / "collapsar" / "library" / "README.md" in SHOWN


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_of_a_readme_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for line, code in blocks(path):
        exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)
