"""APSW beside the standard library's sqlite3 on the store's write path: `python bench/sqlite_library_bench.py [--seconds 1.5]`.

Each commit is one INSERT of so many rows of 1.5 KB with one sync, as the store's writer makes it; once with another thread that keeps
Python's lock busy. Then single reads by key. Prints commits and rows a second, the thread's CPU for a row, the time of a read.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import Any

import apsw

from navarch.store import schema

VALUE = os.urandom(1500)
READ = "SELECT value, created, id FROM history WHERE key = ? AND id <= ? ORDER BY id DESC LIMIT 1"
OPEN: dict[str, Callable[[str], Any]] = {
    f"sqlite3 {sqlite3.sqlite_version}": lambda path: sqlite3.connect(path, isolation_level=None, cached_statements=128),
    f"apsw {apsw.sqlite_lib_version()}": lambda path: apsw.Connection(path, statementcachesize=128),
}


def key(number: int) -> str:
    return f"/registry/pods/default/pod-{number * 7919 % 1_000_003}"


def measure(name: str, connection: Any, batch: int, busy: bool, seconds: float) -> None:
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA wal_autocheckpoint=0", *schema.TABLES):
        connection.execute(statement).fetchall()
    insert = "INSERT INTO history VALUES " + ",".join(["(?,?,?,?,?,?,?,?)"] * batch)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            sum(range(200))

    other = threading.Thread(target=spin)
    if busy:
        other.start()
    commits = rows = 0
    cpu, begin = time.thread_time(), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        made = [(n << 10, key(n), VALUE, n, 0, n, 0, n) for n in range(rows + 1, rows + batch + 1)]
        connection.execute(insert, tuple(chain.from_iterable(made)))
        commits, rows = commits + 1, rows + batch
    wall, cpu = time.perf_counter() - begin, time.thread_time() - cpu
    stop.set()
    if busy:
        other.join()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    begin = time.perf_counter()
    for n in range(20_000):
        connection.execute(READ, (key(n * 7919 % rows + 1), 1 << 60)).fetchone()
    read = (time.perf_counter() - begin) / 20_000
    print(
        f"{name:16} batch {batch:3} {'busy' if busy else 'idle'}  {commits / wall:7,.0f} commits/s {rows / wall:9,.0f} rows/s"
        f"  {cpu / rows * 1e6:6.1f} µs/row   get {read * 1e6:5.1f} µs",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5)
    options = parser.parse_args()
    for batch in (1, 8, 64):
        for busy in (False, True):
            for name, connect in OPEN.items():
                with tempfile.TemporaryDirectory() as directory:
                    connection = connect(os.path.join(directory, "bench.db"))
                    measure(name, connection, batch, busy, options.seconds)
                    connection.close()


if __name__ == "__main__":
    main()
