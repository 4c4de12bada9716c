"""The commit of the code: of a checkout with and without changes, of a wheel, and none where it cannot be known."""

import shutil
import subprocess

import pytest

from collapsar.foundations import commit as commit_module
from collapsar.foundations.commit import commit, commit_of_checkout, commit_of_wheel

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


@pytest.fixture
def checkout(tmp_path):
    """A repository with one commit of a file of code and one of prose; gives its folder and the commit."""

    def git(*arguments):
        owner = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(["git", *owner, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    (tmp_path / "src").mkdir()
    for name in ("src/code.py", "README.md"):
        (tmp_path / name).write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD")


@needs_git
def test_a_checkout_names_its_commit_and_marks_changes_of_code_alone(checkout):
    folder, head = checkout
    (folder / "README.md").write_text("2")
    assert commit_of_checkout(folder) == head
    marked = []
    for text in "23":
        (folder / "src" / "code.py").write_text(text)
        marked.append(commit_of_checkout(folder))
    assert all(each.startswith(f"{head}+changes.") for each in marked)
    assert marked[0] != marked[1]


def test_what_is_no_checkout_and_a_machine_without_git_have_no_commit(tmp_path, monkeypatch):
    assert commit_of_checkout(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert commit_of_checkout(commit_module.ROOT) is None


@pytest.mark.parametrize(
    ("noted", "expected"),
    [
        ('{"url": "a", "vcs_info": {"vcs": "git", "commit_id": "abc"}}', "abc"),
        ('{"url": "file:///a", "dir_info": {}}', None),
        (None, None),
    ],
)
def test_a_wheel_names_the_commit_that_it_was_installed_from(noted, expected, monkeypatch):
    class Installed:
        def read_text(self, name):
            return noted if name == "direct_url.json" else None

    monkeypatch.setattr(commit_module, "distribution", lambda name: Installed())
    assert commit_of_wheel() == expected


def test_the_commit_is_looked_up_once_a_process():
    assert commit() is commit()
