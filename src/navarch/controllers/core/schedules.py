"""Schedules of CronJobs: the five fields of cron, its names and macros, in any time zone. Pure.

In: text. Out: a schedule that tells its next time after, and its last time between two others, both bounded in cost whatever the text says:
a search goes over at most five years of days, and looks into the minutes of matching days alone. A local time that does not exist (a clock
was put forward) is left out; one that exists twice counts twice.

Upstream counterpart: github.com/robfig/cron/v3 (ParseStandard).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from navarch.lib import integers
from navarch.machinery import durations

_DAYS_AHEAD = 5 * 366
_MONTHS = {m: i + 1 for i, m in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))}
_DAYS = {d: i for i, d in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = ((0, 59, {}), (0, 23, {}), (1, 31, {}), (1, 12, _MONTHS), (0, 6, _DAYS))
_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "


@dataclass(frozen=True, slots=True)
class Every:
    """The same time between all runs."""

    seconds: int

    def after(self, moment: float) -> float | None:
        """The first time after a moment; times are seconds since the epoch."""
        return float(int(moment) + self.seconds)

    def last(self, start: float, end: float) -> float | None:
        """The last time after `start` and not after `end`."""
        count = int(end - int(start)) // self.seconds
        return float(int(start) + count * self.seconds) if count > 0 else None


@dataclass(frozen=True, slots=True)
class Cron:
    """Which minutes, hours, days of the month, months and days of the week (0 is Sunday) match, in a time zone."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    """Whether a day has to match by month and by week: when either is `*`. Else one of the two does."""
    zone: datetime.tzinfo

    def after(self, moment: float) -> float | None:
        """The first time after a moment; None when there is none within five years."""
        first = _local(moment, self.zone).date()
        for number in range(_DAYS_AHEAD):
            day = _shifted(first, number)
            if day is not None and self._matches(day):
                found = next((t for t in self._times(day) if t > moment), None)
                if found is not None:
                    return found
        return None

    def last(self, start: float, end: float) -> float | None:
        """The last time after `start` and not after `end`, within five years before it."""
        final, first = _local(end, self.zone).date(), _local(start, self.zone).date()
        for number in range(_DAYS_AHEAD):
            day = _shifted(final, -number)
            if day is None or day < first:
                return None
            if self._matches(day):
                found = [t for t in self._times(day) if start < t <= end]
                if found:
                    return found[-1]
        return None

    def _matches(self, day: datetime.date) -> bool:
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_month and by_week) if self.both else (by_month or by_week)

    def _times(self, day: datetime.date) -> Iterator[float]:
        """All times of a day in order, hour by hour of the time that passes."""
        moment = datetime.datetime(day.year, day.month, day.day, tzinfo=self.zone).timestamp()
        while (local := _local(moment, self.zone)).date() == day:
            if local.hour in self.hours:
                for minute in range(local.minute, 60):
                    time = moment + (minute - local.minute) * 60
                    if minute in self.minutes and _is(_local(time, self.zone), local.hour, minute):
                        yield time
            moment += (60 - local.minute) * 60


Schedule = Cron | Every


def _local(moment: float, zone: datetime.tzinfo) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(moment, zone)


def _is(local: datetime.datetime, hour: int, minute: int) -> bool:
    return (local.hour, local.minute) == (hour, minute)


def _shifted(day: datetime.date, days: int) -> datetime.date | None:
    try:
        return day + datetime.timedelta(days=days)
    except OverflowError:
        return None


def parse(text: str, zone: datetime.tzinfo) -> Schedule:
    """A schedule. ValueError, in upstream's words, when the text is none."""
    if text.startswith(_EVERY):
        try:
            return Every(max(1, int(durations.seconds(text[len(_EVERY) :]))))
        except ValueError as error:
            raise ValueError(f"failed to parse duration {text}: {error}") from None
    if text.startswith("@"):
        if text not in _MACROS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _MACROS[text]
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    sets, stars = [], []
    for part, (low, high, names) in zip(parts, _FIELDS, strict=True):
        found, star = _field(part, low, high, names)
        sets.append(found)
        stars.append(star)
    minutes, hours, days, months, weekdays = sets
    return Cron(minutes, hours, days, months, weekdays, stars[2] or stars[4], zone)


def _field(text: str, low: int, high: int, names: Mapping[str, int]) -> tuple[frozenset[int], bool]:
    """What a field matches, and whether it has a star that is not stepped over."""
    found: set[int] = set()
    star = False
    for item in text.split(","):
        if item:
            values, starred = _item(item, low, high, names)
            found.update(values)
            star |= starred
    return frozenset(found), star


def _item(item: str, low: int, high: int, names: Mapping[str, int]) -> tuple[range, bool]:
    span, *steps = item.split("/")
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {item}")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
        first, last = low, high
    else:
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {item}")
        first = _number(ends[0], names)
        last = _number(ends[1], names) if len(ends) == 2 else high if steps else first
    step = _number(steps[0], {}) if steps else 1
    if first < low:
        raise ValueError(f"beginning of range ({first}) below minimum ({low}): {item}")
    if last > high:
        raise ValueError(f"end of range ({last}) above maximum ({high}): {item}")
    if first > last:
        raise ValueError(f"beginning of range ({first}) beyond end of range ({last}): {item}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {item}")
    return range(first, last + 1, step), star and step == 1


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    value = integers.parse(text)
    if value is None:
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    if value < 0:
        raise ValueError(f"negative number ({value}) not allowed: {text}")
    return value
