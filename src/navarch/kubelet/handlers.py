"""What probes and lifecycle hooks do inside or against a container: run a command, ask over HTTP, TCP or gRPC.

Each answers with `Answer(ok, text, warning)`; nothing here counts thresholds or writes events. Upstream's counterparts: pkg/probe and
pkg/kubelet/lifecycle.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp
import grpc
import grpc.aio

from navarch import KUBERNETES_VERSION
from navarch.api.core import v1
from navarch.api.scalars import IntOrString
from navarch.cri.client import Client, CriError
from navarch.lib import integers

MAX_BODY = 10 * 1024
MAX_REDIRECTS = 10
SERVING = b"\x08\x01"
HEALTH_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


@dataclass(frozen=True, slots=True)
class Answer:
    """How it went. `warning` is a success worth an event; `known` False means it could not be tried at all."""

    ok: bool
    text: str = ""
    warning: bool = False
    known: bool = True


class BadHandler(ValueError):
    """A handler that cannot work, such as one that names a port that does not exist."""


def port_of(container: v1.Container, port: IntOrString | None) -> int:
    """A port given by number or by name."""
    if isinstance(port, int):
        number = port
    else:
        named = next((p.containerPort for p in container.ports or () if p.name == port), None)
        found = named if named is not None else integers.parse(str(port))
        if found is None:
            raise BadHandler(f"couldn't find port: {port}")
        number = found
    if not 0 < number < 65536:
        raise BadHandler(f"invalid port number: {number}")
    return number


class Handlers:
    """Performs handlers. Holds one HTTP session that keeps no connections, as probes must not."""

    def __init__(self, cri: Client) -> None:
        self._cri = cri
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def execute(self, container_id: str, command: Sequence[str], timeout: float) -> Answer:
        """Runs a command in a container; a text of both its outputs."""
        try:
            result = await self._cri.exec_sync(container_id, command, timeout)
        except CriError as error:
            if error.code == "DeadlineExceeded":
                words = " ".join(command)
                return Answer(False, f'command timed out: "{words}" timed out after {round(timeout)}s')
            return Answer(False, str(error), known=False)
        text = (result.stdout + result.stderr).decode("utf-8", "replace")[:MAX_BODY]
        return Answer(result.exit_code == 0, text)

    async def http(self, container: v1.Container, get: v1.HTTPGetAction, pod_ip: str, timeout: float, agent: str) -> Answer:
        """A GET; any status from 200 to 399 is fine. Redirects are followed on the same host only."""
        scheme = (get.scheme or "HTTP").lower()
        host = get.host or pod_ip
        shown = f"[{host}]" if ":" in host else host
        path = get.path or "/"
        url = f"{scheme}://{shown}:{port_of(container, get.port)}{path if path.startswith('/') else '/' + path}"
        headers = {"User-Agent": f"kube-{agent}/{'.'.join(KUBERNETES_VERSION.lstrip('v').split('.')[:2])}", "Accept": "*/*"}
        for header in get.httpHeaders or ():
            if (header.value or "") == "" and (header.name or "").lower() in ("accept", "user-agent"):
                headers = {key: value for key, value in headers.items() if key.lower() != (header.name or "").lower()}
            else:
                headers[header.name or ""] = header.value or ""
        try:
            async with asyncio.timeout(timeout):
                return await self._get(url, headers)
        except TimeoutError:
            return Answer(False, f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)')
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(False, f'Get "{url}": {_network_words(error)}')

    async def _get(self, url: str, headers: dict[str, str]) -> Answer:
        if self._session is None:
            # Containers' certificates are their own affair: upstream does not verify them either.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connector = aiohttp.TCPConnector(force_close=True, ssl=context, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, skip_auto_headers=("User-Agent", "Accept"))
        first_host = urlsplit(url).hostname
        for _ in range(MAX_REDIRECTS):
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                body = (await response.content.read(MAX_BODY)).decode("utf-8", "replace")
                location = response.headers.get("Location")
                if not 200 <= response.status < 400:
                    return Answer(False, f"HTTP probe failed with statuscode: {response.status}")
                if response.status < 300 or location is None:
                    return Answer(True, body, warning=response.status >= 300)
                following = urljoin(url, location)
                if urlsplit(following).hostname != first_host:
                    return Answer(True, f"Probe terminated redirects, Response body: {body}", warning=True)
                url = following
        return Answer(False, f'Get "{url}": stopped after 10 redirects')

    async def tcp(self, host: str, port: int, timeout: float) -> Answer:
        """A connection that opens is all that is asked."""
        try:
            async with asyncio.timeout(timeout):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Answer(False, f"dial tcp {host}:{port}: i/o timeout")
        except OSError as error:
            return Answer(False, f"dial tcp {host}:{port}: {_network_words(error)}")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return Answer(True)

    async def grpc(self, host: str, port: int, service: str, timeout: float) -> Answer:
        """The standard health service; its messages are one field each, written by hand."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        name = service.encode()
        request = (b"\x0a" + bytes([len(name)]) + name) if name else b""
        async with grpc.aio.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
            call = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                answer = await call(request, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return Answer(False, _grpc_words(error, address, timeout))
        if answer[:2] == SERVING:
            return Answer(True, "service healthy")
        state = HEALTH_STATES[answer[1]] if len(answer) > 1 and answer[1] < len(HEALTH_STATES) else "UNKNOWN"
        return Answer(False, f'service unhealthy (responded with "{state}")')


def _network_words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError) or isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
        return "connect: connection refused"
    return str(error) or type(error).__name__


def _grpc_words(error: grpc.aio.AioRpcError, address: str, timeout: float) -> str:
    limit = f"{round(timeout)}s"
    match error.code():
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {error.details()}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"timeout: health rpc did not complete within {limit}"
        case grpc.StatusCode.UNAVAILABLE:
            return f'timeout: failed to connect service "{address}" within {limit}: {error.details()}'
    return f"error: health rpc probe failed: {error.details()}"
