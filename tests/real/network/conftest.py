"""A small machine made of network namespaces: a node with a bridge, two pods on it, and an outside host.

    outside 203.0.113.9 ── 203.0.113.1 node (192.0.2.2) ── bridge navarch0 10.244.0.1 ── pods 10.244.0.11, 10.244.0.12

Each is a namespace of its own, entered by a thread; everything is gone after the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace by name; `call` runs a function inside."""

    def __init__(self, name: str) -> None:
        self.name = f"nvt-{name}-{uuid.uuid4().hex[:6]}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._file = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        self.sh("ip link set lo up")

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work` in a thread that has entered the namespace (by setns alone) and returns what it returns."""
        results: list[T] = []
        failures: list[BaseException] = []

        def enter() -> None:
            try:
                if _libc.setns(self._file, CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
                results.append(work())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    def sh(self, script: str) -> str:
        done = self.call(lambda: subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False))
        assert done.returncode == 0, f"{script}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        os.close(self._file)
        subprocess.run(["ip", "netns", "del", self.name], check=False)


class Echo:
    """Answers every TCP connection and UDP packet on a port with its own name and the client's address."""

    def __init__(self, where: Namespace, address: str, port: int, name: str) -> None:
        self._name = name
        self._sockets = where.call(lambda: self._open(address, port))
        for target, listening in zip((self._tcp, self._udp), self._sockets, strict=True):
            threading.Thread(target=target, args=(listening,), daemon=True).start()

    @staticmethod
    def _open(address: str, port: int) -> tuple[socket.socket, socket.socket]:
        tcp = socket.create_server((address, port))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((address, port))
        return tcp, udp

    def _tcp(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, peer = listening.accept()
                connection.sendall(f"{self._name} {peer[0]}".encode())
                connection.close()

    def _udp(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                _, peer = listening.recvfrom(100)
                if peer is None:
                    return
                listening.sendto(f"{self._name} {peer[0]}".encode(), peer)

    def close(self) -> None:
        for listening in self._sockets:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()


class Machine:
    def __init__(self) -> None:
        self.node, self.outside = Namespace("node"), Namespace("out")
        self.pods = {"a": Namespace("a"), "b": Namespace("b")}
        self.addresses = {"a": "10.244.0.11", "b": "10.244.0.12"}
        self._echoes: list[Echo] = []
        self.node.sh(
            "ip link add navarch0 type bridge && ip link set navarch0 up && ip addr add 10.244.0.1/24 dev navarch0;"
            "ip addr add 192.0.2.2/32 dev lo; echo 1 > /proc/sys/net/ipv4/ip_forward"
        )
        for key, pod in self.pods.items():
            self._wire(f"veth{key}", pod, f"{self.addresses[key]}/24", "10.244.0.1")
            self.node.sh(f"ip link set veth{key} master navarch0 && bridge link set dev veth{key} hairpin on")
        self._wire("vethout", self.outside, "203.0.113.9/24", "203.0.113.1")
        self.node.sh("ip addr add 203.0.113.1/24 dev vethout && ip route add default via 203.0.113.9")

    def _wire(self, link: str, other: Namespace, address: str, gateway: str) -> None:
        self.node.sh(f"ip link add {link} type veth peer name eth0 netns {other.name}; ip link set {link} up")
        other.sh(f"ip addr add {address} dev eth0; ip link set eth0 up; ip route add default via {gateway} onlink dev eth0")

    def serve(self, pod: str, port: int) -> None:
        self._echoes.append(Echo(self.pods[pod], self.addresses[pod], port, pod))

    def close(self) -> None:
        for echo in self._echoes:
            echo.close()
        for namespace in (*self.pods.values(), self.outside, self.node):
            namespace.close()


@pytest.fixture
def machine() -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    made = Machine()
    yield made
    made.close()


def tcp(source: Namespace, address: str, port: int, timeout: float = 1.5, bind: str = "") -> str:
    """The answer over TCP, or the name of the error."""

    def ask() -> str:
        try:
            with socket.create_connection((address, port), timeout, (bind, 0) if bind else None) as connection:
                return connection.recv(100).decode()
        except OSError as error:
            return type(error).__name__

    return source.call(ask)


def udp(source: Namespace, address: str, port: int, source_port: int = 0, timeout: float = 1.0) -> str:
    """The answer over UDP, or the name of the error."""

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(timeout)
            asking.bind(("0.0.0.0", source_port))
            asking.connect((address, port))
            try:
                asking.send(b"?")
                return asking.recv(100).decode()
            except OSError as error:
                return type(error).__name__

    return source.call(ask)


@pytest.fixture(name="tcp")
def _tcp() -> Callable[..., str]:
    return tcp


@pytest.fixture(name="udp")
def _udp() -> Callable[..., str]:
    return udp


@pytest.fixture
def namespace() -> Iterator[Callable[[str], Namespace]]:
    """Makes more namespaces."""
    made: list[Namespace] = []

    def make(name: str) -> Namespace:
        made.append(Namespace(name))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def echo() -> Iterator[Callable[[Namespace, str, int, str], None]]:
    """Starts echo servers."""
    made: list[Echo] = []
    yield lambda where, address, port, name: made.append(Echo(where, address, port, name))
    for each in made:
        each.close()
