"""Every path of a test that a script, a README or the project file names is there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMING = [".ci/run", "README.md", "pyproject.toml", ".importlinter", "Dockerfile"] + [
    str(path.relative_to(ROOT))
    for folder in ("scripts", "src", "conf", "tests", ".github")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and ((path.suffix in {"", ".md", ".yml"} and folder != "src") or path.name == "README.md")
]
PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b(?<!README)")
A_PATH = re.compile(r"(?<![\w/.\"])(?:tests|scripts|conf|src)/[\w./{},*-]+")


def expanded(word):
    """The paths that bash makes of a word, braces and stars expanded."""
    return subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {word}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.mark.parametrize("name", NAMING)
def test_paths_that_are_named_exist(name):
    for word in A_PATH.findall((ROOT / name).read_text(encoding="utf-8")):
        if PLACEHOLDER.search(word):
            continue
        for path in expanded(word.rstrip(".,")):
            assert (ROOT / path).exists(), f"{name} names {path}, which is not there"


def test_no_two_files_of_tests_have_one_name():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)), "pytest imports only one of them, as folders of tests are no packages"
