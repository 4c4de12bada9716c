"""Names of columns as they are typed: what a message says to type is what Hydra reads back."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collapsar.cases.tables.names import column_error, find_name, quoted, type_override
from collapsar.foundations.errors import UsageError

NAMES = st.text(st.sampled_from("aZ09_. ,;:=é'\"\\[]{}()#!%-+/"), min_size=1, max_size=8)
NAMES |= st.sampled_from(["3", "2020_01", "1e5", "true", "Null", "nan", "-inf", "007", "1_0.5", "a: b", "it's"])
MANY = settings(deadline=None, max_examples=150)


def typed(override):
    """The value of a setting that is typed at a shell."""
    (argument,) = shlex.split(override)
    return OverridesParser.create().parse_override(argument).value()


@MANY
@given(NAMES)
@example("back\\")
@example("both\\'")
def test_a_name_is_found_again_by_what_a_message_says_to_type(name):
    others = ["other", "Ä", "x y"]
    message = str(column_error(name, "is wrong"))
    (identifier,) = typed(message.partition(" is wrong; set ")[2].removesuffix(" to leave it out"))
    assert find_name("data.identifiers", identifier, [name, *others]) == name
    assert find_name("data.target", typed(shlex.quote(f"data.target={quoted(name)}")), [name, *others]) == name


@MANY
@given(NAMES.filter(lambda name: name == name.strip()))
def test_a_kind_is_given_by_what_a_message_says_to_type(name):
    override = type_override(name, "count")
    entries = typed(override if override.startswith(("'", '"')) else shlex.quote(override))
    if isinstance(entries, list):
        entries = dict([entries[0].rsplit(": ", 1)])
    assert (find_name("data.types", *entries, [name, "other"]), *entries.values()) == (name, "count")


@MANY
@given(NAMES)
@example("0 ")
@example(" 1_0")
@example("true ")
def test_a_name_that_hydra_reads_as_a_number_finds_its_column(name):
    try:
        value = OverridesParser.create().parse_override(f"data.target={name}").value()
    except Exception:
        return
    if isinstance(value, int | float | bool) and value == value:
        assert find_name("data.target", value, [name, "other"]) == name


@pytest.mark.parametrize(("value", "names"), [(3, ["+3", "3"]), (1, ["true", "1.0"]), (100000.0, ["1e5", "1e+5"])])
def test_a_number_that_several_columns_or_none_could_be_is_refused(value, names):
    with pytest.raises(UsageError, match=rf"data.identifiers must be one of .*: got {value}; put a name that reads"):
        find_name("data.identifiers", value, names)
