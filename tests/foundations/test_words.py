"""Counted nouns agree with their numbers."""

import pytest

from collapsar.foundations.words import counted, duration_text


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [
        (0, "class", "0 classes"),
        (1, "class", "1 class"),
        (1.0, "class", "1 class"),
        (2.5, "generation", "2.5 generations"),
        ("1", "generation", "1 generation"),
        (">1", "generation", ">1 generations"),
        (1_234_567, "sample", "1234567 samples"),
    ],
)
def test_one_is_singular_and_all_else_plural(number, noun, text):
    assert counted(number, noun) == text


@pytest.mark.parametrize(("seconds", "words"), [(5.4, "5 s"), (119.0, "119 s"), (3600.0, "60 min"), (9e3, "2.5 h")])
def test_durations_are_as_coarse_as_they_are_true(seconds, words):
    assert duration_text(seconds) == words
