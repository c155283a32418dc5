"""Figures of admission policies. `python -m bench.policies_bench`

Microseconds that a policy with five expressions takes for a pod (its object made a tree included), what it costs a pod that no policy concerns,
and what a create of a pod takes with and without that policy.
"""

from __future__ import annotations

import asyncio
import statistics
import time

import uvloop

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.chain import Plugin
from navarch.apiserver.authn.users import User
from navarch.testing import server

ROUNDS, CREATES = 5_000, 300
EXPRESSIONS = (
    "object.spec.containers.all(c, c.image.contains(':') && !c.image.endsWith(':latest'))",
    "!has(object.spec.hostNetwork) || object.spec.hostNetwork == false",
    "variables.containers.all(c, !has(c.securityContext) || !has(c.securityContext.privileged) || c.securityContext.privileged == false)",
    "has(object.metadata.labels) && 'app' in object.metadata.labels",
    "request.operation != 'CREATE' || object.metadata.namespace == request.namespace",
)


def main() -> None:
    uvloop.run(_measure())


async def _measure() -> None:
    async with server.running() as api:
        ns = await api.namespace()
        plugin = next(p for p in api.parts.admission.plugins if p.name == "ValidatingAdmissionPolicy")
        print(f"{'no policy at all':34}{_ask(plugin, api, ns):8.2f} µs")
        before = await _creates(api, ns, "before")
        await _policy(api, "configmaps")
        print(f"{'one of another resource':34}{_ask(plugin, api, ns):8.2f} µs")
        await _policy(api, "pods")
        print(f"{'five expressions on a pod':34}{await _evaluate(plugin, api, ns):8.1f} µs")
        after = await _creates(api, ns, "after")
        print(f"create of a pod: {before:.2f} ms, with the policy {after:.2f} ms")


async def _policy(api: server.ApiServer, resource: str) -> None:
    rule = admission_v1.NamedRuleWithOperations(operations=["CREATE"], apiGroups=[""], apiVersions=["v1"], resources=[resource])
    spec = admission_v1.ValidatingAdmissionPolicySpec(
        matchConstraints=admission_v1.MatchResources(resourceRules=[rule]),
        variables=[admission_v1.Variable(name="containers", expression="object.spec.containers")],
        validations=[admission_v1.Validation(expression=text) for text in EXPRESSIONS],
    )
    metadata = meta_v1.ObjectMeta(name=f"bench-{resource}")
    await api.client.create(admission_v1.ValidatingAdmissionPolicy(metadata=metadata, spec=spec))
    bound = admission_v1.ValidatingAdmissionPolicyBindingSpec(policyName=metadata.name, validationActions=["Deny"])
    await api.client.create(admission_v1.ValidatingAdmissionPolicyBinding(metadata=metadata, spec=bound))


def _pod(name: str, ns: str) -> core_v1.Pod:
    containers = [core_v1.Container(name=f"c{i}", image=f"example.com/image-{i}:1.{i}") for i in range(2)]
    metadata = meta_v1.ObjectMeta(name=name, namespace=ns, labels={"app": "bench"})
    return core_v1.Pod(metadata=metadata, spec=core_v1.PodSpec(containers=containers))


def _attributes(api: server.ApiServer, ns: str) -> Attributes:
    return Attributes(User("admin"), api.parts.catalog.of("", "pods"), "CREATE", "x", ns, _pod("x", ns), None)


def _ask(plugin: Plugin, api: server.ApiServer, ns: str) -> float:
    """Microseconds of a write that no policy concerns."""
    assert plugin.validate is not None
    attributes = _attributes(api, ns)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        assert plugin.validate(attributes) is None
    return (time.perf_counter() - began) / ROUNDS * 1e6


async def _evaluate(plugin: Plugin, api: server.ApiServer, ns: str) -> float:
    assert plugin.validate is not None
    taken = []
    for _ in range(ROUNDS):
        attributes = _attributes(api, ns)
        began = time.perf_counter()
        pending = plugin.validate(attributes)
        assert pending is not None
        await pending
        taken.append((time.perf_counter() - began) * 1e6)
    return statistics.median(taken)


async def _creates(api: server.ApiServer, ns: str, name: str) -> float:
    """Milliseconds of a create, the median."""
    taken = []
    for i in range(CREATES):
        began = time.perf_counter()
        await api.client.create(_pod(f"{name}-{i}", ns))
        taken.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
