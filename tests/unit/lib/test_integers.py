"""Integers in texts that anybody may have written."""

from __future__ import annotations

import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.lib import integers

SOURCES = pathlib.Path(integers.__file__).parents[1]


@given(st.integers(-(2**70), 2**70))
def test_every_integer_of_64_bits_is_read_and_no_other(number: int) -> None:
    assert integers.parse(str(number)) == (number if -(2**63) <= number <= 2**63 - 1 else None)


@given(st.text(max_size=30))
def test_no_text_raises(text: str) -> None:
    found = integers.parse(text)
    assert found is None or re.fullmatch(r"[+-]?[0-9]+", text)


@pytest.mark.parametrize("text", ["²", "٣", "1_000", " 1", "1 ", "", "+", "-", "1.0", "0x1", "9" * 5000, "1\n", None])
def test_what_is_no_integer_is_none(text: str | None) -> None:
    assert integers.parse(text) is None


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("+5", 5), ("-5", -5), ("007", 7), ("0" * 5000 + "1", 1)])
def test_signs_and_zeros_in_front(text: str, value: int) -> None:
    assert integers.parse(text) == value


def test_bounds_are_included() -> None:
    assert [integers.parse(t, 0, 7) for t in ("-1", "0", "7", "8")] == [None, 0, 7, None]
