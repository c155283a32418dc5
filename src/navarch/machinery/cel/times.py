"""Timestamps and durations: read from text, written, and their parts in a time zone.

Upstream counterparts: cel-go's common/types (timestamp.go, duration.go), Go's time package, whose texts these are.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Callable
from typing import Any

from navarch.machinery.cel.values import (
    Duration,
    EvaluationError,
    Timestamp,
    checked_timestamp,
    moment,
)

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_EPOCH = datetime.date(1970, 1, 1).toordinal()


def timestamp(text: str) -> Timestamp:
    """RFC 3339, to the nanosecond."""
    match = _RFC3339.match(text)
    try:
        if match is None:
            raise ValueError
        year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
        days = datetime.date(year, month, day).toordinal() - _EPOCH
        if hour > 23 or minute > 59 or second > 59:
            raise ValueError
        offset = 0 if match[8] == "Z" else (int(match[8][1:3]) * 60 + int(match[8][4:])) * (60 if match[8][0] == "+" else -60)
    except ValueError:
        raise EvaluationError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"') from None
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
    return checked_timestamp(seconds * 10**9 + int((match[7] or "").ljust(9, "0")[:9] or 0))


def date(text: str) -> Timestamp:
    """A day, as `format: date` has it."""
    return timestamp(f"{text}T00:00:00Z")


_MAX_DIGITS = 20
"""More would be more than nanoseconds can hold, or finer than they are."""


def duration(text: str) -> Duration:
    """Go's form: 1h30m, -1.5s."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    total, at = 0, 0
    for match in _PART.finditer(rest):
        if match.start() != at:
            break
        whole, _, part = match[1].partition(".")
        unit = _UNITS[match[2]]
        part = part[:_MAX_DIGITS]
        if len(whole) > _MAX_DIGITS:
            break
        total += int(whole or 0) * unit + int(part or 0) * unit // 10 ** len(part)
        at = match.end()
    if (not rest or at != len(rest)) and rest != "0":
        raise EvaluationError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def show_timestamp(held: Timestamp) -> str:
    seconds, nanoseconds = divmod(held.nanoseconds, 10**9)
    whole = moment(Timestamp(seconds * 10**9)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{whole}{('.' + f'{nanoseconds:09d}').rstrip('0').rstrip('.')}Z"


def show_duration(held: Duration) -> str:
    """Seconds: 90s, 1.5s."""
    sign = "-" if held.nanoseconds < 0 else ""
    seconds, nanoseconds = divmod(abs(held.nanoseconds), 10**9)
    return f"{sign}{seconds}{('.' + f'{nanoseconds:09d}').rstrip('0').rstrip('.')}s"


def zone(name: str) -> datetime.tzinfo:
    """A time zone by name, or by its distance from UTC: +02:00, -5:30."""
    if name in ("", "UTC"):
        return datetime.UTC
    if match := re.match(r"([+-]?)(\d{1,2}):(\d{2})\Z", name, re.ASCII):
        minutes = int(match[2]) * 60 + int(match[3])
        return datetime.timezone(datetime.timedelta(minutes=-minutes if match[1] == "-" else minutes))
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None


Part = Callable[[datetime.datetime], Any]
PARTS: dict[str, tuple[str, Part]] = {
    "getFullYear": ("year", lambda at: at.year),
    "getMonth": ("month", lambda at: at.month - 1),
    "getDayOfYear": ("day_of_year", lambda at: at.timetuple().tm_yday - 1),
    "getDayOfMonth": ("day_of_month", lambda at: at.day - 1),
    "getDate": ("day_of_month_1_based", lambda at: at.day),
    "getDayOfWeek": ("day_of_week", lambda at: at.isoweekday() % 7),
    "getHours": ("hours", lambda at: at.hour),
    "getMinutes": ("minutes", lambda at: at.minute),
    "getSeconds": ("seconds", lambda at: at.second),
    "getMilliseconds": ("milliseconds", lambda at: at.microsecond // 1000),
}
"""Function → the end of its overloads' ids, and the part it gives."""


def part(read: Part) -> Callable[..., Any]:
    """The function that gives a part of a timestamp, in UTC or a named zone."""
    return lambda held, name="": read(moment(held).astimezone(zone(name)))
