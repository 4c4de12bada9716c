"""Counted nouns agree with their numbers."""

import pytest

from collapsar.records.words import counted


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
