"""No controller runs hot: each against an API server that refuses what it wants to write, its requests counted.

All controllers of the table run side by side, each with a client of its own that refuses and counts. What they are to react to is made before
by an administrator.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from navarch.api.apps import v1 as apps_v1
from navarch.api.batch import v1 as batch_v1
from navarch.api.core import v1 as core_v1
from navarch.api.discovery import v1 as discovery_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.policy import v1 as policy_v1
from navarch.api.scalars import Object
from navarch.client.events import Recorder
from navarch.client.rest import Client, Request
from navarch.controllers import loop
from navarch.controllers.engine.context import Context
from navarch.controllers.engine.runner import Runner
from navarch.controllers.table import CONTROLLERS
from navarch.lib import tasks
from navarch.machinery import errors
from navarch.testing import server, waiting

SECONDS = 4.0
MOST = 20
"""Requests a controller may make about one object in that time: its tries come at 20 ms, 40 ms, 80 ms … after each other."""
Refusal = Callable[[Request], errors.ApiError | None]


class Refusing(Client):
    """A client whose requests are counted, and refused as a function says."""

    def __init__(self, client: Client, refusal: Refusal) -> None:
        super().__init__(client.config, client.user_agent)
        self._refusal = refusal
        self.counted: Counter[tuple[str, str]] = Counter()

    @contextlib.asynccontextmanager
    async def open(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        if request.method != "GET" and "/events" not in request.path:
            self.counted[request.method, request.path] += 1
        if (refused := self._refusal(request)) is not None:
            raise refused
        async with super().open(request) as response:
            yield response


def all_writes_forbidden(request: Request) -> errors.ApiError | None:
    return None if request.method == "GET" else errors.Forbidden(f"no {request.method}")


def all_writes_conflict(request: Request) -> errors.ApiError | None:
    return None if request.method == "GET" else errors.Conflict(f"no {request.method}")


def new_pods_over_quota(request: Request) -> errors.ApiError | None:
    """As a quota refuses: each time with the name of a pod that nobody will see."""
    if request.method == "POST" and request.path.endswith("/pods"):
        new_pods_over_quota.tries += 1  # type: ignore[attr-defined]
        return errors.Forbidden(f'pods "p-{new_pods_over_quota.tries}" is forbidden: exceeded quota: none')  # type: ignore[attr-defined]
    return None


new_pods_over_quota.tries = 0  # type: ignore[attr-defined]


def meta(name: str, **more: object) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace="default", **more)  # type: ignore[arg-type]


def pod(name: str, **more: object) -> core_v1.Pod:
    spec = core_v1.PodSpec(containers=[core_v1.Container(name="c", image="one")], **more)  # type: ignore[arg-type]
    return core_v1.Pod(metadata=meta(name, labels={"app": name}), spec=spec)


def template(app: str) -> core_v1.PodTemplateSpec:
    return core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels={"app": app}), spec=pod(app).spec)


def claim_spec() -> core_v1.PersistentVolumeClaimSpec:
    return core_v1.PersistentVolumeClaimSpec(
        accessModes=["ReadWriteOnce"], resources=core_v1.VolumeResourceRequirements(requests={"storage": "1Gi"}), storageClassName=""
    )


def volume(name: str) -> core_v1.PersistentVolume:
    host = core_v1.HostPathVolumeSource(path=f"/{name}")
    spec = core_v1.PersistentVolumeSpec(capacity={"storage": "1Gi"}, accessModes=["ReadWriteOnce"], hostPath=host)
    return core_v1.PersistentVolume(metadata=meta_v1.ObjectMeta(name=name, finalizers=["kubernetes.io/pv-protection"]), spec=spec)


def world() -> list[Object]:
    """Something for every controller to want to write."""
    selector = meta_v1.LabelSelector(matchLabels={"app": "w"})
    gone = meta_v1.OwnerReference(apiVersion="v1", kind="ConfigMap", name="gone", uid="0-0")
    ephemeral = core_v1.EphemeralVolumeSource(volumeClaimTemplate=core_v1.PersistentVolumeClaimTemplate(spec=claim_spec()))
    ready = [core_v1.NodeCondition(type="Ready", status="False", reason="x", lastHeartbeatTime="2020-01-01T00:00:00Z")]
    taint = core_v1.Taint(key="t", effect="NoExecute")
    return [
        apps_v1.Deployment(metadata=meta("d"), spec=apps_v1.DeploymentSpec(replicas=2, selector=selector, template=template("w"))),
        apps_v1.ReplicaSet(metadata=meta("rs"), spec=apps_v1.ReplicaSetSpec(replicas=2, selector=selector, template=template("w"))),
        core_v1.ReplicationController(metadata=meta("rc"), spec=core_v1.ReplicationControllerSpec(replicas=2, template=template("rc"))),
        apps_v1.StatefulSet(
            metadata=meta("ss"),
            spec=apps_v1.StatefulSetSpec(
                replicas=2,
                selector=meta_v1.LabelSelector(matchLabels={"app": "ss"}),
                serviceName="ss",
                template=template("ss"),
                volumeClaimTemplates=[core_v1.PersistentVolumeClaim(metadata=meta_v1.ObjectMeta(name="data"), spec=claim_spec())],
            ),
        ),
        apps_v1.DaemonSet(
            metadata=meta("ds"), spec=apps_v1.DaemonSetSpec(selector=meta_v1.LabelSelector(matchLabels={"app": "ds"}), template=template("ds"))
        ),
        batch_v1.CronJob(
            metadata=meta("cron"),
            spec=batch_v1.CronJobSpec(
                schedule="@every 1s",
                jobTemplate=batch_v1.JobTemplateSpec(
                    spec=batch_v1.JobSpec(
                        template=core_v1.PodTemplateSpec(
                            spec=core_v1.PodSpec(restartPolicy="Never", containers=[core_v1.Container(name="c", image="one")])
                        )
                    )
                ),
            ),
        ),
        batch_v1.Job(
            metadata=meta("job"),
            spec=batch_v1.JobSpec(
                ttlSecondsAfterFinished=0,
                template=core_v1.PodTemplateSpec(spec=core_v1.PodSpec(restartPolicy="Never", containers=[core_v1.Container(name="c", image="one")])),
            ),
        ),
        policy_v1.PodDisruptionBudget(
            metadata=meta("pdb"),
            spec=policy_v1.PodDisruptionBudgetSpec(maxUnavailable=1, selector=meta_v1.LabelSelector(matchLabels={"app": "plain"})),
        ),
        core_v1.Service(metadata=meta("svc"), spec=core_v1.ServiceSpec(selector={"app": "plain"}, ports=[core_v1.ServicePort(port=80)])),
        core_v1.Service(metadata=meta("bare"), spec=core_v1.ServiceSpec(ports=[core_v1.ServicePort(port=80)])),
        core_v1.Endpoints(
            metadata=meta("bare"),
            subsets=[core_v1.EndpointSubset(addresses=[core_v1.EndpointAddress(ip="10.1.1.1")], ports=[core_v1.EndpointPort(port=80)])],
        ),
        discovery_v1.EndpointSlice(metadata=meta("stray", labels={"kubernetes.io/service-name": "svc"}), addressType="IPv4", endpoints=[]),
        core_v1.Node(metadata=meta_v1.ObjectMeta(name="n1"), spec=core_v1.NodeSpec(taints=[taint]), status=core_v1.NodeStatus(conditions=ready)),
        pod("plain", nodeName="n1"),
        pod("lost", nodeName="nowhere"),
        pod("scratch", volumes=[core_v1.Volume(name="v", ephemeral=ephemeral)]),
        core_v1.ResourceQuota(metadata=meta("q"), spec=core_v1.ResourceQuotaSpec(hard={"configmaps": "50"})),
        core_v1.PersistentVolumeClaim(metadata=meta("claim"), spec=claim_spec()),
        core_v1.PersistentVolumeClaim(metadata=meta("leaving", finalizers=["kubernetes.io/pvc-protection"]), spec=claim_spec()),
        volume("free"),
        volume("leaving"),
        core_v1.ConfigMap(metadata=meta("orphan", ownerReferences=[gone])),
        core_v1.Secret(
            metadata=meta("token", annotations={"kubernetes.io/service-account.name": "nobody"}), type="kubernetes.io/service-account-token"
        ),
        core_v1.Namespace(metadata=meta_v1.ObjectMeta(name="leaving")),
        core_v1.Namespace(metadata=meta_v1.ObjectMeta(name="fresh")),
    ]


async def make(client: Client) -> None:
    await client.create(core_v1.ServiceAccount(metadata=meta("default")))
    for obj in world():
        with contextlib.suppress(errors.Forbidden):  # the token of an account that is not there
            await client.create(obj)
    for kind, name, namespace in (
        (core_v1.PersistentVolumeClaim, "leaving", "default"),
        (core_v1.PersistentVolume, "leaving", ""),
        (core_v1.Namespace, "leaving", ""),
    ):
        await client.delete(kind, name, namespace)


@pytest.mark.parametrize("refusal", [all_writes_forbidden, all_writes_conflict, new_pods_over_quota])
async def test_no_controller_runs_hot(refusal: Refusal) -> None:
    async with server.running() as api, tasks.Group() as group:
        await make(api.client)
        settings = loop.settings(loop.Options(kubeconfig=""), "ca")
        clients: dict[str, Refusing] = {}
        for name, controller in CONTROLLERS.items():
            client = clients[name] = Refusing(api.client, refusal)
            context = Context(client, Recorder(client, name), settings)
            runner = Runner(controller(context), context)
            group.start(name, run(context, runner, group))
        await waiting.until(lambda: sum(bool(c.counted) for c in clients.values()) >= 10, what="writes of ten controllers")
        await asyncio.sleep(SECONDS)
        group.cancel()
    hot = {f"{name}: {method} {path}": count for name, client in clients.items() for (method, path), count in client.counted.items() if count > MOST}
    await asyncio.gather(*(client.close() for client in clients.values()))
    assert not hot


async def run(context: Context, runner: Runner, group: tasks.Group) -> None:
    await context.run(group)
    await runner.run(group)
