"""Quantities: canonical text as upstream has it, and a cost that does not grow with what they say."""

from __future__ import annotations

import contextlib
import time

import pytest

from navarch.lib import integers
from navarch.machinery import names, quantity

STORED = {
    "0.5Gi": "512Mi", "1.2Gi": "1288490188800m", "1e3": "1e3", "1E3": "1E3", "1e-3": "1e-3", "-0": "0", "0.0": "0", "00": "0", "1.": "1.",
    "+1": "+1", ".5": "500m", "1k": "1k", "1.5m": "2m", "0.0001": "1m", "0.1n": "1m", "1e19": "10e18",
    "9223372036854775808": "9223372036854775808", "9223372036854775807Ki": "9223372036854775807", "1Ei": "1Ei", "8Ei": "9223372036854775807",
    "100E": "100E", "1e100": "10e99", "1e-100": "1e-3", "1000000000000000000000000000000000": "1", "1e+3": "1e+3", "100000": "100k",
    "1000k": "1M", "1024Ki": "1Mi", "1048576": "1048576", "2000m": "2", "123456789.123456789": "123456789124m", "1.0000000001": "1001m",
    "10e-1": "1", "12e-1": "1200e-3", "1000000T": "1E", "1.5E": "1500P", "1.001": "1.001", "0.001": "1m", "1.2340": "1234m",
    "-1.001": "-1.001", "+1.5": "1500m", "0Ki": "0", "1e0": "1e0", "999.999k": "999.999k",
}  # fmt: skip
BAD_SUFFIX = ("1K", "1e", "1ee3", "--1", "+-1", "5e", "1.5e", "1e99999999999999999999")
BAD_FORMAT = (" 1", "1 ", "1 Gi", "1gb", "1_000", "0x10", "１", "٣", "1EiB", "", "1e3Ki", "1e3k", "- 1")


@pytest.mark.parametrize(("text", "stored"), STORED.items())
def test_a_quantity_is_stored_as_upstream_stores_it(text: str, stored: str) -> None:
    assert quantity.stored(text) == stored


@pytest.mark.parametrize(("text", "why"), [*((t, quantity.BAD_SUFFIX) for t in BAD_SUFFIX), *((t, quantity.BAD_FORMAT) for t in BAD_FORMAT)])
def test_what_is_no_quantity_is_refused_in_upstreams_words(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"^.*\Z") as refused:
        quantity.parse(text)
    assert str(refused.value) == why


@pytest.mark.parametrize(
    "text",
    [
        "1e2147483647", "1e-2147483648", "9" * 400 + "e2147483647", "1" * 3_000_000, "0." + "0" * 3_000_000 + "1", "1." + "1" * 1_000_000,
        "1e" + "1" * 9999,
    ],
    ids=lambda t: t[:16],
)  # fmt: skip
def test_no_quantity_costs_more_than_its_reading(text: str) -> None:
    began = time.perf_counter()
    try:
        amount = quantity.parse(text)
        quantity.stored(text), quantity.add(text, "1"), quantity.compare(text, "1Gi"), quantity.value(text)
        assert len(quantity.format_as(*amount)) < 1000
    except ValueError as error:
        assert str(error) in (quantity.BAD_NUMBER, quantity.BAD_SUFFIX)
    assert time.perf_counter() - began < 0.02


def test_integers_are_read_as_go_reads_them() -> None:
    assert [integers.required(t) for t in ("0", "-7", "+12", "007", "9223372036854775807")] == [0, -7, 12, 7, 2**63 - 1]
    for text in ("²", "1_000", " 1", "٣", "", "-", "9223372036854775808", "1" * 5000):
        with pytest.raises(ValueError, match="strconv"):
            integers.required(text)


def test_long_texts_are_not_remembered() -> None:
    """A cache of so many entries is bounded in bytes only when its keys are."""
    import tracemalloc

    checked = (names.label_value, names.qualified_name, names.dns_label, names.dns_label_1035, quantity.canonical)
    tracemalloc.start()
    for n in range(200):
        for check in checked:
            with contextlib.suppress(ValueError):
                check(f"{n}" + "x" * 100_000)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2_000_000
