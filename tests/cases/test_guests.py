"""Case studies are guests: without them everything else still runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_chain_runs_and_has_its_page_without_any_case_study(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("cases", "__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    overrides = ["num_generations=2", "trainer.max_steps=5", "evaluation=quick", "num_threads=1", "tracking=none"]
    done = subprocess.run(
        [sys.executable, "-m", "collapsar", *overrides],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (page,) = tmp_path.glob("outputs/study/*/report.html")
    assert "Recall" in page.read_text()
