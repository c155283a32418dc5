"""Figures of admission webhooks. `python -m bench.webhooks_bench`

Creates ConfigMaps one after the other through 0, 1 and 3 webhooks of each kind, which run in a process of their own and answer over TLS on loopback.
Prints milliseconds of a create (median and p99), what webhooks add to it, and how much more that is than their own time (a bare request over a
kept connection). Then microseconds that a request pays which concerns none of 50 webhooks.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import uvloop

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.webhooks.registered import Registered
from navarch.apiserver.authn.users import User
from navarch.testing import server, webhooks

CREATES = 400
ASKS = 100_000


def main() -> None:
    if sys.argv[1:] == ["--webhooks"]:
        uvloop.run(_serve())
        return
    child = subprocess.Popen([sys.executable, "-m", "bench.webhooks_bench", "--webhooks"], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert child.stdout is not None and child.stdin is not None
    try:
        port, bundle = json.loads(child.stdout.readline())
        uvloop.run(_measure(port, bundle))
    finally:
        child.stdin.close()
        child.wait(10)


async def _serve() -> None:
    """The webhooks, until whoever started them goes away."""
    handlers = {
        "/allow": lambda request: webhooks.allowed(),
        "/patch": lambda request: webhooks.patched(webhooks.add("/metadata/labels", {"a": "b"})),
    }
    async with webhooks.running(handlers) as hooks:
        print(json.dumps([hooks.port, hooks.bundle]), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def _measure(port: int, bundle: str) -> None:
    async with server.running() as api:
        ns = await api.namespace()
        own = statistics.median(_bare(port))
        before = await _creates(api, ns, "none")
        print(f"{'webhooks':28}{'p50 ms':>8}{'p99 ms':>8}{'added':>8}{'beyond their own':>18}")
        _line("none", before, before, 0.0)
        for kind, path in (("validating", "/allow"), ("mutating", "/allow"), ("mutating", "/patch")):
            for many in (1, 3):
                config = admission_v1.WebhookClientConfig(url=f"https://127.0.0.1:{port}{path}", caBundle=bundle)
                made = await api.client.create(_configuration(kind, [_webhook(kind, i, config, "configmaps") for i in range(many)]))
                assert made.metadata is not None
                _line(
                    f"{many} {kind}{path.replace('/', ', ')}",
                    await _creates(api, ns, f"{kind}-{many}-{path[1:]}"),
                    before,
                    own * (many if kind == "mutating" else 1),
                )
                await api.client.delete(type(made), made.metadata.name or "")
        await _unconcerned(api, ns, port, bundle, before)


def _configuration(kind: str, hooks: Sequence[Any]) -> Any:
    metadata = meta_v1.ObjectMeta(generateName="bench-")
    if kind == "validating":
        return admission_v1.ValidatingWebhookConfiguration(metadata=metadata, webhooks=list(hooks))
    return admission_v1.MutatingWebhookConfiguration(metadata=metadata, webhooks=list(hooks))


def _webhook(kind: str, number: int, config: admission_v1.WebhookClientConfig, resource: str) -> Any:
    rule = admission_v1.RuleWithOperations(operations=["CREATE"], apiGroups=[""], apiVersions=["v1"], resources=[resource])
    made = admission_v1.ValidatingWebhook if kind == "validating" else admission_v1.MutatingWebhook
    return made(
        name=f"hook-{number}.example.com", clientConfig=config, rules=[rule], sideEffects="None", admissionReviewVersions=["v1"], timeoutSeconds=10
    )


async def _creates(api: server.ApiServer, ns: str, name: str, count: int = CREATES) -> list[float]:
    """Milliseconds of each create."""
    taken = []
    for i in range(count + 20):
        metadata = meta_v1.ObjectMeta(name=f"{name}-{i}", namespace=ns)
        began = time.perf_counter()
        await api.client.create(core_v1.ConfigMap(metadata=metadata, data={"key": "value" * 20}))
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken[20:])


def _bare(port: int) -> list[float]:
    """Milliseconds of each bare request to a webhook: a blocking socket, nothing around it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    review = json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "x", "object": {"data": "v" * 900}}})
    taken = []
    for _ in range(CREATES):
        began = time.perf_counter()
        connection.request("POST", "/patch", review, {"Content-Type": "application/json"})
        connection.getresponse().read()
        taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    return sorted(taken)


def _line(what: str, taken: list[float], before: list[float], own: float) -> None:
    added = statistics.median(taken) - statistics.median(before)
    print(f"{what:28}{statistics.median(taken):8.2f}{taken[int(len(taken) * 0.99)]:8.2f}{added:8.2f}{added - own:18.2f}")


async def _unconcerned(api: server.ApiServer, ns: str, port: int, bundle: str, before: list[float]) -> None:
    """A request that matches none of 50 webhooks."""
    config = admission_v1.WebhookClientConfig(url=f"https://127.0.0.1:{port}/allow", caBundle=bundle)
    await api.client.create(_configuration("validating", [_webhook("validating", i, config, "pods") for i in range(50)]))
    _line("50 of another resource", await _creates(api, ns, "unconcerned"), before, 0.0)
    catalog = api.parts.catalog
    registered = Registered(catalog, "validatingwebhookconfigurations")
    attributes = Attributes(User("admin"), catalog.of("", "configmaps"), "CREATE", "x", ns, core_v1.ConfigMap(), None)
    registered.concerned(attributes)
    began = time.perf_counter()
    for _ in range(ASKS):
        registered.concerned(attributes)
    print(f"who is concerned, none of {len(registered.hooks)}: {(time.perf_counter() - began) / ASKS * 1e6:.2f} µs")


if __name__ == "__main__":
    main()
