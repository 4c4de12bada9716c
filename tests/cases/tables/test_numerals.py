"""Numbers as text has them."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collapsar.cases.tables.numerals import PADDED, Signs, is_held, possible_signs

POINT, COMMA = Signs(), Signs(",", ".")


@pytest.mark.parametrize("text", ["0", "-1.5", "+.5", "3.", "1e5", "1E-3", " 7 ", "inf", "-Infinity"])
def test_numbers_are_those_that_python_reads(text):
    assert POINT.read(text)
    assert float(POINT.plain(text)) == float(text)


@pytest.mark.parametrize("text", ["", "1_000", "0x1A", "1,5", "1.2.3", "٣", "nan", "1e", "--1", "1 2", "True", "12%"])
def test_other_texts_are_no_numbers(text):
    assert not POINT.read(text)


@pytest.mark.parametrize(
    ("text", "number"), [("1.234,5", 1234.5), ("1234,5", 1234.5), ("-12.345.678", -12345678.0), (",5", 0.5)]
)
def test_numbers_in_other_signs_are_read_in_them(text, number):
    assert COMMA.read(text)
    assert float(COMMA.plain(text)) == number


@pytest.mark.parametrize("text", ["1.23", "12.34,5", "1234.567", ".234"])
def test_digits_are_grouped_by_three(text):
    assert not COMMA.read(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float64_is_held_as_python_writes_it(number):
    assert is_held(repr(number))


@given(st.integers(-(10**22), 10**22))
def test_a_whole_number_is_held_if_float64_gives_it_back(number):
    assert is_held(str(number)) == (Decimal(repr(float(number))) == number)


@pytest.mark.parametrize(
    "text", ["9007199254740993", "1e-400", "1.8e308", "0.12345678901234567891", "1e99999999999999"]
)
def test_what_float64_rounds_is_not_held(text):
    assert not is_held(text)


@pytest.mark.parametrize("text", ["9007199254740992", "0e-400", "0.1", "1e22", "123456789012345", "-0.000"])
def test_what_float64_gives_back_is_held(text):
    assert is_held(text)


def test_one_comma_before_three_digits_may_be_either_sign():
    assert {float(signs.plain("1,234")) for signs in possible_signs(["1,234"])} == {1.234, 1234.0}
    assert {signs.decimal for signs in possible_signs(["1,234", "1,5"])} == {","}
    assert possible_signs(["1.2.3"]) == []


@pytest.mark.parametrize(
    ("text", "padded"), [("007", True), ("-01.5", True), ("0", False), ("0.5", False), ("10", False)]
)
def test_a_code_begins_with_a_zero_that_its_number_does_not_have(text, padded):
    assert bool(PADDED.match(text)) == padded


def test_an_infinite_number_is_read_as_one():
    assert [float(POINT.plain(text)) for text in ("1.8e308", "-inf")] == [math.inf, -math.inf]
