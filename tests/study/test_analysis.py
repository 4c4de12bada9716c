"""What an experiment fixes about its analysis: read from settings, refused if it cannot be, and hashed."""

import pytest

from collapsar.config.composition import check, config_folder
from collapsar.foundations.errors import UsageError
from collapsar.study.analysis import Analysis, read_analysis, shared_analysis
from tiny_chains import compose_settings

FIXED = {"primary": "recall_rmst", "horizon": 5, "smallest_effect": 0.5}


@pytest.mark.parametrize("settings", [{}, {"analysis": None}, {"analysis": dict.fromkeys(FIXED)}])
def test_without_choices_nothing_is_fixed_and_there_is_no_hash(settings):
    assert read_analysis(settings) == Analysis()
    assert read_analysis(settings).digest == ""


def test_the_earlier_name_of_an_outcome_is_read():
    assert read_analysis({"analysis": FIXED | {"primary": "recall_half_life"}}) == Analysis(**FIXED)


def test_the_hash_changes_with_each_choice():
    digests = {Analysis(**(FIXED | change)).digest for change in ({}, {"horizon": 6}, {"smallest_effect": 1})}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("analysis", "words"),
    [
        ({"primary": "recal"}, "analysis.primary must be null or one of recall_rmst, "),
        ({"primary": [0]}, "got [0]"),
        ({"horizon": 0}, "analysis.horizon must be null or a generation from 1 on: got 0"),
        ({"horizon": 2.5}, "got 2.5"),
        ({"horizon": True}, "got True"),
        ({"smallest_effect": -1}, "analysis.smallest_effect must be above 0: got -1"),
        ({"smallest_effect": "much"}, "analysis.smallest_effect must be null or a number: got 'much'"),
        ({"delta": 1}, "analysis has the keys primary, horizon, smallest_effect: got delta"),
        ([], "analysis has the keys primary, horizon, smallest_effect: got []"),
        ([1], "analysis has the keys primary, horizon, smallest_effect: got [1]"),
    ],
)
def test_wrong_choices_are_refused_in_a_sentence(analysis, words):
    with pytest.raises(UsageError) as caught:
        read_analysis({"analysis": analysis})
    assert words in str(caught.value)


def test_chains_that_disagree_have_fixed_nothing():
    settings = [{"analysis": FIXED}, {"analysis": FIXED | {"horizon": 4}}]
    assert shared_analysis(settings) == Analysis()
    assert shared_analysis(settings[:1] * 3) == Analysis(**FIXED)


def test_a_command_line_may_fix_it_and_is_refused_before_anything_is_trained():
    check(compose_settings("analysis.smallest_effect=0.5"))
    with pytest.raises(UsageError, match=r"analysis\.primary"):
        check(compose_settings("analysis.primary=fid"))


@pytest.mark.parametrize("preset", sorted(config_folder().glob("experiment/*.yaml")), ids=lambda preset: preset.stem)
def test_a_comparison_fixes_its_analysis_to_the_end_of_its_chains(preset):
    settings = compose_settings(f"experiment={preset.stem}")
    fixed = read_analysis({"analysis": dict(settings.analysis)})
    if "sweeper: arms" in preset.read_text():
        assert fixed.primary
        assert fixed.smallest_effect
        assert fixed.horizon == settings.num_generations - 1
    else:
        assert fixed == Analysis()
