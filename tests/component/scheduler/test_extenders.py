"""The scheduler with HTTP extenders: a real extender server on loopback beside the real API server.

What an extender is sent and what it may answer is upstream's extender/v1; how its failures are told, too.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import pathlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from navarch.api.core import v1
from navarch.client import rest
from navarch.lib import pki
from tests.component.scheduler import cluster
from tests.component.scheduler.cluster import bound, reason, until, waits

Answer = Callable[[dict[str, Any]], Any]


@dataclass
class Service:
    """An extender: what it answers by verb, and what it was asked."""

    answers: dict[str, Answer]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        verb, args = request.match_info["verb"], await request.json()
        self.asked.append((verb, args))
        answer = self.answers[verb](args)
        answer = await answer if isinstance(answer, Awaitable) else answer
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    def verbs(self) -> list[str]:
        return [verb for verb, _ in self.asked]


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, **answers: Answer) -> AsyncIterator[Service]:
    service = Service(answers)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/{verb}", service.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    service.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/"
    try:
        yield service
    finally:
        await runner.cleanup()


def names(args: dict[str, Any]) -> list[str]:
    return [n["metadata"]["name"] for n in args["Nodes"]["items"]]


async def pods_events(client: rest.Client, name: str) -> list[str]:
    found, _ = await client.list(v1.Event, "test")
    return [e.message or "" for e in found if e.involvedObject is not None and e.involvedObject.name == name]


async def test_what_an_extender_keeps_and_likes_decides(tmp_path: pathlib.Path) -> None:
    def keep(args: dict[str, Any]) -> Any:
        kept = [n for n in args["Nodes"]["items"] if n["metadata"]["name"] != "n1"]
        return {"Nodes": {"items": kept}, "FailedNodes": {"n1": "no licence here"}}

    def like(args: dict[str, Any]) -> Any:
        return [{"Host": name, "Score": 10 if name == "n2" else 0} for name in names(args)]

    async with serving(filter=keep, prioritize=like) as service:
        settings = [{"urlPrefix": service.url, "filterVerb": "filter", "prioritizeVerb": "prioritize", "weight": 5}]
        async with cluster.running(tmp_path, extenders=settings) as client:
            for name in ("n1", "n2", "n3"):
                await cluster.node(client, name)
            await cluster.pod(client, "a")
            assert bound(await until(client, "a", bound)) == "n2"
            verb, args = service.asked[0]
            assert (verb, args["Pod"]["metadata"]["name"], names(args), args["NodeNames"]) == ("filter", "a", ["n1", "n2", "n3"], None)
            assert names(service.asked[1][1]) == ["n2", "n3"]


async def test_an_extender_that_knows_the_nodes_is_sent_names_and_may_write_fields_in_any_case(tmp_path: pathlib.Path) -> None:
    async with serving(filter=lambda args: {"nodenames": args["NodeNames"][1:], "failednodes": {"n1": "No"}}) as service:
        settings = [{"urlPrefix": service.url, "filterVerb": "filter", "nodeCacheCapable": True}]
        async with cluster.running(tmp_path, extenders=settings) as client:
            for name in ("n1", "n2"):
                await cluster.node(client, name)
            await cluster.pod(client, "a")
            assert bound(await until(client, "a", bound)) == "n2"
            assert service.asked[0][1]["Nodes"] is None and service.asked[0][1]["NodeNames"] == ["n1", "n2"]


async def test_a_pod_that_only_extenders_refuse_says_so_and_any_event_brings_it_back(tmp_path: pathlib.Path) -> None:
    allowed: list[str] = []

    def keep(args: dict[str, Any]) -> Any:
        kept = [n for n in args["Nodes"]["items"] if n["metadata"]["name"] in allowed]
        return {"Nodes": {"items": kept}, "FailedAndUnresolvableNodes": {n: "no licence" for n in names(args) if n not in allowed}}

    async with (
        serving(filter=keep) as service,
        cluster.running(tmp_path, extenders=[{"urlPrefix": service.url, "filterVerb": "filter"}]) as client,
    ):
        await cluster.node(client, "n1")
        await cluster.pod(client, "a")
        found = await until(client, "a", waits("1 no licence"))
        assert reason(found) == (
            "Unschedulable",
            "0/1 nodes are available: 1 no licence. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        )
        allowed.append("n1")
        await client.patch(v1.Node, "n1", {"metadata": {"labels": {"some": "label"}}})
        await until(client, "a", bound)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda args: web.Response(status=503), "failed filter with extender at URL {url}filter, code 503"),
        (lambda args: {"Error": "out of licences"}, "out of licences"),
        (lambda args: web.Response(text="no JSON"), "decoding the answer of {url}filter: "),
        (lambda args: web.Response(text=""), "decoding the answer of {url}filter: EOF"),
        (lambda args: {"Nodes": 7}, "decoding the answer of {url}filter: "),
        (
            lambda args: {"NodeNames": ["elsewhere"]},
            'extender "{url}" claims a filtered node "elsewhere" which is not found in the input node list',
        ),
        (
            lambda args: asyncio.sleep(5),
            'Post "{url}filter": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
        ),
    ],
    ids=["status", "error", "text", "empty", "type", "node", "timeout"],
)
async def test_an_extender_that_fails_fails_the_attempt_unless_it_may_be_ignored(tmp_path: pathlib.Path, answer: Answer, said: str) -> None:
    async with serving(filter=answer) as service:
        managed = [{"name": "example.com/licence"}]
        strict = {"urlPrefix": service.url, "filterVerb": "filter", "httpTimeout": "200ms", "nodeCacheCapable": True, "managedResources": managed}
        lenient = {**strict, "managedResources": [{"name": "example.com/other"}], "ignorable": True}
        async with cluster.running(tmp_path, extenders=[lenient, strict]) as client:
            await cluster.node(client, "n1", "4", **{"example.com/licence": "1", "example.com/other": "1"})
            await cluster.pod(client, "lenient", extra={"example.com/other": "1"})
            await until(client, "lenient", bound)
            await cluster.pod(client, "strict", extra={"example.com/licence": "1"})
            text = said.format(url=service.url)
            found = await until(client, "strict", waits(text))
            assert reason(found)[0] == "SchedulerError" and not bound(found)
            before = len(service.asked)
            await cluster.pod(client, "unconcerned", cpu="100m")
            await until(client, "unconcerned", bound)
            await asyncio.sleep(1.3)
            assert len(service.asked) > before  # tried again after its backoff


async def test_an_extender_that_is_not_there(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, extenders=[{"urlPrefix": "http://127.0.0.1:9/", "prioritizeVerb": "p", "weight": 1}]) as client:
        await cluster.node(client, "n1")
        await cluster.pod(client, "a")
        await until(client, "a", bound)  # points that cannot be had are none
    async with cluster.running(tmp_path, extenders=[{"urlPrefix": "http://127.0.0.1:9/", "filterVerb": "f"}]) as client:
        await cluster.node(client, "n1")
        await cluster.pod(client, "a")
        await until(client, "a", waits('Post "http://127.0.0.1:9/f": '))


async def test_others_do_not_wait_for_a_slow_extender_and_what_they_took_is_not_given_twice(tmp_path: pathlib.Path) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(args: dict[str, Any]) -> Any:
        asked.set()
        await go.wait()
        return {"NodeNames": args["NodeNames"]}

    async with serving(filter=slow) as service:
        settings = {"urlPrefix": service.url, "filterVerb": "filter", "nodeCacheCapable": True}
        managed = [{"name": "example.com/licence", "ignoredByScheduler": True}]
        async with cluster.running(tmp_path, extenders=[{**settings, "managedResources": managed}]) as client:
            await cluster.node(client, "n1", cpu="1")
            await cluster.pod(client, "slow", extra={"example.com/licence": "1"})
            await asyncio.wait_for(asked.wait(), 10)
            await cluster.pod(client, "fast")
            assert bound(await until(client, "fast", bound)) == "n1"
            go.set()
            await until(client, "slow", waits("0/1 nodes are available: 1 Insufficient cpu."))


async def test_a_resource_that_the_scheduler_ignores_need_not_be_on_any_node(tmp_path: pathlib.Path) -> None:
    async with serving(filter=lambda args: {"NodeNames": args["NodeNames"]}) as service:
        managed = [{"name": "example.com/licence", "ignoredByScheduler": True}]
        settings = {"urlPrefix": service.url, "filterVerb": "filter", "nodeCacheCapable": True, "managedResources": managed}
        async with cluster.running(tmp_path, extenders=[settings]) as client:
            await cluster.node(client, "n1")
            await cluster.pod(client, "a", extra={"example.com/licence": "1"})
            await until(client, "a", bound)
            await cluster.pod(client, "b")
            await until(client, "b", bound)
            assert [args["Pod"]["metadata"]["name"] for _, args in service.asked] == ["a"]


async def test_an_extender_binds_or_says_why_not(tmp_path: pathlib.Path) -> None:
    clients: list[rest.Client] = []
    refuse = ["try later"]

    async def bind(args: dict[str, Any]) -> Any:
        if refuse:
            return {"Error": refuse.pop()}
        body = v1.Binding(metadata=None, target=v1.ObjectReference(kind="Node", name=args["Node"]))
        await clients[0].create_action(v1.Pod, args["PodName"], "binding", body, args["PodNamespace"])
        return {}

    async with serving(bind=bind) as service, cluster.running(tmp_path, extenders=[{"urlPrefix": service.url, "bindVerb": "bind"}]) as client:
        clients.append(client)
        await cluster.node(client, "n1")
        await cluster.pod(client, "a")
        await until(client, "a", waits("try later"))
        found = await until(client, "a", bound)
        assert found.metadata is not None
        args = {"PodName": "a", "PodNamespace": "test", "PodUID": found.metadata.uid, "Node": "n1"}
        assert service.asked == [("bind", args), ("bind", args)]


@pytest.mark.parametrize("by_name", [False, True])
async def test_an_extender_has_a_say_in_who_must_go(tmp_path: pathlib.Path, by_name: bool) -> None:
    def choose(args: dict[str, Any]) -> Any:
        """Spares n1, whatever that costs."""
        told = args["NodeNameToMetaVictims"]
        if not by_name:
            assert told is None
            whole = args["NodeNameToVictims"]
            told = {node: {"Pods": [{"UID": p["metadata"]["uid"]} for p in v["Pods"]]} for node, v in whole.items()}
        return {"NodeNameToMetaVictims": {node: victims for node, victims in told.items() if node != "n1"}}

    async with serving(preempt=choose) as service:
        settings = {"urlPrefix": service.url, "preemptVerb": "preempt", "nodeCacheCapable": by_name}
        async with cluster.running(tmp_path, extenders=[settings]) as client:
            await client.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body=HIGH)
            for name, holder in (("n1", "cheap"), ("n2", "dear")):
                await cluster.node(client, name, cpu="1")
                await cluster.pod(client, holder)
                assert bound(await until(client, holder, bound)) == name
            await cluster.pod(client, "high", priorityClassName="high")
            found = await until(client, "high", lambda p: p.status is not None and p.status.nominatedNodeName)
            assert found.status is not None and found.status.nominatedNodeName == "n2"
            victim = await client.get(v1.Pod, "dear", "test")
            assert victim.metadata is not None and victim.metadata.deletionTimestamp is not None


async def test_victims_that_are_not_there_are_no_plan(tmp_path: pathlib.Path) -> None:
    async with (
        serving(preempt=lambda args: {"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "nobody"}]}}}) as service,
        cluster.running(tmp_path, extenders=[{"urlPrefix": service.url, "preemptVerb": "preempt"}]) as client,
    ):
        await client.request("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body=HIGH)
        await cluster.node(client, "n1", cpu="1")
        await cluster.pod(client, "low")
        await until(client, "low", bound)
        await cluster.pod(client, "high", priorityClassName="high")
        await until(client, "high", waits("claims to preempt pod (UID: nobody) on node: n1, but the pod is not found on that node"))


HIGH = b'{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":1000}'


async def test_over_tls_both_sides_know_each_other(tmp_path: pathlib.Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    authority = pki.authority("extenders", now)
    theirs = pki.issue(authority, "licences", now, names=("licences.example",), server=True)
    ours = pki.issue(authority, "kube-scheduler", now, client=True)
    theirs.write(tmp_path / "server.crt", tmp_path / "server.key")
    ours.write(tmp_path / "client.crt", tmp_path / "client.key")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate.decode())
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")
    async with serving(context, filter=lambda args: {"NodeNames": args["NodeNames"]}) as service:
        files = {"certFile": str(tmp_path / "client.crt"), "keyFile": str(tmp_path / "client.key"), "caFile": str(tmp_path / "ca.crt")}
        data = {k.replace("File", "Data"): base64.b64encode(pathlib.Path(v).read_bytes()).decode() for k, v in files.items()}
        for tls in ({**files, "serverName": "licences.example"}, {**data, "serverName": "licences.example"}):
            settings = {"urlPrefix": service.url, "filterVerb": "filter", "nodeCacheCapable": True, "enableHTTPS": True, "tlsConfig": tls}
            async with cluster.running(tmp_path, extenders=[settings]) as client:
                await cluster.node(client, "n1")
                await cluster.pod(client, "a")
                await until(client, "a", bound)
        settings["tlsConfig"] = {**files, "serverName": "somebody.else"}
        async with cluster.running(tmp_path, extenders=[settings]) as client:
            await cluster.node(client, "n1")
            await cluster.pod(client, "a")
            await until(client, "a", waits("Hostname mismatch"))
