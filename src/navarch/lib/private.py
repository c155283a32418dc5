"""Files that nobody else on the machine may read: the cluster's keys, its database, its logs.

What is made is private from its first moment (`UMASK` in the processes that make it); what an older version made, or a person copied, is
mended at every start. Symbolic links are left alone, and so is what belongs to containers.
"""

from __future__ import annotations

import os
import pathlib
import stat
from collections.abc import Iterable

UMASK = 0o077
FOLDER, FILE = 0o700, 0o600
KEPT = ("*.key", "*.kubeconfig", "*.csv", "*.db", "*.db-*", "*.db.*", "*.backup", "*.log", "*.log.*", "*.json")
"""Names of private files, wherever they are below a data folder's own folders."""
FOLDERS = ("", "pki", "kubeconfig", "logs", "backups")
"""The folders of a data folder that are the cluster's own. The others belong to containers and their volumes."""


def mend(data_dir: pathlib.Path) -> None:
    """Makes a data folder and the cluster's files in it private. Fine to call at every start."""
    data_dir.mkdir(parents=True, exist_ok=True)
    _restrict([data_dir], FOLDER)
    for name in FOLDERS:
        folder = data_dir / name
        if name and folder.is_dir() and name != "logs":  # pods' logs are linked to from there
            _restrict([folder], FOLDER)
        _restrict((path for pattern in KEPT for path in folder.glob(pattern)), FILE)


def _restrict(paths: Iterable[pathlib.Path], mode: int) -> None:
    """Takes away what a mode has too much, where it is ours to take: /tmp as a data folder stays what it is."""
    for path in paths:
        try:
            found = path.lstat()
            wanted = stat.S_IMODE(found.st_mode) & mode
            shared = stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX or found.st_uid != os.geteuid()
            if wanted != stat.S_IMODE(found.st_mode) and not shared:
                path.chmod(wanted)
        except FileNotFoundError:
            continue
