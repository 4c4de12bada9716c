"""A study is read once, and everything that a command shows is taken from the same arms and comparisons."""

from collections import Counter

import pytest
from planted_comparison import write_comparison

from collapsar.report.__main__ import main
from collapsar.study import study as studies
from collapsar.study.study import read_study


@pytest.fixture
def calls(monkeypatch):
    """Counts how often chains are read, and arms grouped and compared."""
    counts = Counter()

    def counted(name):
        function = getattr(studies, name)

        def call(*arguments):
            counts[name] += 1
            return function(*arguments)

        return call

    for name in ("read_chains", "group_arms", "comparisons", "keepings"):
        monkeypatch.setattr(studies, name, counted(name))
    return counts


def test_one_command_reads_its_chains_once_and_groups_and_compares_its_arms_once(tmp_path, calls, capsys):
    folder = write_comparison(tmp_path / "study", seeds=range(2), num_generations=3)
    page, table, figures = (str(tmp_path / name) for name in ("page.html", "table.csv", "figures"))
    assert main([str(folder), "--text", "-o", page, "--csv", table, "--figures", figures]) == 0
    assert calls == {"read_chains": 1, "group_arms": 1, "comparisons": 1, "keepings": 1}
    assert "table_effects.csv" in capsys.readouterr().out


def test_a_study_compares_nothing_before_it_is_asked(make_run, calls):
    assert len(read_study([make_run(with_images=False)]).chains) == 1
    assert calls == {"read_chains": 1}


def test_settings_differ_between_arms_or_are_shared_by_all(sweep):
    study = read_study([sweep])
    settings = {key for arm in study.arms for key in arm.settings}
    assert study.differing_settings.keys() | study.shared_settings.keys() == settings
    assert not study.differing_settings.keys() & study.shared_settings.keys()
