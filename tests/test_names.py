"""Misspelt names get the nearest known one; choices are listed."""

import pytest

from llie_core.names import check_choice, nearest, unknown


def test_the_nearest_name_is_found_whatever_its_case_and_dashes():
    assert nearest("Zero-DCE", ["clahe", "zero_dce"]) == "; did you mean 'zero_dce'?"
    assert nearest("builtin_fases", ["builtin-faces", "lol"]) == "; did you mean 'builtin-faces'?"
    assert nearest("xyzzy", ["clahe"]) == ""


def test_the_error_names_the_known():
    assert str(unknown("paper", "jiont", ["joint", "neid"])) == (
        "no paper 'jiont'; did you mean 'joint'? (known: joint, neid)"
    )


def test_a_choice_is_one_of_the_known():
    check_choice(("a", ""), first="a", second="")
    with pytest.raises(ValueError, match=r"^size=3: choose one of 14, 17$"):
        check_choice((14, 17), size=3)
    with pytest.raises(ValueError, match=r"^form='c': choose one of 'a', ''$"):
        check_choice(("a", ""), form="c")
