"""The commit of this code, to be cited: of the checkout that it runs from, or of the installed wheel."""

import json
import os
import subprocess
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]  # the top of a checkout
CODE = ("src", "conf")
SECONDS = 5.0  # timeout of git, which takes some 10 ms


@cache
def commit() -> str | None:
    """The commit's hash, with `+changes.` and a digest of the changes if the code differs from it; None if unknown."""
    return commit_of_checkout(ROOT) if (ROOT / ".git").exists() else commit_of_wheel()


def commit_of_checkout(root: Path) -> str | None:
    """The commit of a checkout; None if git fails."""
    try:
        head = _git(root, "rev-parse", "HEAD").decode().strip()
        changes = _git(root, "diff", "HEAD", "--", *CODE)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}+changes.{blake2b(changes, digest_size=4).hexdigest()}" if changes else head


def commit_of_wheel() -> str | None:
    """The commit that pip noted when it installed from a repository; None after any other installation."""
    try:
        noted: dict[str, dict[str, str]] = json.loads(distribution("collapsar").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    return noted.get("vcs_info", {}).get("commit_id")


def _git(root: Path, *arguments: str) -> bytes:
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_DIR": str(root / ".git"), "GIT_WORK_TREE": str(root)}
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=SECONDS).stdout
