"""The command line before Hydra reads it: texts stay as they were typed, and options may stand anywhere."""

from collections.abc import Sequence

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from collapsar.config.command_line import TEXT_SETTINGS, as_typed, readable_by_hydra
from collapsar.config.constructors import find_target, types_of
from collapsar.foundations.errors import UsageError
from collapsar.foundations.settings import config_folder


def read(override, *, may_sweep=False):
    """What Hydra makes of an override after us: a value, or the values of a sweep."""
    parsed = OverridesParser.create().parse_override(as_typed(override, may_sweep=may_sweep))
    if not parsed.is_sweep_override():
        return parsed.value()
    jobs = [f"key={value}" for value in parsed.sweep_string_iterator()]
    return [each.value() for each in OverridesParser.create().parse_overrides(jobs)]


NO_TEXTS_OF_A_USER = {"data.checksum"}
TEXTS = (str, str | None, Sequence[str], Sequence[str] | None)


def texts_of(group):
    """Settings of a group whose constructors take any text."""
    targets = {OmegaConf.load(path)._target_ for path in (config_folder() / group).glob("*.yaml")}
    types = [types_of(find_target(group, target)) for target in targets if target.startswith("collapsar")]
    return {f"{group}.{name}" for each in types for name, kind in each.items() if kind in TEXTS}


def test_every_setting_of_data_and_tracking_that_is_a_text_keeps_what_was_typed():
    assert (texts_of("data") | texts_of("tracking")) - NO_TEXTS_OF_A_USER <= set(TEXT_SETTINGS)


LOOKS_LIKE_SOMETHING_ELSE = (
    *("2024_01_15", "1e5", "1_000", "+1", "-1", "007", "0x10", ".5", "5.", "inf", "nan", "true", "False", "08:30"),
    *("Größe", "日本", "a b", "a=b", "=", "it's", 'say "hi"', "~/x", "a(1)", "[1]", "{a}", "{a:1}", "#1", "a;b", "a&b"),
    *("a\\b", "tab\\", "'", "range(1,3)", "choice(a,b)", "100%", "a!b", "a|b", "<a>", "a/b.csv", "C:\\x", "a,b", ","),
)


@pytest.mark.parametrize("setting", ["name", "data.path", "+data.root", "++tracking.entity"])
@pytest.mark.parametrize("text", LOOKS_LIKE_SOMETHING_ELSE)
def test_a_text_is_what_was_typed(text, setting):
    assert read(f"{setting}={text}") == text


@given(st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="'\"\\$"), min_size=1))
@example("0x")
def test_any_text_without_quotes_is_what_was_typed(text):
    if text.lower() != "null":
        assert read(f"name={text}") == text


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("'a b'", "a b"), ('"1e5"', "1e5"), ("null", None), ("", ""), ("${oc.env:HOME}/x", "${oc.env:HOME}/x")],
)
def test_quotes_null_and_interpolations_keep_their_meaning(typed, expected):
    assert read(f"data.path={typed}") == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("a,2024_01_15,1e5", ["a", "2024_01_15", "1e5"]),
        ("Größe,a=b", ["Größe", "a=b"]),
        ("'a,b',3", ["a,b", "3"]),
        ("007", "007"),
    ],
)
def test_in_a_multirun_commas_part_texts_that_stay_as_they_were_typed(typed, expected):
    assert read(f"name={typed}", may_sweep=True) == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("[2024_01_15,1e5,x]", ["2024_01_15", "1e5", "x"]),
        ("[Größe,a b,'c,d']", ["Größe", "a b", "c,d"]),
        ("[true]", ["true"]),
        ("[]", []),
    ],
)
@pytest.mark.parametrize("may_sweep", [False, True])
def test_a_list_of_texts_is_what_was_typed(typed, expected, may_sweep):
    assert read(f"tracking.tags={typed}", may_sweep=may_sweep) == expected


@pytest.mark.parametrize(
    "override", ["seed=3", "num_synthetic=[1,2]", "model.beta=1e5", "dry_run=true", "~alarm", "+a={b:c}"]
)
def test_what_is_no_text_is_left_to_hydra(override):
    assert as_typed(override, may_sweep=False) == override


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "cannot read seed: an override is KEY=VALUE"),
        ("seed=[", r"cannot read seed=\[: no viable alternative"),
        ("+trainer.default_root_dir=Größe", "'\\+trainer.default_root_dir=\"VALUE\"'"),
        ("name=it's,b", "cannot read name=it's,b: .* needs quotes"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_setting_and_how_to_quote(override, expected):
    with pytest.raises(UsageError, match=expected):
        as_typed(override, may_sweep=True)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["seed=0,1", "-m", "name=x"], ["-m", "seed=0,1", "name=x"]),
        (["seed=0", "--config-dir", "here", "name=1_0"], ["--config-dir", "here", "seed=0", "name='1_0'"]),
        (["name=x", "--cfg", "job", "seed=1"], ["--cfg", "job", "name=x", "seed=1"]),
        (["--info", "defaults", "seed=1"], ["--info", "defaults", "seed=1"]),
    ],
)
def test_options_may_stand_between_overrides(typed, expected):
    assert readable_by_hydra(typed) == expected


@pytest.mark.parametrize("option", ["--nope", "-q", "--cfg=nope", "--config-dir"])
def test_an_option_that_there_is_not_is_refused_in_one_line(option):
    with pytest.raises(UsageError, match=f"{option.partition('=')[0]}.*; collapsar --hydra-help lists the options"):
        readable_by_hydra(["seed=1", option])


@pytest.mark.parametrize("choice", ["what_prevents_collapse,quickstart", "choice(quickstart,own)", "glob(what_*)"])
def test_several_experiments_are_refused_if_one_says_what_is_swept(choice, tmp_path):
    with pytest.raises(UsageError, match=r"says itself what is swept.*run them one after another"):
        readable_by_hydra(["-m", f"experiment={choice}"])


def test_several_experiments_that_sweep_nothing_are_one_multirun(tmp_path):
    (tmp_path / "experiment").mkdir()
    for name in ("a", "b"):
        (tmp_path / "experiment" / f"{name}.yaml").write_text("# @package _global_\nseed: 3\n")
    typed = ["-m", "--config-dir", str(tmp_path), "experiment=a,b"]
    assert readable_by_hydra(typed) == typed
    (tmp_path / "experiment" / "b.yaml").write_text("defaults: [{override /hydra/launcher: joblib}]\n")
    with pytest.raises(UsageError, match="b says itself what is swept"):
        readable_by_hydra(typed)
