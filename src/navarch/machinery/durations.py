"""Go's durations ("1h2m3.5s"), as configuration files write them: metav1.Duration.

In: the text. Out: seconds. What is no duration is refused in the words of Go's time.ParseDuration.
"""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)([^\d.]*)")


def seconds(text: str) -> float:
    """Seconds of a duration. ValueError, in Go's words, when it is none."""
    sign = -1.0 if text.startswith("-") else 1.0
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0.0
    shown = f'time: invalid duration "{text}"'
    total, at = 0.0, 0
    for part in _PART.finditer(rest):
        number, unit = part.groups()
        if part.start() != at:
            raise ValueError(shown)
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        total += float(number) * _UNITS[unit]
        at = part.end()
    if not at or at != len(rest):
        raise ValueError(shown)
    return sign * total
