"""The checksum of a row: no changed bit goes unnoticed, and SQL and Python agree on the numbers' part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navarch.store import checksum, library

rows = st.tuples(
    st.integers(1 << 11, 1 << 60), st.text(min_size=1, max_size=20), st.binary(max_size=40), st.integers(1, 1 << 50),
    st.integers(0, 1 << 60), st.integers(0, 1 << 45), st.integers(0, 1 << 45),
)  # fmt: skip


@given(row=rows, column=st.integers(0, 6), bit=st.integers(0, 62))
def test_a_changed_bit_is_found(row: tuple[Any, ...], column: int, bit: int) -> None:
    changed: list[Any] = list(row)
    held = changed[column]
    if isinstance(held, int):
        changed[column] = held ^ 1 << bit
        # The modulus is a prime: a power of two is no multiple of it.
        assert checksum.of(*changed) != checksum.of(*row)
        return
    data = bytearray(held.encode() if isinstance(held, str) else held)
    if data:
        data[bit % len(data)] ^= 1 << bit % 7
        changed[column] = data.decode(errors="surrogateescape").encode("utf-8", "replace").decode() if isinstance(held, str) else bytes(data)
        if changed[column] != held:
            assert checksum.of(*changed) != checksum.of(*row)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[library.Connection]:
    made = library.connect(str(tmp_path_factory.mktemp("checksum") / "empty.db"))
    yield made
    made.close()


@given(row=rows, deleted=st.booleans())
def test_sql_seeds_as_python_does(connection: library.Connection, row: tuple[Any, ...], deleted: bool) -> None:
    row_id, _, _, created, previous, at, expires = row
    created = -(row_id >> 10) if deleted else created % (row_id >> 10) + 1
    query = f"SELECT {checksum.seed_in_sql('h', 'h.created')} FROM (SELECT ? AS id, ? AS created, ? AS previous, ? AS at, ? AS expires) h"
    assert connection.execute(query, (row_id >> 4, created, previous >> 4, at, expires)).fetchone() == (
        checksum.seed(row_id >> 4, created, previous >> 4, at, expires),
    )
