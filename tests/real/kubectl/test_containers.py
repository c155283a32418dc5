"""What `kubectl` does with running containers: logs, exec, attach, cp, port-forward; and how they come back when they end."""

from __future__ import annotations

import os
import pathlib
import pty
import re
import select
import signal
import socket
import subprocess
import time
import urllib.request
from typing import Any

TICKING = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.2; done"


def test_logs(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=_two_containers(TICKING, "echo once >&2; sleep 1000"))
    kubectl("wait", "--for=condition=Ready", "pod/two", "--timeout=30s")
    kubectl.until(lambda: len(kubectl("logs", "two", "-c", "first").splitlines()) >= 4)
    assert kubectl("logs", "two", "-c", "first").startswith("line 1\nline 2\nline 3\n")
    assert kubectl("logs", "two", "-c", "second") == "once\n"
    assert 'Defaulted container "first" out of: first, second' in kubectl.run("logs", "two").stderr
    tail = kubectl("logs", "two", "-c", "first", "--tail=2").splitlines()
    assert len(tail) == 2 and int(tail[1].split()[1]) == int(tail[0].split()[1]) + 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z once\n", kubectl("logs", "two", "-c", "second", "--timestamps"))
    assert kubectl("logs", "two", "-c", "first", "--limit-bytes=6") == "line 1"
    assert kubectl("logs", "two", "-c", "second", "--since=1h") == "once\n"
    assert "once\n" in kubectl("logs", "two", "--all-containers", "--prefix").replace("[pod/two/second] ", "")
    assert kubectl.fails("logs", "two", "-c", "third").startswith("error: container third is not valid for pod two")
    following = kubectl.started("logs", "two", "-c", "first", "-f", "--tail=1")
    seen = [int(following.stdout.readline().split()[1]) for _ in range(6)]
    assert seen == list(range(seen[0], seen[0] + 6))


def _two_containers(first: str, second: str) -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: two}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {{name: first, image: "localhost/navarch/sample:1", command: [sh, -c, '{first}']}}
  - {{name: second, image: "localhost/navarch/sample:1", command: [sh, -c, '{second}']}}
"""


def test_logs_of_the_container_before(kubectl: Any) -> None:
    kubectl("run", "p", f"--image={kubectl.image}", "--command", "--", "sh", "-c", "echo $HOSTNAME $(date +%N); test -e /never")
    kubectl.until(lambda: int(kubectl.value(".status.containerStatuses[0].restartCount", "pod", "p") or 0) >= 1)
    assert kubectl("logs", "p", "-p").startswith("p ")
    following = kubectl.started("logs", "p", "-f")
    assert following.communicate(timeout=20)[0].startswith("p "), "following ends with the container"


def test_exec(kubectl: Any) -> None:
    kubectl.pod("p")
    assert kubectl("exec", "p", "--", "hostname") == "p\n"
    both = kubectl.run("exec", "p", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (both.returncode, both.stdout) == (3, "out\n")
    assert both.stderr == "err\ncommand terminated with exit code 3\n"
    assert kubectl("exec", "-i", "p", "--", "wc", "-c", stdin="x" * 300_000).strip() == "300000"
    large = kubectl("exec", "p", "--", "sh", "-c", "seq 1 300000")
    assert large.splitlines()[-1] == "300000" and len(large.splitlines()) == 300_000
    missing = kubectl.run("exec", "p", "--", "nope")
    assert missing.returncode != 0 and "executable file not found" in missing.stderr
    assert kubectl.fails("exec", "nope", "--", "true") == 'Error from server (NotFound): pods "nope" not found\n'


class Terminal:
    """A command on a pseudo terminal, as a person has one."""

    def __init__(self, command: list[str]) -> None:
        self._master, slave = pty.openpty()
        self._shown = ""
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)

    def types(self, text: str) -> None:
        os.write(self._master, text.encode())

    def shows(self, pattern: str, seconds: float = 10) -> str:
        end = time.monotonic() + seconds
        while not re.search(pattern, self._shown):
            assert time.monotonic() < end, f"{pattern} is not in {self._shown!r}"
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    self._shown += os.read(self._master, 4096).decode(errors="replace")
                except OSError:
                    assert re.search(pattern, self._shown), f"it ended, and {pattern} is not in {self._shown!r}"
        return self._shown

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_exec_on_a_terminal(kubectl: Any) -> None:
    kubectl.pod("p")
    terminal = Terminal(kubectl.command("exec", "-it", "p", "--", "sh"))
    try:
        terminal.shows(r"[#$] ")
        terminal.types("echo a$((1+1))b\n")
        terminal.shows(r"a2b")
        terminal.types("test -t 0 && echo is''-tty; exit 4\n")
        terminal.shows(r"is-tty")
        assert terminal.process.wait(10) == 4
    finally:
        terminal.close()


def test_attach(kubectl: Any) -> None:
    kubectl.pod("ticking", command=TICKING)
    attached = kubectl.started("attach", "ticking")
    assert any(re.match(r"line \d+$", attached.stdout.readline()) for _ in range(5))
    said = kubectl(
        "run", "once", f"--image={kubectl.image}", "-i", "--rm", "--restart=Never", "--quiet", "--command", "--", "cat", stdin="over here\n"
    )
    assert said == "over here\n"
    assert "not found" in kubectl.fails("get", "pod", "once")


def test_run_on_a_terminal(kubectl: Any) -> None:
    words = ("run", "shell", f"--image={kubectl.image}", "-it", "--rm", "--restart=Never", "--command", "--", "sh")
    terminal = Terminal(kubectl.command(*words))
    try:
        time.sleep(2)
        terminal.types("echo a$((1+1))b\n")
        terminal.shows(r"a2b", 20)
        terminal.types("exit\n")
        terminal.shows(r'pod "shell" deleted', 20)
    finally:
        terminal.close()


def test_cp(kubectl: Any) -> None:
    kubectl.pod("p")
    folder = pathlib.Path(kubectl.folder) / "tree" / "deep"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(200_000))
    kubectl("cp", str(folder.parent), "p:/tmp/tree")
    assert kubectl("exec", "p", "--", "ls", "/tmp/tree/deep") == "file\n"
    kubectl("cp", f"{kubectl.namespace}/p:/tmp/tree", str(folder.parent.parent / "back"))
    assert (folder.parent.parent / "back" / "deep" / "file").read_bytes() == (folder / "file").read_bytes()
    kubectl.run("cp", "p:/tmp/nope", str(folder / "x"))
    assert not (folder / "x").exists()


def test_port_forward(kubectl: Any) -> None:
    kubectl.deployment("web")
    kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080")
    for target, port in (("deployment/web", 8080), ("service/web", 80), (kubectl("get", "pods", "-o", "name").strip(), 8080)):
        forwarding = kubectl.started("port-forward", target, f":{port}")
        found = re.fullmatch(r"Forwarding from 127\.0\.0\.1:(\d+) -> 8080\n", forwarding.stdout.readline())
        assert found is not None
        for _ in range(3):
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=5) as answer:
                assert b"works" in answer.read().lower()
        forwarding.send_signal(signal.SIGINT)
        forwarding.wait(5)
    closed = kubectl.started("port-forward", "deployment/web", ":9")
    port = int(closed.stdout.readline().split(":")[1].split()[0])
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"?")
        assert connection.recv(10) == b""
    assert closed.stdout.readline()
    assert "refused" in "".join(closed.stdout.readline() for _ in range(2))


def ready(kubectl: Any, *words: str) -> list[tuple[str, int]]:
    """Uid and restarts of each pod that is ready."""
    found = []
    for pod in kubectl.read("pods", *words)["items"]:
        state = pod["status"].get("containerStatuses") or [{"ready": False, "restartCount": 0}]
        if all(c["ready"] for c in state) and "deletionTimestamp" not in pod["metadata"]:
            found.append((pod["metadata"]["uid"], sum(c["restartCount"] for c in state)))
    return sorted(found)


def test_a_deleted_pod_is_replaced(kubectl: Any) -> None:
    kubectl.deployment("web", 2)
    before = ready(kubectl)
    gone = kubectl.value(".items[0].metadata.name", "pods")
    kubectl("delete", "pod", gone, "--wait=false")
    after = kubectl.until(lambda: len(now := ready(kubectl)) == 2 and now != before and now, 3)
    assert len(set(after) & set(before)) == 1


def test_a_container_that_exits_is_back(kubectl: Any) -> None:
    kubectl.deployment("web")
    [(uid, restarts)] = ready(kubectl)
    kubectl.run("exec", "deployment/web", "--", "kill", "1")
    assert restarts == 0
    kubectl.until(lambda: ready(kubectl) == [(uid, 1)], 3)
    assert kubectl.rows("pods")[0][3] == "1"
    state = kubectl.read("pods")["items"][0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert state["exitCode"] in (0, 143) and state["reason"] in ("Completed", "Error")


def test_a_killed_container_is_back(kubectl: Any) -> None:
    kubectl.deployment("web")
    [(uid, _)] = ready(kubectl)
    container = kubectl.value(".items[0].status.containerStatuses[0].containerID", "pods").split("//")[1]
    pids = [int(p.parent.name) for p in pathlib.Path("/proc").glob("[0-9]*/cgroup") if container in _text(p)]
    assert pids
    os.kill(min(pids), signal.SIGKILL)
    kubectl.until(lambda: ready(kubectl) == [(uid, 1)], 3)
    state = kubectl.read("pods")["items"][0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "Error")


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_a_crash_loop_backs_off(kubectl: Any) -> None:
    kubectl("run", "p", f"--image={kubectl.image}", "--command", "--", "false")
    kubectl.until(lambda: kubectl.rows("pods")[0][2] == "CrashLoopBackOff", 10)
    status = kubectl.read("pod", "p")["status"]["containerStatuses"][0]
    assert re.match(r"back-off \d+s restarting failed container=p pod=p_", status["state"]["waiting"]["message"])
    assert (status["lastState"]["terminated"]["exitCode"], status["lastState"]["terminated"]["reason"]) == (1, "Error")
    assert "BackOff" in kubectl("get", "events")
