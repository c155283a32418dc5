"""Regular expressions as Go has them: matched in time linear in the text, whatever the pattern.

Patterns come from users (schemas, CEL), so Python's `re`, which backtracks, must not run them. RE2 is the engine Go's was made
after: the same language but for a few corners (`\\C`, which Go does not know, is refused here).

In: a pattern. Out: a `Pattern`, compiled when first used and shared by all who hold the same text; `problem` says in Go's words
why a pattern is none.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import re2

from navarch.machinery.remembering import remembering

MAX_MEMORY = 8 << 20
"""Bytes that one pattern may use, compiled and running. Go has no such bound, but refuses large repetitions."""
_ANYWHERE, _NOWHERE = re2._Anchor.UNANCHORED, (-1, -1)
_PLAIN_C = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_WORDS = {
    "invalid escape sequence": "invalid escape sequence",
    "invalid character class": "invalid character class",
    "invalid character class range": "invalid character class range",
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "unexpected )": "unexpected )",
    "trailing \\": "trailing backslash at end of expression",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid UTF-8": "invalid UTF-8",
    "invalid named capture group": "invalid named capture",
}


class Invalid(ValueError):
    """The text is no pattern; the message is Go's: error parsing regexp: missing closing ): `(`."""


class Pattern:
    """A pattern that is compiled when first used. Thread-safe: compiling twice does no harm."""

    __slots__ = ("_match", "matches", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._match: Any = None
        self.matches = remembering(self.search)
        """`search`, from memory where it can."""

    def search(self, value: str) -> bool:
        """Whether some part of the value matches. Invalid when the text is no pattern."""
        if self._match is None:
            self._match = _compiled(self.text)
        data = value.encode("utf-8", "surrogatepass")
        return bool(self._match(_ANYWHERE, data, 0, len(data))[0] != _NOWHERE)

    def find_all(self, value: str, most: int = -1) -> list[str]:
        """The parts that match, one behind the other, at most so many; an empty one right behind another does not count."""
        if self._match is None:
            self._match = _compiled(self.text)
        data = value.encode("utf-8", "surrogatepass")
        found: list[str] = []
        at, last = 0, -1
        while at <= len(data) and len(found) != most:
            start, end = self._match(_ANYWHERE, data, at, len(data))[0]
            if (start, end) == _NOWHERE:
                break
            if start != end or start != last:
                found.append(data[start:end].decode("utf-8", "surrogatepass"))
                last = end
            at = end if end > at or start != end else end + 1
            while at < len(data) and data[at] & 0xC0 == 0x80:
                at += 1
        return found


@functools.lru_cache(4096)
def pattern(text: str) -> Pattern:
    """The one `Pattern` of a text."""
    return Pattern(text)


def problem(text: str) -> str:
    """What is wrong with a pattern, in Go's words; "" for a good one."""
    try:
        pattern(text).matches("")
    except Invalid as error:
        return str(error)
    return ""


def _options() -> re2.Options:
    made = re2.Options()
    made.log_errors = False
    made.never_capture = True
    made.max_mem = MAX_MEMORY
    return made


def _compiled(text: str) -> Any:
    """The method of the binding that its public ones wrap: 1 µs, not 5, when only yes or no is asked.

    A `re2.Set` answers as fast, but says no when its automaton outgrows the memory; this falls back to a slower, exact one.
    """
    if foreign := _PLAIN_C.search(text):
        raise Invalid(f"error parsing regexp: invalid escape sequence: `{foreign[0][-2:]}`")
    try:
        return re2.compile(text.encode(), _options())._regexp.Match
    except UnicodeEncodeError:
        raise Invalid("error parsing regexp: invalid UTF-8") from None
    except re2.error as error:
        raise Invalid(_go_words(error)) from None


def _go_words(error: Exception) -> str:
    raw = error.args[0] if error.args else ""
    told = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
    kind, _, part = told.partition(": ")
    if kind not in _WORDS:
        return f"error parsing regexp: expression too large ({told})"
    return f"error parsing regexp: {_WORDS[kind]}" + (f": `{part}`" if part else "")
