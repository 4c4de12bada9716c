"""Settings drawn over every key of every group: each is refused in one line before data are read, or runs.

What a chain can only know when it has read, trained or drawn (a judge that is not good enough, a selection that lets
nothing in, numbers that break down) is refused later, in one line too.
"""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DONE, BROKE_DOWN, REFUSED = 0, 1, 2
NOT_DRY = ("dry_run=false", "dry_run=0")  # other numbers count as true, as OmegaConf has it
FOUND_LATER = ("test accuracy of", "kept 0 of", "and needs")  # what refusals after reading are about


@pytest.fixture(
    scope="module",
    params=[pytest.param((3, 30), id="30"), pytest.param((2, 500), marks=pytest.mark.slow, id="500")],
)
def outcomes(request, tmp_path_factory):
    """What became of each drawn command."""
    seed, number = request.param
    folder = tmp_path_factory.mktemp("drawn")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "200"}
    command = [sys.executable, str(HERE / "drawn_settings.py"), str(folder), str(seed), str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def those(outcomes, code):
    return [outcome for outcome in outcomes if outcome["code"] == code]


def test_no_command_hangs_or_ends_in_a_traceback(outcomes):
    strange = [outcome for outcome in outcomes if outcome["code"] not in (DONE, BROKE_DOWN, REFUSED)]
    assert strange == []


def test_a_refusal_is_one_printable_line(outcomes):
    lines = [outcome["stderr"].removesuffix("\n") for outcome in those(outcomes, REFUSED)]
    assert [line for line in lines if not line.startswith("collapsar: ") or not line.isprintable()] == []


def test_a_refusal_comes_before_data_are_read(outcomes):
    late = [outcome["stderr"] for outcome in those(outcomes, REFUSED) if outcome["read"]]
    assert [line for line in late if not any(words in line for words in FOUND_LATER)] == []


def test_nothing_is_written_elsewhere(outcomes):
    assert [outcome["elsewhere"] for outcome in outcomes if outcome.get("elsewhere")] == []


def test_what_runs_is_recorded_with_finite_numbers(outcomes):
    for outcome in those(outcomes, DONE):
        if any(override.startswith("dry_run=") and override not in NOT_DRY for override in outcome["overrides"]):
            continue
        metrics = json.loads(outcome["record"])["metrics"]
        assert all(math.isfinite(value) for value in metrics.values()), outcome["overrides"]


def test_a_setting_of_another_type_is_not_taken(outcomes):
    taken = [
        (key, before, outcome["overrides"])
        for outcome in those(outcomes, DONE)
        for key, before in outcome["before"].items()
        for value in [override.partition("=")[2] for override in outcome["overrides"] if override.startswith(f"{key}=")]
        if is_number(before) and value in ("true", "false", "text", "''", "{}", "{a:1}")
    ]
    assert taken == []


def test_some_settings_run_and_some_are_refused(outcomes):
    assert those(outcomes, DONE)
    assert those(outcomes, REFUSED)


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)
