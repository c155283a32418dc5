"""Query strings and request lines, read without the web library, beside what it reads."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from navarch.apiserver import routes
from navarch.apiserver.query import Query

RAW = st.text("ab=&+%2F3Cfz;?", max_size=24)


@given(RAW)
def test_a_query_is_read_as_the_standard_library_reads_it(raw: str) -> None:
    pairs = parse_qsl(raw, keep_blank_values=True)
    made = Query(raw)
    assert list(made.items()) == pairs and bool(made) == bool(pairs) and made.raw == raw
    for name in {name for name, _ in pairs} | {"absent"}:
        values = [value for key, value in pairs if key == name]
        assert list(made.all(name)) == values
        assert (made.get(name, "-"), name in made) == ((values[0], True) if values else ("-", False))


@given(st.text("ab/%2Ff+E8", max_size=24))
def test_a_path_is_decoded_as_the_web_library_does(rest: str) -> None:
    info = routes.parse("GET", f"/{rest}")[0]
    if "/" + rest in ("/api", "/apis") or info.is_resource or "%" not in rest:
        return
    assert info.path.lower() == URL.build(path=f"/{rest}", encoded=True).path.lower()


@pytest.mark.parametrize(
    ("target", "path", "raw"),
    [("/a?b#c", "/a", "b"), ("/a#b?c", "/a", ""), ("?x", "/", "x"), ("/a%2fb?%2f", "/a/b", "%2f"), ("/%ff%E2%82%AC", "/%ff€", "")],
)
def test_what_belongs_to_the_path(target: str, path: str, raw: str) -> None:
    info, query = routes.parse("GET", target)
    assert (info.path, query.raw) == (path, raw)


def test_what_short_lines_ask_for_is_remembered_and_long_ones_are_not() -> None:
    assert routes.parse("GET", "/api/v1/pods?limit=5") is routes.parse("GET", "/api/v1/pods?limit=5")
    long = "/api/v1/pods?labelSelector=" + "x" * 300
    assert routes.parse("GET", long) is not routes.parse("GET", long)
