"""Times of the API: RFC 3339 strings in UTC, to the second (Time) or to the microsecond (MicroTime).

Upstream counterparts: metav1.Time and metav1.MicroTime.
"""

from __future__ import annotations

import datetime
import functools
import re

_FORM = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


@functools.lru_cache(8)
def _second(whole: int) -> str:
    moment = datetime.datetime.fromtimestamp(whole, datetime.UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='seconds')}Z"


def seconds(now: float) -> str:
    """A Time from seconds since the epoch; the fraction is cut off, as upstream does."""
    return _second(int(now))


def micros(now: float) -> str:
    """A MicroTime from seconds since the epoch: always six digits."""
    whole = int(now)
    return f"{_second(whole)[:-1]}.{int((now - whole) * 1_000_000):06d}Z"


def parse(text: str) -> float:
    """Seconds since the epoch of a Time or MicroTime. ValueError when it is none, in the words of Go's parser."""
    if not _FORM.match(text):
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise ValueError(f'parsing time "{text}": {error}') from None
