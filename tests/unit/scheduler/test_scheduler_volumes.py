"""Volumes in the scheduler's core, case by case: limits, zones, reservations, and how far a binding is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1
from navarch.machinery import claims
from navarch.scheduler.core import explain
from navarch.scheduler.core.decide import Chosen, Core, Unschedulable
from navarch.scheduler.core.plugin import Scope
from navarch.scheduler.core.plugins import table
from navarch.scheduler.core.profile import DEFAULT, Profile
from navarch.scheduler.core.terms import Reader
from navarch.scheduler.core.view import View
from navarch.scheduler.core.volumes import filters, reserving
from navarch.scheduler.core.volumes.binding import Reservation
from navarch.scheduler.core.volumes.reserving import State
from navarch.scheduler.core.volumes.storage import StorageObject
from navarch.scheduler.core.what_if import Simulation, Snapshot

DRIVER, HOST, ZONE = "csi.example.com", "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def node(name: str, **labels: str) -> v1.Node:
    found = {HOST: name, **{k.replace("zone", ZONE): v for k, v in labels.items()}}
    status = v1.NodeStatus(allocatable={"cpu": "8", "memory": "8Gi", "pods": "110"})
    return v1.Node(metadata=meta_v1.ObjectMeta(name=name, labels=found), status=status)


def pod(name: str, *named: str, priority: int = 0, **spec: Any) -> v1.Pod:
    volumes = [v1.Volume(name=n, persistentVolumeClaim=v1.PersistentVolumeClaimVolumeSource(claimName=n)) for n in named]
    made = v1.PodSpec(containers=[v1.Container(name="c", image="x")], volumes=volumes, priority=priority, **spec)
    return v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace="d", uid=name), spec=made)


def claim(name: str, volume: str = "", storage: str = "1Gi", mode: str = "ReadWriteOnce", where: str = "wait") -> v1.PersistentVolumeClaim:
    notes = {claims.BIND_COMPLETED: "yes"} if volume else None
    spec = v1.PersistentVolumeClaimSpec(
        accessModes=[mode],
        storageClassName=where,
        volumeName=volume or None,
        resources=v1.VolumeResourceRequirements(requests={"storage": storage}),
    )
    metadata = meta_v1.ObjectMeta(name=name, namespace="d", uid=f"uid-{name}", annotations=notes, resourceVersion="1")
    return v1.PersistentVolumeClaim(metadata=metadata, spec=spec, status=v1.PersistentVolumeClaimStatus(phase="Bound" if volume else "Pending"))


def volume(name: str, storage: str = "1Gi", on: str = "", handle: str = "", labels: dict[str, str] | None = None) -> v1.PersistentVolume:
    required = v1.NodeSelector(
        nodeSelectorTerms=[v1.NodeSelectorTerm(matchExpressions=[v1.NodeSelectorRequirement(key=HOST, operator="In", values=[on])])]
    )
    spec = v1.PersistentVolumeSpec(
        accessModes=["ReadWriteOnce"],
        capacity={"storage": storage},
        storageClassName="wait",
        nodeAffinity=v1.VolumeNodeAffinity(required=required) if on else None,
        csi=v1.CSIPersistentVolumeSource(driver=DRIVER, volumeHandle=handle) if handle else None,
    )
    metadata = meta_v1.ObjectMeta(name=name, labels=labels, resourceVersion="1")
    return v1.PersistentVolume(metadata=metadata, spec=spec, status=v1.PersistentVolumeStatus(phase="Available"))


def storage_class(name: str = "wait", provisioner: str = claims.NO_PROVISIONER, mode: str = "WaitForFirstConsumer") -> storage_v1.StorageClass:
    return storage_v1.StorageClass(metadata=meta_v1.ObjectMeta(name=name), provisioner=provisioner, volumeBindingMode=mode)


def limit(name: str, count: int) -> storage_v1.CSINode:
    driver = storage_v1.CSINodeDriver(name=DRIVER, allocatable=storage_v1.VolumeNodeResources(count=count))
    return storage_v1.CSINode(metadata=meta_v1.ObjectMeta(name=name), spec=storage_v1.CSINodeSpec(drivers=[driver]))


def attachment(name: str, where: str, of: str) -> storage_v1.VolumeAttachment:
    source = storage_v1.VolumeAttachmentSource(persistentVolumeName=of)
    spec = storage_v1.VolumeAttachmentSpec(attacher=DRIVER, nodeName=where, source=source)
    return storage_v1.VolumeAttachment(metadata=meta_v1.ObjectMeta(name=name), spec=spec)


def core_of(*nodes: v1.Node, objects: tuple[Any, ...] = ()) -> Core:
    core = Core()
    for found in nodes:
        core.columns.put_node(found)
    for obj in (storage_class(), *objects):
        put(core, obj)
    return core


def put(core: Core, obj: StorageObject) -> None:
    core.columns.storage.put(obj)


def tried(core: Core, wanted: v1.Pod, profile: Profile = DEFAULT) -> str:
    """The node, or the message."""
    found = core.schedule(Reader().read(wanted), 0, profile)
    return found.node if isinstance(found, Chosen) else found.message


def rows(core: Core, wanted: v1.Pod) -> list[explain.Row]:
    info = Reader().read(wanted)
    refused = core.schedule(info, 0)
    assert isinstance(refused, Unschedulable)
    return explain.rows(View(core.columns, info.terms, DEFAULT.arguments), refused)


def placed(core: Core, wanted: v1.Pod, where: str) -> None:
    core.columns.put_pod(Reader().read(wanted), where)


# ---- limits -------------------------------------------------------------------------------------------------------


def test_a_node_takes_as_many_volumes_as_its_driver_can_attach() -> None:
    volumes = [volume(f"v{i}", handle=f"h{i}") for i in range(3)]
    core = core_of(node("a"), objects=(limit("a", 2), *volumes, *(claim(f"c{i}", f"v{i}") for i in range(3))))
    placed(core, pod("p0", "c0"), "a")
    assert tried(core, pod("p1", "c1")) == "a"
    placed(core, pod("p1", "c1"), "a")
    assert tried(core, pod("p2", "c2")) == "0/1 nodes are available: 1 node(s) exceed max volume count."
    assert tried(core, pod("p3", "c0", "c1")) == "a", "volumes that are there already count once"
    assert [r.lacks for r in rows(core, pod("p2", "c2"))] == [f"{DRIVER} has 2 of 2 volumes"]
    core.columns.remove_pod("p0")
    assert tried(core, pod("p2", "c2")) == "a"


def test_what_is_attached_counts_though_no_pod_uses_it() -> None:
    objects = (limit("a", 1), volume("v0", handle="h0"), volume("v1", handle="h1"), claim("c1", "v1"), attachment("x", "a", "v0"))
    core = core_of(node("a"), objects=objects)
    assert "exceed max volume count" in tried(core, pod("p", "c1"))
    core.columns.storage.remove_attachment("x")
    assert tried(core, pod("p", "c1")) == "a"


def test_an_attachment_of_a_volume_in_use_counts_once() -> None:
    objects = (limit("a", 2), *(volume(f"v{i}", handle=f"h{i}") for i in range(2)), claim("c0", "v0"), claim("c1", "v1"))
    core = core_of(node("a"), objects=(*objects, attachment("x", "a", "v0")))
    placed(core, pod("p0", "c0"), "a")
    assert tried(core, pod("p1", "c1")) == "a"


def test_a_claim_that_got_its_volume_counts_as_that_volume() -> None:
    """Before it is bound a claim counts as a volume of its own; two claims of one volume count once afterwards."""
    made = storage_class("made", DRIVER)
    core = core_of(node("a"), objects=(made, limit("a", 1), claim("c0", where="made"), volume("v0", handle="h0"), claim("c1", "v0")))
    placed(core, pod("p0", "c0"), "a")
    assert "exceed max volume count" in tried(core, pod("p1", "c1"))
    put(core, claim("c0", "v0", where="made"))
    assert tried(core, pod("p1", "c1")) == "a"


def test_one_that_is_there_and_one_that_is_new() -> None:
    objects = (limit("a", 2), *(volume(f"v{i}", handle=f"h{i}") for i in range(3)), *(claim(f"c{i}", f"v{i}") for i in range(3)))
    core = core_of(node("a"), objects=objects)
    placed(core, pod("p0", "c0"), "a")
    assert tried(core, pod("p1", "c0", "c1")) == "a"
    assert "exceed max volume count" in tried(core, pod("p1", "c0", "c1", "c2"))


def test_one_that_is_only_attached_counts_beside_the_pod_that_wants_it() -> None:
    """As upstream has it: until the attachment goes, the node may be full for the very volume it has."""
    core = core_of(node("a"), objects=(limit("a", 1), volume("v0", handle="h0"), claim("c0", "v0"), attachment("x", "a", "v0")))
    assert "exceed max volume count" in tried(core, pod("p", "c0"))


def test_a_volume_that_is_heard_of_later_counts_as_itself() -> None:
    made = storage_class("made", DRIVER)
    core = core_of(node("a"), objects=(made, limit("a", 1), claim("c0", "v0", where="made"), volume("v1", handle="h"), claim("c1", "v1")))
    placed(core, pod("p0", "c0"), "a")
    assert "exceed max volume count" in tried(core, pod("p1", "c1"))
    put(core, volume("v0", handle="h"))
    assert tried(core, pod("p1", "c1")) == "a"


def test_disks_of_former_in_tree_plugins_count_against_their_driver() -> None:
    driver = storage_v1.CSINodeDriver(name="ebs.csi.aws.com", allocatable=storage_v1.VolumeNodeResources(count=1))
    core = core_of(node("a"))
    core.columns.storage.put_node(storage_v1.CSINode(metadata=meta_v1.ObjectMeta(name="a"), spec=storage_v1.CSINodeSpec(drivers=[driver])))

    def disk(name: str, of: str) -> v1.Pod:
        found = pod(name)
        assert found.spec is not None
        found.spec.volumes = [v1.Volume(name="d", awsElasticBlockStore=v1.AWSElasticBlockStoreVolumeSource(volumeID=of))]
        return found

    placed(core, disk("p0", "aws://z1/vol-1"), "a")
    assert "exceed max volume count" in tried(core, disk("p1", "vol-2"))
    assert "had no available disk" in tried(core, disk("p1", "aws://z1/vol-1"))


# ---- zones --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        (ZONE, "z1", {"a", "bare"}),
        (ZONE, "z1__z2", {"a", "b", "bare"}),
        (ZONE, "z1__", {"a", "b", "old", "bare"}),
        ("failure-domain.beta.kubernetes.io/zone", "z1", {"a", "old", "bare"}),
        ("topology.kubernetes.io/region", "r1", {"bare"}),
    ],
)
def test_a_volume_of_a_zone(label: str, value: str, expected: set[str]) -> None:
    old = node("old")
    assert old.metadata is not None and old.metadata.labels is not None
    old.metadata.labels["failure-domain.beta.kubernetes.io/zone"] = "z1"
    core = core_of(node("a", zone="z1"), node("b", zone="z2"), old, node("bare"), objects=(volume("v", labels={label: value}), claim("c", "v")))
    info = Reader().read(pod("p", "c"))
    said = filters.zone(View(core.columns, info.terms, DEFAULT.arguments), core.columns.alive)
    away = {n for n, slot in core.columns.slots.items() if any(r.nodes[slot] for r in said)}
    assert set(core.columns.slots) - away == expected


# ---- binding ------------------------------------------------------------------------------------------------------


def test_reasons_that_concern_the_pod_are_told_once() -> None:
    core = core_of(node("a"), node("b"))
    assert tried(core, pod("p", "c")) == '0/2 nodes are available: persistentvolumeclaim "c" not found.'
    put(core, claim("c", where="now"))
    put(core, storage_class("now", DRIVER, "Immediate"))
    assert tried(core, pod("p", "c")) == "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    refused = core.schedule(Reader().read(pod("p", "c")), 0)
    assert isinstance(refused, Unschedulable) and refused.plugins == {"VolumeBinding"}
    off = Profile(disabled_filters=frozenset(name for name, _ in table.filters(Scope.VOLUMES)))
    assert tried(core, pod("p", "c"), off) in ("a", "b")


def test_two_pods_do_not_get_one_volume() -> None:
    core = core_of(node("a"), objects=(volume("v", on="a"), claim("c0"), claim("c1")))
    first = Reader().read(pod("p0", "c0"))
    assert tried(core, pod("p0", "c0")) == "a"
    assert reserving.reserve(View(core.columns, first.terms, DEFAULT.arguments), "a") == Reservation("a", (("d/c0", "v"),))
    assert "didn't find available persistent volumes to bind" in tried(core, pod("p1", "c1"))
    assert [r.lacks for r in rows(core, pod("p1", "c1"))] == ["no volume reaches it for claim c1 (1Gi, class wait)"]
    reserving.release(core.columns.storage, Reservation("a", (("d/c0", "v"),)))
    assert tried(core, pod("p1", "c1")) == "a"


def test_the_smallest_that_fits_and_one_for_each_claim() -> None:
    sizes = (("big", "5Gi"), ("small", "1Gi"), ("middle", "2Gi"))
    core = core_of(node("a"), objects=(*(volume(n, s, on="a") for n, s in sizes), claim("c0", storage="2Gi"), claim("c1", storage="1Gi")))
    info = Reader().read(pod("p", "c0", "c1"))
    found = reserving.reserve(View(core.columns, info.terms, DEFAULT.arguments), "a")
    assert found is not None and set(found.bindings) == {("d/c0", "middle"), ("d/c1", "small")}


def test_what_the_api_server_says_ends_an_assumption() -> None:
    core = core_of(node("a"), objects=(volume("v", on="a"), claim("c0"), claim("c1")))
    reserving.reserve(View(core.columns, Reader().read(pod("p0", "c0")).terms, DEFAULT.arguments), "a")
    put(core, volume("v", on="a"))
    assert "didn't find" in tried(core, pod("p1", "c1")), "an echo of what was there before changes nothing"
    seen = volume("v", on="a")
    assert seen.metadata is not None
    seen.metadata.resourceVersion = "2"
    put(core, seen)
    assert tried(core, pod("p1", "c1")) == "a"


def bound(found: v1.PersistentVolumeClaim, to: str, version: str) -> v1.PersistentVolumeClaim:
    done = claim(found.metadata.name or "", to)  # type: ignore[union-attr]
    assert done.metadata is not None
    return msgspec.structs.replace(done, metadata=msgspec.structs.replace(done.metadata, resourceVersion=version))


def test_how_far_a_static_binding_is() -> None:
    core = core_of(node("a"), objects=(volume("v", on="a"), claim("c")))
    columns, reservation = core.columns, Reservation("a", (("d/c", "v"),))
    assert reserving.progress(columns, reservation, {}).state is State.FAILED, "the volume is not kept for the claim"
    assert reserving.progress(columns, reservation, {"v": 7}).state is State.WAITING, "what we wrote is not seen yet"
    kept = claims.bound_to(volume("v", on="a"), claim("c"))
    assert kept is not None and claims.notes(kept) == {claims.BOUND_BY_CONTROLLER: "yes"}
    put(core, kept)
    assert reserving.progress(columns, reservation, {}).state is State.WAITING
    put(core, bound(claim("c"), "v", "3"))
    assert reserving.progress(columns, reservation, {}).state is State.DONE
    columns.remove_node("a")
    assert reserving.progress(columns, reservation, {}).why == 'failed to get node "a": node "a" not found'


def test_how_far_provisioning_is() -> None:
    core = core_of(node("a"), node("b"), objects=(storage_class("made", DRIVER), claim("c", where="made")))
    columns, reservation = core.columns, Reservation("a", (), ("d/c",))
    assert reserving.progress(columns, reservation, {}).why == 'provisioning failed for PVC "c"'
    put(core, claims.annotated(claim("c", where="made"), {claims.SELECTED_NODE: "a"}))
    assert reserving.progress(columns, reservation, {}).state is State.WAITING
    put(core, volume("v", on="b"))
    put(core, claims.annotated(claim("c", "v", where="made"), {claims.SELECTED_NODE: "a"}))
    assert reserving.progress(columns, reservation, {}).why.startswith('pv "v" node affinity doesn\'t match node "a"')
    put(core, volume("v", on="a"))
    assert reserving.progress(columns, reservation, {}).state is State.DONE


def test_a_trial_gives_each_pod_a_volume_of_its_own() -> None:
    storage: list[StorageObject] = [storage_class(), volume("v0", on="a"), volume("v1", on="b"), *(claim(f"c{i}") for i in range(3))]
    simulation = Simulation(Snapshot([node("a"), node("b")], storage=storage))
    found = simulation.place([pod(f"p{i}", f"c{i}") for i in range(3)])
    assert {p.node for p in found} == {"a", "b", ""}
    assert "didn't find available persistent volumes to bind" in found[2].why
