"""Schedules of cron against a plain search minute by minute, and against what upstream's parser says of known texts."""

from __future__ import annotations

import datetime
import time
import zoneinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.controllers.core import schedules

UTC = datetime.UTC
ZONES = [UTC, *(zoneinfo.ZoneInfo(z) for z in ("Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "Australia/Lord_Howe"))]


def at(text: str, zone: datetime.tzinfo = UTC) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("spec", "after", "expected"),
    [
        ("0/15 * * * *", "2012-07-09T14:45", "2012-07-09T15:00"),
        ("20-35/15 * * * *", "2012-07-09T14:45", "2012-07-09T15:20"),
        ("0 0 * Feb Mon", "2012-07-09T23:35", "2013-02-04T00:00"),
        ("0 0 1 Feb Mon", "2012-07-09T23:35", "2013-02-01T00:00"),
        ("0 0 29 2 *", "2012-07-09T23:35", "2016-02-29T00:00"),
        ("0 0 1 * mon", "2026-11-25T00:00", "2026-11-30T00:00"),
        ("0 0 */2 * mon", "2026-11-26T00:00", "2026-11-27T00:00"),
        ("0 0 * * ?", "2026-11-26T00:00", "2026-11-27T00:00"),
        ("@hourly", "2012-07-09T14:45", "2012-07-09T15:00"),
        ("@weekly", "2012-07-09T14:45", "2012-07-15T00:00"),
    ],
)
def test_next_times_are_those_of_upstreams_parser(spec: str, after: str, expected: str) -> None:
    assert schedules.parse(spec, UTC).after(at(after)) == at(expected)


@pytest.mark.parametrize("spec", ["0 0 30 2 *", "0 0 31 2,4 *", "0 0 31 feb ?"])
def test_a_day_that_never_comes_ends_the_search_soon(spec: str) -> None:
    started = time.perf_counter()
    assert schedules.parse(spec, UTC).after(at("2026-01-01T00:00")) is None
    assert time.perf_counter() - started < 0.05


def test_clocks_that_are_put_forward_and_back() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    schedule = schedules.parse("30 2 * * *", berlin)
    assert schedule.after(at("2026-03-28T03:00", berlin)) == at("2026-03-30T02:30", berlin), "the hour that is left out has no run"
    first = schedule.after(at("2026-10-24T03:00", berlin))
    assert first == at("2026-10-25T02:30", berlin)
    assert first is not None and schedule.after(first) == first + 3600, "the hour that comes twice has two"
    sao_paulo = zoneinfo.ZoneInfo("America/Sao_Paulo")
    assert schedules.parse("0 4 * * *", sao_paulo).after(at("2018-11-03T05:00", sao_paulo)) == at("2018-11-04T04:00", sao_paulo)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("9-4 * * * *", "beginning of range (9) beyond end of range (4): 9-4"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@reboot", "unrecognized descriptor: @reboot"),
    ],
)
def test_what_is_no_schedule_is_refused_in_upstreams_words(spec: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".*") as refused:
        schedules.parse(spec, UTC)
    assert str(refused.value) == why


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    stepped = st.tuples(st.one_of(span, st.just("*"), number.map(str)), st.integers(1, 20)).map(lambda p: f"{p[0]}/{p[1]}")
    return st.one_of(st.just("*"), number.map(str), st.lists(st.one_of(number.map(str), span, stepped), min_size=1, max_size=3).map(",".join))


SPECS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join)
MOMENTS = st.integers(int(at("2018-01-01T00:00")), int(at("2030-01-01T00:00")))


def by_search(schedule: schedules.Cron, start: int, minutes: int) -> list[float]:
    """All times in so many minutes after a moment, every minute looked at by its local time alone."""
    found = []
    first = start - start % 60 + 60
    for moment in range(first, first + minutes * 60, 60):
        local = datetime.datetime.fromtimestamp(moment, schedule.zone)
        days = local.day in schedule.days, local.isoweekday() % 7 in schedule.weekdays
        right_day = all(days) if schedule.both else any(days)
        if right_day and local.minute in schedule.minutes and local.hour in schedule.hours and local.month in schedule.months:
            found.append(float(moment))
    return found


@settings(max_examples=150, deadline=None)
@given(SPECS, st.sampled_from(ZONES), MOMENTS)
def test_times_are_those_of_a_plain_search(spec: str, zone: datetime.tzinfo, moment: int) -> None:
    schedule = schedules.parse(spec, zone)
    assert isinstance(schedule, schedules.Cron)
    minutes = 3 * 1440
    expected = by_search(schedule, moment, minutes)
    end = float(moment - moment % 60 + minutes * 60)
    started = time.perf_counter()
    following, last = schedule.after(moment), schedule.last(moment, end)
    assert time.perf_counter() - started < 0.2
    assert last == (expected[-1] if expected else None)
    if expected:
        assert following == expected[0]
    else:
        assert following is None or following > end


@settings(deadline=None)
@given(st.text(alphabet="0123456789*/,-? @monfebTZ=every", max_size=30))
def test_any_text_is_a_schedule_or_refused(text: str) -> None:
    try:
        schedules.parse(text, UTC).after(0.0)
    except ValueError:
        return


def test_every_so_often_counts_from_the_last_time() -> None:
    schedule = schedules.parse("@every 1h30m", UTC)
    assert schedule.after(100.0) == 5500.0 and schedule.last(100.0, 11000.0) == 10900.0 and schedule.last(100.0, 5499.0) is None
