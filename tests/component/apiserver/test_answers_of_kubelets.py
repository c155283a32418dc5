"""What a kubelet refuses reaches the client as a Status, in upstream's words, whatever way the log was asked for."""

from __future__ import annotations

import datetime
import pathlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from navarch.lib import pki
from navarch.machinery import errors

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Kubelet:
    """A kubelet that answers every request for a log in the same way."""

    def __init__(self) -> None:
        self.status, self.text, self.port = 200, "", 0
        self.headers: dict[str, str] = {}

    async def log(self, request: web.Request) -> web.Response:
        return web.Response(status=self.status, text=self.text, headers=self.headers)


@pytest_asyncio.fixture(loop_scope="module")
async def kubelet(tmp_path: pathlib.Path) -> AsyncIterator[Kubelet]:
    now = datetime.datetime.now(datetime.UTC)
    pki.issue(pki.authority("ca", now), "n", now, names=("n", "127.0.0.1"), server=True).write(tmp_path / "crt", tmp_path / "key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    scripted = Kubelet()
    app = web.Application()
    app.router.add_get("/containerLogs/{tail:.*}", scripted.log)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    scripted.port = runner.addresses[0][1]
    yield scripted
    await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def log_path(http: Any, ns: str, kubelet: Kubelet) -> AsyncIterator[str]:
    """A pod "p" on the kubelet's node, and where its log is."""
    node = f"node-of-{ns}"
    assert (await http("POST", "/api/v1/nodes", {"metadata": {"name": node}})).status == 201
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}
    merge = "application/merge-patch+json"
    assert (await http("PATCH", f"/api/v1/nodes/{node}/status", {"status": status}, media=merge)).status == 200
    pods = f"/api/v1/namespaces/{ns}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}}
    assert (await http("POST", pods, pod)).status == 201
    yield f"{pods}/p/log"
    await http("DELETE", f"/api/v1/nodes/{node}")


WAITS = 'container "c" in pod "p" is waiting to start: ContainerCreating'
CASES = [
    (400, WAITS, 400, "BadRequest", WAITS),
    (404, 'pod "p" does not exist', 404, "NotFound", "the server could not find the requested resource ( pods/log p)"),
    (500, "it broke", 500, "InternalError", "Internal error occurred: it broke"),
    (401, "Unauthorized", 401, "Unauthorized", "the server has asked for the client to provide credentials ( pods/log p)"),
    (403, "Forbidden (user=x)", 403, "Forbidden", "Forbidden (user=x) ( pods/log p)"),
    (422, "no", 422, "Invalid", "the server rejected our request due to an error in our request ( pods/log p)"),
    (502, "bad", 502, "InternalError", 'an error on the server ("bad") has prevented the request from succeeding ( pods/log p)'),
    (503, "later", 503, "ServiceUnavailable", "the server is currently unable to handle the request ( pods/log p)"),
    (418, "tea", 418, "Unknown", "the server responded with the status code 418 but did not return more information ( pods/log p)"),
    (302, "moved", 302, "Unknown", "the server responded with the status code 302 but did not return more information ( pods/log p)"),
]


@pytest.mark.parametrize(("code", "text", "status", "reason", "message"), CASES)
async def test_a_refused_log_is_a_status(
    http: Any, kubelet: Kubelet, log_path: str, code: int, text: str, status: int, reason: str, message: str
) -> None:
    kubelet.status, kubelet.text = code, text
    answer = await http("GET", log_path, accept="*/*")
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.json["kind"], answer.json["status"], answer.json["code"]) == ("Status", "Failure", status)
    assert (answer.reason, answer.message) == (reason, message)


async def test_a_log_is_passed_on_and_a_long_refusal_is_cut(http: Any, kubelet: Kubelet, log_path: str) -> None:
    kubelet.text = "one\ntwo\n"
    answer = await http("GET", log_path, accept="*/*")
    assert (answer.status, answer.body) == (200, b"one\ntwo\n")
    kubelet.status, kubelet.text = 400, "x" * 1_000_000
    assert (await http("GET", log_path)).message == "x" * 50_000


async def test_a_redirect_is_neither_followed_nor_passed_on(http: Any, kubelet: Kubelet, log_path: str) -> None:
    kubelet.status, kubelet.headers = 302, {"Location": "https://elsewhere.test/x"}
    answer = await http("GET", log_path, accept="*/*")
    assert (answer.status, answer.message) == (500, 'Get "https://elsewhere.test/x": redirects forbidden')


async def test_a_refusal_comes_before_a_websocket_is_opened(http: Any, kubelet: Kubelet, log_path: str) -> None:
    kubelet.status, kubelet.text = 400, WAITS
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http._session.ws_connect(http._url + log_path, protocols=("binary.k8s.io",))
    assert refused.value.status == 400


async def test_every_code_of_the_server_has_a_reason() -> None:
    for code in (400, 401, 403, 404, 405, 406, 409, 415, 422, 429, 500, 502, 503, 504):
        error = errors.answered(code, "pods/log", "p", "text")
        assert error.status.reason not in (None, "Unknown"), code
        assert error.status.code == code
