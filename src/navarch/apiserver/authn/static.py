"""The static token file: CSV lines `token,user,uid,"group1,group2"`.

Upstream counterpart: --token-auth-file.
"""

from __future__ import annotations

import csv
import pathlib

from navarch.apiserver.authn.users import User, authenticated


class TokenFileError(ValueError):
    """The file cannot be read or a line of it is wrong."""


class TokenFile:
    """Tokens and the users they stand for."""

    def __init__(self, path: str = "") -> None:
        self.users: dict[str, User] = _read(path) if path else {}


def _read(path: str) -> dict[str, User]:
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError as error:
        raise TokenFileError(f"--token-auth-file {path}: {error.strerror}") from None
    users: dict[str, User] = {}
    for number, row in enumerate(csv.reader(lines), 1):
        if not row or not "".join(row).strip():
            continue
        if len(row) < 3:
            raise TokenFileError(
                f"--token-auth-file {path}, line {number}: must have at least 3 columns (token, user name, user uid), found {len(row)}"
            )
        token, name, uid = (column.strip() for column in row[:3])
        if not token:
            raise TokenFileError(f"--token-auth-file {path}, line {number}: the token is empty")
        groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
        users[token] = User(name, authenticated(name, groups), uid)
    return users
