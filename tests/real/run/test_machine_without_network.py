"""A machine with nothing but a loopback: the cluster gives itself an address, and everything inside works all the same."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from navarch.run import host

SCRIPT = """
ip link set lo up
navarch() { "$PYTHON" -m navarch.cli.main "$@" --data-dir="$DATA"; }
navarch up || exit 1
echo "routes: $(ip route | tr '\\n' ';')"
kubectl --kubeconfig="$DATA/admin.kubeconfig" exec deployment/hello -- wget -qO- http://hello.default.svc.cluster.local | grep -c works
navarch down --wipe
echo "links: $(ls /proc/sys/net/ipv4/conf | tr '\\n' ' ')"
"""


def test_up_without_any_network(tmp_path: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    host.extend_path()
    if host.missing() or shutil.which("kubectl") is None:
        pytest.skip("programs are missing; `make prepare` installs them")
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", SCRIPT],
        env={**os.environ, "PYTHON": sys.executable, "DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the sample app answered" in done.stdout
    assert "10.96.0.0/16 dev navarch-node" in done.stdout
    assert "\n1\n" in done.stdout, "pods resolve and reach the Service"
    assert "navarch" not in done.stdout.splitlines()[-1], "the links are gone"
    assert not (tmp_path / "data").exists()
