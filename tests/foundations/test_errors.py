"""Values that make no sense are refused by name; errors of the disk name their file."""

import errno
from math import inf, nan

import pytest

from collapsar.foundations.errors import (
    UsageError,
    check_fraction,
    check_not_negative,
    check_positive,
    is_of_disk,
)
from collapsar.foundations.files import disk_errors_name


@pytest.mark.parametrize("check", [check_positive, check_not_negative])
@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_a_number_that_is_not_finite_is_refused_by_its_name(check, value):
    with pytest.raises(UsageError, match=f"rate must be a finite number: got {value}"):
        check(size=1, rate=value)


@pytest.mark.parametrize("value", [inf, -inf, nan, -0.1, 1.1])
def test_a_fraction_outside_0_to_1_is_refused(value):
    with pytest.raises(UsageError, match=f"share must lie between 0 and 1: got {value}"):
        check_fraction(share=value)


def test_the_edges_are_where_the_names_say():
    check_positive(value=1e-300)
    check_not_negative(value=0)
    check_fraction(low=0, high=1.0)
    with pytest.raises(UsageError, match="value must be above 0: got 0"):
        check_positive(value=0)
    with pytest.raises(UsageError, match="value must be at least 0: got -1"):
        check_not_negative(value=-1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_an_error_of_the_disk_names_the_file_it_came_from(number, tmp_path):
    with pytest.raises(OSError, match=str(tmp_path)) as caught, disk_errors_name(tmp_path):
        raise OSError(number, "what the system says")
    assert is_of_disk(caught.value)


def test_the_name_of_a_file_that_is_known_already_stays(tmp_path):
    with pytest.raises(OSError, match="'inner'"), disk_errors_name(tmp_path):
        raise OSError(errno.ENOSPC, "full", "inner")


def test_an_error_of_a_path_is_not_of_the_disk_and_names_the_path(tmp_path):
    with pytest.raises(PermissionError) as caught, disk_errors_name(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    assert not is_of_disk(caught.value)
    assert caught.value.filename == str(tmp_path)
