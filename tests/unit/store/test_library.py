"""Which SQLite the store runs with, and who may know."""

from __future__ import annotations

import pathlib
import re

import pytest

import navarch
from navarch.store import library

SOURCE = pathlib.Path(navarch.__file__).parent
ALLOWED = {"store/library.py", "testing/disk.py"}


@pytest.mark.parametrize("number", [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)])
def test_versions_with_the_bug_are_named(number: library.Version) -> None:
    text = library.weakness(number)
    assert ".".join(map(str, number)) in text
    assert "3.51.3" in text


@pytest.mark.parametrize("number", [(3, 6, 23), (3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (3, 54, 1), (4, 0, 0)])
def test_versions_without_it_are_not(number: library.Version) -> None:
    assert library.weakness(number) == ""


def test_the_one_that_is_installed_is_sound() -> None:
    assert library.weakness(library.version()) == ""


def test_only_one_module_knows_the_library() -> None:
    """And the test kit's disk, which is a part of SQLite's own."""
    named = {
        str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if re.search(r"^\s*(import|from) (apsw|sqlite3)\b", p.read_text(), re.MULTILINE)
    }
    assert named == ALLOWED
