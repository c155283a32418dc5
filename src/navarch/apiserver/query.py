"""A query string, read: names with their values, in the order in which they came.

Upstream counterpart: Go's url.ParseQuery. Names and values that are no UTF-8 are read as far as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import unquote_plus


class Query:
    """The parameters of a request. It is not changed once it is made, so requests share it."""

    __slots__ = ("_first", "_pairs", "raw")

    def __init__(self, raw: str = "") -> None:
        self.raw = raw
        """As it was sent, without the question mark."""

        self._pairs = tuple(_pairs(raw))
        self._first: dict[str, str] = {}
        for name, value in self._pairs:
            self._first.setdefault(name, value)

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def get(self, name: str, default: str = "") -> str:
        """The first value of a name."""
        return self._first.get(name, default)

    def all(self, name: str) -> Sequence[str]:
        """Every value of a name."""
        return [value for key, value in self._pairs if key == name] if name in self._first else ()

    def items(self) -> Sequence[tuple[str, str]]:
        """All names with their values."""
        return self._pairs

    def flag(self, name: str) -> bool:
        """A boolean, as Go reads it."""
        return self.get(name).lower() not in ("", "0", "false", "f")


def _pairs(raw: str) -> Iterator[tuple[str, str]]:
    """Names and values, in their order."""
    if not raw:
        return
    coded = "%" in raw or "+" in raw
    for part in raw.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield (unquote_plus(name), unquote_plus(value)) if coded else (name, value)


NONE = Query()
