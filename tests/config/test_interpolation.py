"""Variable interpolation in Compose files, as in the tables of the Compose specification."""

from __future__ import annotations

import pytest

from simulator.config.compose.interpolation import InterpolationError, interpolate

VARIABLES = {"SET": "value", "EMPTY": "", "OTHER": "else"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("", ""),
        ("$SET", "value"),
        ("a${SET}b$SET", "avaluebvalue"),
        ("$$SET and $$", "$SET and $"),
        ("$UNSET${UNSET}", ""),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}", ""),
        ("${UNSET-default}", "default"),
        ("${SET:-default}", "value"),
        ("${SET:?must be set}", "value"),
        ("${EMPTY?must be set}", ""),
        ("${SET:+there}", "there"),
        ("${EMPTY:+there}", ""),
        ("${EMPTY+there}", "there"),
        ("${UNSET+there}", ""),
        ("${UNSET:-${OTHER}}", "else"),
        ("${UNSET:-${NEITHER:-a}-b}", "a-b"),
        ("${UNSET:-$$}", "$"),
        ("${UNSET:-}", ""),
        ("127.0.0.1:${PORT:-8080}:8080", "127.0.0.1:8080:8080"),
    ],
)
def test_variables_are_interpolated(text: str, filled: str) -> None:
    assert interpolate(text, VARIABLES) == filled


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${UNSET:?must be set}", "needs the variable UNSET: must be set"),
        ("${UNSET?}", "needs the variable UNSET: it is not set"),
        ("${EMPTY:?}", "needs the variable EMPTY: it is not set"),
        ("${SET", "has a ${ without a closing brace"),
        ("${UNSET:-${SET}", "has a ${ without a closing brace"),
        ("${SET.x}", "has ${SET.x}, which is not a valid variable"),
        ("costs 5$", "has a $ without a variable name; write $$ for a literal $"),
        ("${}", "has a $ without a variable name; write $$ for a literal $"),
    ],
)
def test_an_invalid_variable_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(InterpolationError) as caught:
        interpolate(text, VARIABLES)
    assert str(caught.value) == problem
