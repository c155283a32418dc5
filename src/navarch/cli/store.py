"""Commands for the store's file: `navarch check`, `navarch backup`, `navarch restore`."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

from navarch.cli import cluster, flags
from navarch.lib import private
from navarch.run import settings as where


@dataclass(frozen=True, slots=True)
class StoreFlags:
    data_dir: str = cluster.DATA


@dataclass(frozen=True, slots=True)
class RestoreFlags(StoreFlags):
    accept_loss: bool = False
    """No backup: go on with what the store holds, or empty, although acknowledged writes are missing."""


def _given(words: Sequence[str], about: str) -> tuple[pathlib.Path, list[str]] | None:
    """The data folder's store file and the plain arguments; None when help was given."""
    if {"-h", "--help"} & set(words):
        print(f"{about}\n\n{flags.usage(StoreFlags)}")
        return None
    given, plain = flags.parse_mixed(StoreFlags, words)
    os.umask(private.UMASK)  # a copy of the store holds all of its secrets
    return pathlib.Path(given.data_dir).absolute() / "store.db", plain


def check(words: Sequence[str]) -> int:
    given = _given(words, "navarch check [--data-dir=DIR]: checks that the store's file holds together")
    if given is None:
        return 0
    from navarch.store import check as checking

    file = given[0]
    if not file.exists():
        raise ValueError(f"{file} is not there")
    findings = checking.check(str(file))
    for finding in findings:
        cluster.say(finding)
    cluster.say(f"{file}: {len(findings)} problems" if findings else f"{file}: all is well")
    return 1 if findings else 0


def backup(words: Sequence[str]) -> int:
    given = _given(words, "navarch backup FILE [--data-dir=DIR]: copies the store into a file, also while it runs")
    if given is None:
        return 0
    from navarch.store import backup as copying

    file, plain = given
    if len(plain) != 1:
        raise ValueError("to which file? navarch backup FILE")
    copying.copy(str(file), plain[0])
    cluster.say(f"{file} is backed up in {plain[0]}")
    return 0


def restore(words: Sequence[str]) -> int:
    about = (
        "navarch restore FILE [--data-dir=DIR]: puts a backup in place of a stopped cluster's store\n"
        "navarch restore --accept-loss [--data-dir=DIR]: lets a store that lacks acknowledged writes go on without them"
    )
    if {"-h", "--help"} & set(words):
        print(f"{about}\n\n{flags.usage(RestoreFlags)}")
        return 0
    given, plain = flags.parse_mixed(RestoreFlags, words)
    from navarch.run import status
    from navarch.store import backup as copying

    file = pathlib.Path(given.data_dir).absolute() / "store.db"
    if len(plain) != (0 if given.accept_loss else 1):
        raise ValueError("from which file? navarch restore FILE (or, without a backup, navarch restore --accept-loss)")
    settings = where.load(file.parent)
    if settings is not None and status.read(settings) is not None:
        raise ValueError("the cluster runs. Stop it first: navarch down")
    if given.accept_loss:
        revision = copying.accept_loss(str(file))
        cluster.say(f"{file} goes on with what it holds, at revision {revision}")
        return 0
    revision = copying.restore(plain[0], str(file))
    cluster.say(f"{file} is restored from {plain[0]}; it goes on at revision {revision}")
    return 0
