"""Cluster DNS and the commands for single components, against the real API server on its memory store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from dnslib import QTYPE, RR, A, DNSRecord

from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.client import kubeconfig, rest
from navarch.testing import ports

NAVARCH = [sys.executable, "-m", "navarch.cli.main"]


class Component:
    """One `navarch COMPONENT` in the foreground; ready when it says so."""

    def __init__(self, name: str, *words: str) -> None:
        self.process = subprocess.Popen([*NAVARCH, name, *words], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if f"navarch {name} is ready" in line:
                self._reading = threading.Thread(target=self.said.extend, args=(self.process.stderr,), daemon=True)
                self._reading.start()
                return
        self.process.wait()
        self.process.stderr.close()
        raise AssertionError("".join(self.said))

    def stop(self) -> int:
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGTERM)
        ended = self.process.wait(10)
        self._reading.join(10)
        self.process.stderr.close()
        return ended


class Upstream:
    """A name server that knows one name."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closing alone does not
        self._thread.join(5)
        self.socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self.socket.recvfrom(2000)
            if not data:
                return
            self.asked += 1
            query = DNSRecord.parse(data)
            reply = query.reply()
            if str(query.q.qname) == "outside.example.":
                reply.add_answer(RR("outside.example", QTYPE.A, rdata=A("192.0.2.80"), ttl=300))
            else:
                reply.header.rcode = 3
            self.socket.sendto(bytes(reply.pack()), peer)


class World:
    def __init__(self, folder: pathlib.Path) -> None:
        port = ports.free()
        (folder / "tokens.csv").write_text('secret,admin,admin,"system:masters"\n')
        self.apiserver = Component(
            "apiserver", "--data-dir", str(folder), "--bind-address=127.0.0.1", f"--secure-port={port}",
            f"--token-auth-file={folder / 'tokens.csv'}", "--storage-backend=memory",
        )  # fmt: skip
        self.config = kubeconfig.Config(f"https://127.0.0.1:{port}", ca=(folder / "pki" / "ca.crt").read_bytes(), token="secret")
        self.kubeconfig = folder / "admin.kubeconfig"
        self.kubeconfig.write_text(kubeconfig.render(self.config))
        self.upstream = Upstream()
        self.dns_port = ports.free()
        self.dns = Component(
            "dns", f"--kubeconfig={self.kubeconfig}", f"--port={self.dns_port}", "--cluster-ip=10.96.0.10",
            f"--upstream=127.0.0.1#{self.upstream.port}",
        )  # fmt: skip

    def create(self, *objects: Any) -> None:
        async def send() -> None:
            async with rest.Client(self.config) as client:
                for obj in objects:
                    await client.create(obj)

        asyncio.run(send())

    def delete(self, kind: Any, name: str) -> None:
        async def send() -> None:
            async with rest.Client(self.config) as client:
                await client.delete(kind, name, "default")

        asyncio.run(send())

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False) -> Any:
        query = DNSRecord.question(name, kind)
        return DNSRecord.parse(query.send("127.0.0.1", self.dns_port, tcp=tcp, timeout=3))

    def until(self, name: str, expected: set[str], kind: str = "A") -> None:
        end = time.monotonic() + 5
        while (found := {str(rr.rdata) for rr in self.ask(name, kind).rr}) != expected:
            assert time.monotonic() < end, found
            time.sleep(0.02)

    def close(self) -> None:
        for component in (self.dns, self.apiserver):
            component.process.kill()
            component.process.wait()
        self.upstream.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.close()


def _headless(name: str) -> core_v1.Service:
    ports = [core_v1.ServicePort(name="http", port=80)]
    return core_v1.Service(metadata=meta_v1.ObjectMeta(name=name, namespace="default"), spec=core_v1.ServiceSpec(clusterIP="None", ports=ports))


def _slice(name: str, *addresses: str) -> discovery_v1.EndpointSlice:
    return discovery_v1.EndpointSlice(
        metadata=meta_v1.ObjectMeta(name=f"{name}-1", namespace="default", labels={"kubernetes.io/service-name": name}),
        addressType="IPv4",
        ports=[discovery_v1.EndpointPort(name="http", port=8080, protocol="TCP")],
        endpoints=[discovery_v1.Endpoint(addresses=[a], hostname=f"h{i}") for i, a in enumerate(addresses)],
    )


def test_services_come_and_go(world: World) -> None:
    world.until("kubernetes.default.svc.cluster.local", {"10.96.0.1"})
    world.create(_headless("web"), _slice("web", "10.244.0.5", "10.244.0.6"))
    world.until("web.default.svc.cluster.local", {"10.244.0.5", "10.244.0.6"})
    world.until("h1.web.default.svc.cluster.local", {"10.244.0.6"})
    assert {str(rr.rdata) for rr in world.ask("web.default.svc.cluster.local", tcp=True).rr} == {"10.244.0.5", "10.244.0.6"}
    world.delete(discovery_v1.EndpointSlice, "web-1")
    world.until("web.default.svc.cluster.local", set())
    world.delete(core_v1.Service, "web")
    end = time.monotonic() + 5
    while world.ask("web.default.svc.cluster.local").header.rcode != 3:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_large_answers_are_cut_over_udp_and_whole_over_tcp(world: World) -> None:
    addresses = [f"10.244.1.{n}" for n in range(1, 101)]
    world.create(_headless("many"), _slice("many", *addresses))
    end = time.monotonic() + 5
    while not (answer := world.ask("many.default.svc.cluster.local")).rr:
        assert time.monotonic() < end
        time.sleep(0.02)
    assert answer.header.tc == 1
    assert {str(rr.rdata) for rr in world.ask("many.default.svc.cluster.local", tcp=True).rr} == set(addresses)


def test_other_names_are_asked_upstream_once(world: World) -> None:
    before = world.upstream.asked
    for tcp in (False, True):
        assert [str(rr.rdata) for rr in world.ask("outside.example", tcp=tcp).rr] == ["192.0.2.80"]
    assert world.upstream.asked == before + 1, "the second answer comes from the cache"
    assert world.ask("nowhere.example").header.rcode == 3


def test_an_alias_to_the_outside_is_followed(world: World) -> None:
    spec = core_v1.ServiceSpec(type="ExternalName", externalName="outside.example")
    world.create(core_v1.Service(metadata=meta_v1.ObjectMeta(name="out", namespace="default"), spec=spec))
    world.until("out.default.svc.cluster.local", {"outside.example.", "192.0.2.80"})
    world.until("out.default.svc.cluster.local", {"outside.example."}, "CNAME")


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")
def test_dig_is_content(world: World) -> None:
    for words in ((), ("+tcp",), ("+noedns",), ("+dnssec",), ("+bufsize=512",)):
        done = subprocess.run(
            ["dig", "@127.0.0.1", "-p", str(world.dns_port), "+tries=1", *words, "kubernetes.default.svc.cluster.local"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "10.96.0.1" in done.stdout and "NOERROR" in done.stdout
        assert "Warning" not in done.stdout and "malformed" not in done.stdout.lower(), done.stdout


def test_thousands_of_queries_a_second(world: World) -> None:
    query = bytes(DNSRecord.question("kubernetes.default.svc.cluster.local").pack())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("127.0.0.1", world.dns_port))
        asking.settimeout(2)
        began = time.perf_counter()
        for _ in range(1000):
            asking.send(query)
            asking.recv(512)
        assert 1000 / (time.perf_counter() - began) > 1000


def test_components_end_on_term_and_say_why_they_cannot_start(tmp_path: pathlib.Path, world: World) -> None:
    port = ports.free()
    more = Component("dns", f"--kubeconfig={world.kubeconfig}", f"--port={port}")
    assert f":{port}," in more.said[-1]
    assert more.stop() == 0
    taken = subprocess.run(
        [*NAVARCH, "dns", f"--kubeconfig={world.kubeconfig}", f"--port={world.dns_port}"], capture_output=True, text=True, timeout=20, check=False
    )
    assert taken.returncode == 1 and "in use" in taken.stderr and "Traceback" not in taken.stderr
    absent = subprocess.run([*NAVARCH, "dns", f"--kubeconfig={tmp_path}/none"], capture_output=True, text=True, check=False)
    assert absent.returncode == 1 and "none" in absent.stderr and "Traceback" not in absent.stderr
    assert os.path.exists(world.kubeconfig)
