"""What the API server connects to for a client: never to itself or its link, never by way of a redirect, and in nobody's name."""

from __future__ import annotations

import asyncio
import datetime
import pathlib
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from navarch.apiserver.http.forwarding import Sessions
from navarch.apiserver.kubelets import Kubelets
from navarch.lib import inet, pki
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
MERGE = "application/merge-patch+json"
NOW = datetime.datetime.now(datetime.UTC)
LOCAL = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
)  # fmt: skip
REMOTE = ("10.0.0.1", "192.168.3.4", "172.31.254.1", "8.8.8.8", "2001:db8::1", "fd00::1", "::ffff:10.0.0.1")


class Target:
    """An HTTP server that records what reaches it and answers as it is told."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.answer: Any = lambda request: web.Response(text="here")
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        made = self.answer(request)
        found: web.StreamResponse = await made if asyncio.iscoroutine(made) else made
        return found


@pytest_asyncio.fixture(loop_scope="module")
async def target(tmp_path: pathlib.Path) -> AsyncIterator[Target]:
    pki.issue(pki.authority("x", NOW), "n", NOW, names=("n", "127.0.0.1"), server=True).write(tmp_path / "crt", tmp_path / "key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    made = Target()
    listener = await asyncio.get_running_loop().create_server(web.Server(made.handle), "127.0.0.1", 0, ssl=context)
    made.port = listener.sockets[0].getsockname()[1]
    yield made
    listener.close()


@pytest.fixture
def anywhere(api: server.ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets proxies reach the test's own servers."""
    monkeypatch.setattr(api.parts.kubelets, "may_proxy_to", lambda _: True)


async def node_at(http: Any, name: str, address: str, port: int, kind: str = "InternalIP") -> None:
    await http("POST", "/api/v1/nodes", {"metadata": {"name": name}})
    status = {"addresses": [{"type": kind, "address": address}], "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
    assert (await http("PATCH", f"/api/v1/nodes/{name}/status", {"status": status}, media=MERGE)).status == 200


async def pod_at(http: Any, ns: str, name: str, address: str, node: str = "") -> str:
    base = f"/api/v1/namespaces/{ns}/pods"
    spec = {"containers": [{"name": "c", "image": "i"}], **({"nodeName": node} if node else {})}
    assert (await http("POST", base, {"metadata": {"name": name}, "spec": spec})).status == 201
    status = {"podIP": address, "podIPs": [{"ip": address}], "phase": "Running"}
    assert (await http("PATCH", f"{base}/{name}/status", {"status": status}, media=MERGE)).status == 200
    return f"{base}/{name}"


async def slice_at(http: Any, ns: str, service: str, address: str, port: int, **endpoint: Any) -> Any:
    metadata = {"generateName": "s-", "labels": {"kubernetes.io/service-name": service}}
    kind = "IPv6" if ":" in address else "IPv4"
    body = {"metadata": metadata, "addressType": kind, "endpoints": [{"addresses": [address], **endpoint}], "ports": [{"name": "p", "port": port}]}
    return await http("POST", f"/apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices", body)


# ---- where to --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", LOCAL)
async def test_no_proxy_leads_home(http: Any, ns: str, target: Target, address: str) -> None:
    await node_at(http, f"n-{ns}", address, target.port)
    base = f"/api/v1/nodes/n-{ns}"
    for path in (f"{base}/proxy/x", f"{base}:{target.port}/proxy/x", f"/api/v1/nodes/https:n-{ns}:{target.port}/proxy/"):
        answer = await http("GET", path)
        assert (answer.status, answer.message) == (400, "address not allowed"), path
        upgrade = await http("GET", path, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        assert (upgrade.status, upgrade.message) == (400, "address not allowed"), path
    pod = await pod_at(http, ns, "p", address)
    for path in (f"{pod}:{target.port}/proxy/x", f"{pod.removesuffix('/p')}/https:p:{target.port}/proxy/"):
        assert (await http("GET", path)).message == "address not allowed"
    assert target.requests == []


async def test_names_are_judged_by_what_they_lead_to(http: Any, ns: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad address among good ones is enough, and what was judged is what is dialed."""
    await node_at(http, f"n-{ns}", "node.example", target.port, "Hostname")
    loop = asyncio.get_running_loop()
    real, asked = loop.getaddrinfo, []

    async def resolve(host: Any, *more: Any, **kwargs: Any) -> Any:
        if host != "node.example":
            return await real(host, *more, **kwargs)
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, target.port)) for a in ("10.0.0.1", "127.0.0.1")]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    assert (await http("GET", f"/api/v1/nodes/n-{ns}/proxy/x")).message == "address not allowed"
    assert (asked, target.requests) == (["node.example"], [])


async def test_what_is_another_machine() -> None:
    assert [a for a in LOCAL if inet.is_global_unicast(inet.parse(a) or inet.parse("::"))] == []  # type: ignore[arg-type]
    assert [a for a in REMOTE if not inet.is_global_unicast(inet.parse(a) or inet.parse("::"))] == []  # type: ignore[arg-type]


@pytest.mark.parametrize("address", [a for a in LOCAL if a not in ("255.255.255.255",)])
async def test_endpoints_do_not_lead_home(http: Any, ns: str, address: str) -> None:
    found = await slice_at(http, ns, "s", address, 80)
    assert found.status == 422
    subset = {"addresses": [{"ip": address}], "ports": [{"port": 80}]}
    assert (await http("POST", f"/api/v1/namespaces/{ns}/endpoints", {"metadata": {"name": "e"}, "subsets": [subset]})).status == 422


async def test_services_lead_to_pods_alone(api: server.ApiServer, http: Any, ns: str, target: Target, anywhere: None) -> None:
    """An endpoint that no pod of the namespace has is passed over, whoever wrote it."""
    spec = {"ports": [{"name": "p", "port": 80}]}
    assert (await http("POST", f"/api/v1/namespaces/{ns}/services", {"metadata": {"name": "s"}, "spec": spec})).status == 201
    path = f"/api/v1/namespaces/{ns}/services/https:s:p/proxy/x"
    other = await api.namespace()
    await pod_at(http, other, "there", "10.9.9.9")
    await pod_at(http, ns, "here", "10.8.8.8")
    pod = {"kind": "Pod", "namespace": ns, "name": "here"}
    for endpoint in ({}, {"targetRef": {**pod, "name": "gone"}}, {"targetRef": pod}, {"targetRef": {**pod, "namespace": other, "name": "there"}}):
        assert (await slice_at(http, ns, "s", "10.9.9.9", target.port, **endpoint)).status == 201
        answer = await http("GET", path)
        assert (answer.status, answer.message) == (503, 'no endpoints available for service "https:s:p"')
    status = {"podIP": "10.9.9.9", "podIPs": [{"ip": "10.9.9.9"}]}
    await http("PATCH", f"/api/v1/namespaces/{ns}/pods/here/status", {"status": status}, media=MERGE)
    assert "no endpoints" not in (await http("GET", f"{path}?timeout=1", headers={"Connection": "Upgrade", "Upgrade": "x"})).message
    assert (await http("GET", f"/api/v1/namespaces/{ns}/services/s:nope/proxy/")).status == 503


# ---- in whose name ---------------------------------------------------------------------------------------------------------------


async def test_who_the_client_is_goes_no_further(http: Any, ns: str, target: Target, anywhere: None) -> None:
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    sent = {
        "Impersonate-User": "admin", "Impersonate-Group": "system:masters", "Impersonate-Extra-A": "x", "X-Remote-User": "root",
        "X-Remote-Group": "system:masters", "X-Remote-Extra-A": "x", "Authorization": "Basic eDp5", "X-Hop": "secret", "Connection": "X-Hop",
        "X-Forwarded-For": "192.0.2.1", "X-Kept": "kept",
    }  # fmt: skip
    assert (await http("GET", f"/api/v1/nodes/n-{ns}/proxy/a//b/../c%20d/?q=1%2F2", headers=sent)).status == 200
    got = target.requests[-1]
    names = {n.lower() for n in got.headers}
    assert not names & {"authorization", "x-hop"} and not [n for n in names if n.startswith(("impersonate-", "x-remote-"))]
    assert (got.headers["X-Kept"], got.headers["X-Forwarded-For"]) == ("kept", "192.0.2.1, 127.0.0.1")
    assert got.rel_url.raw_path == "/a/c%20d/"


async def test_ways_up_do_not_leave_the_target(http: Any, ns: str, target: Target, anywhere: None) -> None:
    from yarl import URL

    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    for written, wanted in (
        ("a%2F..%2F..%2Fb", "/b"),
        ("%2e%2e/%2e%2e/b/", "/b/"),
        ("", "/"),
        ("a%0d%0ab", "/a%0D%0Ab"),
        ("x/proxy/y", "/x/proxy/y"),
    ):
        async with http._session.get(URL(f"{http._url}/api/v1/nodes/n-{ns}/proxy/{written}", encoded=True)) as answer:
            assert answer.status == 200
        assert target.requests[-1].rel_url.raw_path == wanted


# ---- redirects -------------------------------------------------------------------------------------------------------------------


async def test_redirects_are_rewritten_by_proxies_and_not_followed(http: Any, ns: str, target: Target, anywhere: None) -> None:
    target.answer = lambda request: web.Response(status=302, headers={"Location": "/elsewhere"})
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    base = f"/api/v1/nodes/n-{ns}/proxy"
    answer = await http("GET", f"{base}/x")
    assert (answer.status, answer.headers["Location"], len(target.requests)) == (302, f"{base}/elsewhere", 1)
    root = await http("GET", base, query="a=b")
    assert (root.status, root.headers["Location"], len(target.requests)) == (301, f"{base}/?a=b", 1)


@pytest.mark.parametrize("what", ["exec", "attach", "portforward", "proxy/x"])
async def test_an_upgrade_is_not_redirected(http: Any, ns: str, target: Target, anywhere: None, what: str) -> None:
    target.answer = lambda request: web.Response(status=307, headers={"Location": "https://127.0.0.1:1/"})
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    pod = await pod_at(http, ns, "p", "127.0.0.1", f"n-{ns}")
    path = f"/api/v1/nodes/n-{ns}/{what}" if what.startswith("proxy") else f"{pod}/{what}"
    upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}
    answer = await http("POST", path, headers=upgrade)
    assert (answer.status, answer.message) == (500, "Internal error occurred: invalid upgrade response: status code 307")
    assert "Location" not in answer.headers and len(target.requests) == 1


async def test_a_refused_upgrade_is_answered_and_the_connection_goes_on(http: Any, ns: str, target: Target) -> None:
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    pod = await pod_at(http, ns, "p", "10.0.0.9", f"n-{ns}")
    upgrade = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"}

    async def chunked(request: web.BaseRequest) -> web.StreamResponse:
        made = web.StreamResponse(status=500)
        made.enable_chunked_encoding()
        await made.prepare(request)
        await made.write(b"in ")
        await made.write(b"pieces")
        await made.write_eof()
        return made

    for how, status, text in (
        (lambda r: web.Response(status=400, text="no such container"), 400, b"no such container"),
        (chunked, 500, b"in pieces"),
    ):
        target.answer = how
        answer = await http("POST", f"{pod}/exec", query="command=ls", headers=upgrade)
        assert (answer.status, answer.body) == (status, text)
    assert (await http("GET", pod)).status == 200


async def test_logs_follow_no_redirect(http: Any, ns: str, target: Target) -> None:
    target.answer = lambda request: web.Response(status=302, headers={"Location": "/elsewhere"})
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    pod = await pod_at(http, ns, "p", "10.0.0.9", f"n-{ns}")
    await http("GET", f"{pod}/log")
    assert len(target.requests) == 1
    async with http._session.get(f"{http._url}{pod}/log", headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as answer:
        assert answer.status != 302
    assert len({r.rel_url.path for r in target.requests}) <= 1


# ---- kubelets' certificates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "good"), [(("127.0.0.1",), True), (("127.0.0.2", "n"), False), ((), False)])
async def test_kubelets_are_known_by_name(api: server.ApiServer, tmp_path: pathlib.Path, names: tuple[str, ...], good: bool) -> None:
    authority = pki.authority("kubelets", NOW)
    authority.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    pki.issue(authority, "n", NOW, names=names, server=True).write(tmp_path / "crt", tmp_path / "key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    listener = await asyncio.get_running_loop().create_server(web.Server(Target().handle), "127.0.0.1", 0, ssl=context)
    kubelets, sessions = Kubelets(api.parts.catalog, "", "", str(tmp_path / "ca.crt")), Sessions()
    admin = api.client
    from navarch.api.core import v1 as core_v1
    from navarch.api.meta import v1 as meta_v1

    name = f"known-{len(names)}-{good}".lower()
    await admin.create(core_v1.Node(metadata=meta_v1.ObjectMeta(name=name)))
    port = {"kubeletEndpoint": {"Port": listener.sockets[0].getsockname()[1]}}
    status = {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": port}
    await admin.patch(core_v1.Node, name, {"status": status}, how="merge", subresource="status")

    async def status_of(verify: bool) -> int:
        found = kubelets.target(name, verify=verify)
        async with sessions.session.get(f"{found.base}/", ssl=found.tls or True) as answer:
            return answer.status

    import aiohttp

    if good:
        assert await status_of(True) == 200
    else:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status_of(True)
    assert await status_of(False) == 200
    await sessions.close()
    listener.close()


# ---- commands ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["exec", "attach", "portforward"])
async def test_to_read_exec_is_not_to_run(api: server.ApiServer, http: Any, ns: str, target: Target, what: str) -> None:
    """A WebSocket can only GET; what it does is asked for as `create` all the same."""
    await node_at(http, f"n-{ns}", "127.0.0.1", target.port)
    pod = await pod_at(http, ns, "p", "10.0.0.9", f"n-{ns}")
    rbac, group = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}", "rbac.authorization.k8s.io"
    rule = {"verbs": ["get"], "apiGroups": [""], "resources": [f"pods/{what}"]}
    await http("POST", f"{rbac}/roles", {"metadata": {"name": "r"}, "rules": [rule]})
    binding = {"metadata": {"name": "r"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"}}
    await http("POST", f"{rbac}/rolebindings", {**binding, "subjects": [{"kind": "User", "apiGroup": group, "name": "reader"}]})
    reader = type(http)(api, "reader")
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    refused = await reader("GET", f"{pod}/{what}", headers=upgrade)
    assert (refused.status, refused.message, target.requests) == (403, 'pods "p" is forbidden: ', [])
    rule["verbs"].append("create")
    await http("PUT", f"{rbac}/roles/r", {"metadata": {"name": "r"}, "rules": [rule]})
    target.answer = lambda request: web.Response(status=400, text="reached")
    assert (await reader("GET", f"{pod}/{what}", headers=upgrade)).body == b"reached"
    await reader.close()
