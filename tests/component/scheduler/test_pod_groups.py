"""Pods of a declared group, against the real API server: gated until the group is complete, then placed together or not at all."""

from __future__ import annotations

import asyncio
import pathlib
from typing import Any

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scheduling import v1alpha2
from navarch.client import rest
from tests.component.scheduler import cluster
from tests.component.scheduler.cluster import bound, reason, until, waits

SERVED = "scheduling.k8s.io/v1alpha2=true"
TOO_FEW = ("SchedulingGated", "waiting for minCount pods from a gang to appear in scheduling queue")


async def group(client: rest.Client, name: str, minimum: int) -> None:
    policy = v1alpha2.PodGroupSchedulingPolicy(gang=v1alpha2.GangSchedulingPolicy(minCount=minimum))
    metadata = meta_v1.ObjectMeta(name=name, namespace="test")
    await client.create(v1alpha2.PodGroup(metadata=metadata, spec=v1alpha2.PodGroupSpec(schedulingPolicy=policy)))


async def member(client: rest.Client, name: str, of: str = "g", **more: Any) -> None:
    await cluster.pod(client, name, schedulingGroup=v1.PodSchedulingGroup(podGroupName=of), **more)


async def condition(client: rest.Client, name: str, status: str) -> meta_v1.Condition:
    for _ in range(500):
        found = await client.get(v1alpha2.PodGroup, name, "test")
        for held in (found.status.conditions if found.status is not None else None) or ():
            if held.type == "PodGroupScheduled" and held.status == status:
                return held
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def test_a_group_waits_until_it_is_complete_and_is_then_placed(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, "system:kube-scheduler", SERVED) as client:
        await cluster.node(client, "n1")
        await member(client, "a")
        message = 'waiting for pods\'s pod group "g" to appear in scheduling queue'
        assert reason(await until(client, "a", waits("pod group"))) == ("SchedulingGated", message)
        await group(client, "g", 2)
        assert reason(await until(client, "a", waits("minCount"))) == TOO_FEW
        await cluster.pod(client, "alone", cpu="100m")
        await until(client, "alone", bound)
        await cluster.node(client, "n2")
        await member(client, "b")
        assert bound(await until(client, "a", bound)) and bound(await until(client, "b", bound))
        assert (await condition(client, "g", "True")).reason == "Scheduled"
        await member(client, "later")  # enough of it run: the rest come one by one
        await until(client, "later", bound)


async def test_a_group_that_does_not_fit_is_not_begun_and_is_placed_when_there_is_room(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, runtime_config=SERVED) as client:
        await cluster.node(client, "n1", cpu="2")
        await group(client, "g", 3)
        for name in ("a", "b", "c"):
            await member(client, name)
        told = "2 of the 3 pods that are needed could be placed"
        found = [await until(client, name, waits(told)) for name in ("a", "b", "c")]
        assert not any(map(bound, found))
        texts = sorted(reason(pod)[1] for pod in found)
        assert texts[0] == f"0/1 nodes are available: 1 Insufficient cpu. Pod group: {told}."
        assert texts[1] == texts[2] == f"waiting for minCount pods from a gang to be scheduled: {told}"
        assert (await condition(client, "g", "False")).message == f"{told}: 0/1 nodes are available: 1 Insufficient cpu."
        await cluster.pod(client, "other", cpu="2")  # the room is not held by those that could be placed
        await until(client, "other", bound)
        await cluster.node(client, "n2", cpu="3")
        assert [bound(await until(client, name, bound)) for name in ("a", "b", "c")] == ["n2"] * 3


async def test_a_group_larger_than_the_cluster_waits_and_others_do_not(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, runtime_config=SERVED) as client:
        await cluster.node(client, "n1", cpu="2")
        await group(client, "g", 4)
        apart = v1.PodAffinityTerm(topologyKey="kubernetes.io/hostname", labelSelector=meta_v1.LabelSelector())
        affinity = v1.Affinity(podAntiAffinity=v1.PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[apart]))
        for name in "abcd":
            await member(client, name, cpu="100m", affinity=affinity)
        await until(client, "a", waits("1 of the 4 pods that are needed could be placed"))
        await cluster.pod(client, "other")
        await until(client, "other", bound)
        assert not bound(await client.get(v1.Pod, "a", "test"))


async def test_a_group_makes_room_only_if_all_of_it_will_fit(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path, runtime_config=SERVED) as client:
        await client.request(
            "POST",
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            body=b'{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"high"},"value":1000}',
        )
        await cluster.node(client, "n1", cpu="2")
        await cluster.pod(client, "low")
        await until(client, "low", bound)
        await group(client, "three", 3)
        for name in ("x", "y", "z"):
            await member(client, name, "three", priorityClassName="high")
        await until(client, "x", waits("1 of the 3 pods that are needed could be placed"))
        low = await client.get(v1.Pod, "low", "test")
        assert low.metadata is not None and low.metadata.deletionTimestamp is None
        await group(client, "two", 2)
        for name in ("a", "b"):
            await member(client, name, "two", priorityClassName="high")
        for name in ("a", "b"):
            found = await until(client, name, waits("pod group is waiting for preemption to complete"))
            assert not bound(found) and found.status is not None and found.status.nominatedNodeName == "n1"
        low = await client.get(v1.Pod, "low", "test")
        assert low.metadata is not None and low.metadata.deletionTimestamp is not None
        await client.delete(v1.Pod, "low", "test", grace=0)
        for name in ("a", "b"):
            await until(client, name, bound)


async def test_where_groups_are_not_served_their_pods_are_pods_like_others(tmp_path: pathlib.Path) -> None:
    async with cluster.running(tmp_path) as client:
        await cluster.node(client, "n1")
        await member(client, "a")
        await until(client, "a", bound)


async def test_a_profile_can_leave_groups_alone(tmp_path: pathlib.Path) -> None:
    profile = {"plugins": {"multiPoint": {"disabled": [{"name": "GangScheduling"}]}}}
    async with cluster.running(tmp_path, runtime_config=SERVED, profiles=[profile]) as client:
        await cluster.node(client, "n1")
        await member(client, "a")
        await until(client, "a", bound)


async def test_members_with_different_schedulers_are_an_error(tmp_path: pathlib.Path) -> None:
    profiles = [{"schedulerName": "default-scheduler"}, {"schedulerName": "other"}]
    async with cluster.running(tmp_path, runtime_config=SERVED, profiles=profiles) as client:
        await cluster.node(client, "n1")
        await group(client, "g", 2)
        await member(client, "a")
        await member(client, "b", schedulerName="other")
        text = 'all pods in a single pod group should have the same .spec.schedulerName set, got: "default-scheduler" and "other"'
        found = await until(client, "a", waits(text))
        assert reason(found)[0] == "SchedulerError"
