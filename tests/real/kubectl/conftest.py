"""One real cluster for all of `kubectl`'s tests, and a `kubectl` that has a namespace of its own.

`kubectl(...)` returns what a command prints and fails the test when the command does; `kubectl.fails(...)` returns what it complains
of; `kubectl.started(...)` runs it in the background. The cluster is made by `navarch up` with a data folder of its own and is gone
afterwards. Nothing here needs an image that `navarch up` does not make.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from navarch.run import host, settings

NAVARCH = [sys.executable, "-m", "navarch.cli.main"]
SAMPLE = "localhost/navarch/sample:1"


def until(what: Callable[[], Any], seconds: float) -> Any:
    """What `what` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"it did not happen within {seconds} s"
        time.sleep(0.05)
    return found


class Kubectl:
    def __init__(self, kubeconfig: pathlib.Path, namespace: str, folder: pathlib.Path) -> None:
        self.kubeconfig, self.namespace, self.folder = kubeconfig, namespace, folder
        self.image = SAMPLE
        self._started: list[subprocess.Popen[str]] = []

    def command(self, *words: str) -> list[str]:
        return ["kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *words]

    def run(self, *words: str, stdin: str = "", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})}
        )
        done.stdout = done.stdout.replace(f" from {self.namespace} namespace", "")  # what kubectl from 1.33 on adds to "deleted"
        return done

    def __call__(self, *words: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
        done = self.run(*words, stdin=stdin, env=env)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, *words: str, stdin: str = "", code: int = 1) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == code, f"kubectl {' '.join(words)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stderr

    def started(self, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """The command in the background, its output in `stdout`; it is ended with the test."""
        made = subprocess.Popen(self.command(*words), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._started.append(made)
        return made

    def read(self, *words: str) -> Any:
        return json.loads(self("get", *words, "-o", "json"))

    def value(self, path: str, *words: str) -> str:
        return self("get", *words, "-o", f"jsonpath={{{path}}}")

    def rows(self, *words: str) -> list[list[str]]:
        """The lines of a table without its heading, split into words."""
        return [line.split() for line in self("get", *words, "--no-headers").splitlines()]

    def file(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def config_map(self, name: str, **data: str) -> str:
        """A ConfigMap as text for `-f -`."""
        return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})

    def deployment(self, name: str, replicas: int = 1) -> None:
        self("create", "deployment", name, f"--image={self.image}", f"--replicas={replicas}", "--port=8080")
        self("rollout", "status", f"deployment/{name}", "--timeout=30s")

    def pod(self, name: str, *flags: str, command: str = "") -> None:
        """A running pod of the sample image; with `command`, a shell that runs it."""
        self("run", name, f"--image={self.image}", *flags, *(["--command", "--", "sh", "-c", command] if command else []))
        self("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")

    def until(self, what: Callable[[], Any], seconds: float = 15) -> Any:
        return until(what, seconds)

    def close(self) -> None:
        for each in self._started:
            with contextlib.suppress(ProcessLookupError):
                each.send_signal(signal.SIGKILL)
            each.wait()
            assert each.stdout is not None
            each.stdout.close()


@pytest.fixture(scope="package")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[settings.Settings]:
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    host.extend_path()
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed; Debian does not have it")
    if host.missing():
        pytest.skip("programs are missing; `make prepare` installs them")
    if any(name == "navarch0" for _, name in socket.if_nameindex()):
        pytest.skip("a cluster runs on this machine")
    data_dir = tmp_path_factory.mktemp("kubectl-cluster")
    flag = f"--data-dir={data_dir}"
    try:
        up = subprocess.run([*NAVARCH, "up", flag], capture_output=True, text=True, timeout=120, check=False)
        assert up.returncode == 0, up.stdout + up.stderr
        loaded = settings.load(data_dir)
        assert loaded is not None
        yield loaded
    finally:
        subprocess.run([*NAVARCH, "down", flag, "--wipe"], capture_output=True, timeout=120, check=False)


@pytest.fixture
def kubectl(_cluster: settings.Settings, tmp_path: pathlib.Path) -> Iterator[Kubectl]:
    made = Kubectl(_cluster.admin_kubeconfig, f"test-{uuid.uuid4().hex[:8]}", tmp_path)
    made("create", "namespace", made.namespace)
    made.until(lambda: made.run("get", "serviceaccount", "default").returncode == 0)
    try:
        yield made
    finally:
        made.close()
        made("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture
def node(kubectl: Kubectl) -> str:
    return kubectl.value(".items[0].metadata.name", "nodes")
