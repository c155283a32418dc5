"""What the cluster keeps to itself."""

from __future__ import annotations

import pathlib
import stat

from navarch.lib import private


def mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_an_open_data_folder_is_mended(tmp_path: pathlib.Path) -> None:
    data = tmp_path / "data"
    files = ["store.db", "store.db-wal", "store.db-shm", "store.db.lock", "encryption.key", "admin.kubeconfig", "pki/ca.key", "pki/sa.key",
             "kubeconfig/scheduler.kubeconfig", "logs/apiserver.log", "logs/apiserver.log.1", "backups/one.db"]  # fmt: skip
    for name in files:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("secret")
        (data / name).chmod(0o644)
    for name in ("pki/ca.crt", "kubelet/pods/u/volumes/x.key"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("anybody's")
        (data / name).chmod(0o644)
    data.chmod(0o755)
    private.mend(data)
    assert {name: mode(data / name) for name in files} == dict.fromkeys(files, 0o600)
    assert mode(data) == mode(data / "pki") == mode(data / "kubeconfig") == 0o700
    assert mode(data / "kubelet/pods/u/volumes/x.key") == 0o644, "volumes belong to containers"
    assert mode(data / "pki/ca.crt") == 0o644


def test_what_is_shared_or_linked_to_is_left_alone(tmp_path: pathlib.Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other.key"
    data.mkdir()
    data.chmod(0o1777)
    other.write_text("x")
    other.chmod(0o644)
    (data / "linked.key").symlink_to(other)
    private.mend(data)
    assert mode(data) == 0o777 | stat.S_ISVTX and mode(other) == 0o644
