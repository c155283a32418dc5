"""The binder's decisions: what a claim and a volume need next."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1
from navarch.controllers.core import binding, volumes
from navarch.machinery import claims


def claim(
    name: str = "c", volume: str | None = None, storage: str = "1Gi", where: str | None = "", done: bool = False, **more: Any
) -> v1.PersistentVolumeClaim:
    notes = {**more.pop("notes", {}), **({claims.BIND_COMPLETED: "yes"} if done else {})}
    modes = more.pop("modes", ["ReadWriteOnce"])
    spec = v1.PersistentVolumeClaimSpec(
        accessModes=modes,
        volumeName=volume,
        storageClassName=where,
        resources=v1.VolumeResourceRequirements(requests={"storage": storage}),
        **more,
    )
    metadata = meta_v1.ObjectMeta(name=name, namespace="d", uid=f"uid-{name}", annotations=notes or None)
    return v1.PersistentVolumeClaim(metadata=metadata, spec=spec, status=v1.PersistentVolumeClaimStatus(phase="Pending"))


def volume(name: str = "v", storage: str = "1Gi", kept: str = "", uid: str = "", phase: str = "Available", **more: Any) -> v1.PersistentVolume:
    held = v1.ObjectReference(name=kept, namespace="d", uid=uid or None) if kept else None
    metadata = meta_v1.ObjectMeta(name=name, annotations=more.pop("notes", None), labels=more.pop("labels", None))
    modes = more.pop("modes", ["ReadWriteOnce"])
    spec = v1.PersistentVolumeSpec(capacity={"storage": storage}, accessModes=modes, claimRef=held, **more)
    return v1.PersistentVolume(metadata=metadata, spec=spec, status=v1.PersistentVolumeStatus(phase=phase))


def classes(*found: storage_v1.StorageClass) -> dict[str, storage_v1.StorageClass]:
    return {(c.metadata.name if c.metadata else None) or "": c for c in found}


def storage_class(name: str, provisioner: str = "csi.example.com", mode: str = "Immediate", default: bool = False) -> storage_v1.StorageClass:
    notes = {"storageclass.kubernetes.io/is-default-class": "true"} if default else None
    return storage_v1.StorageClass(metadata=meta_v1.ObjectMeta(name=name, annotations=notes), provisioner=provisioner, volumeBindingMode=mode)


def chosen(of: v1.PersistentVolumeClaim, *among: v1.PersistentVolume, known: Any = None) -> str:
    step = binding.claim_step(of, among, known or {}, ())
    return (step.volume.metadata.name or "") if isinstance(step, binding.Bind) and step.volume.metadata is not None else type(step).__name__


def said(of: v1.PersistentVolumeClaim, *among: v1.PersistentVolume, known: Any = None, pods: tuple[str, ...] = ()) -> tuple[str, str]:
    step = binding.claim_step(of, among, known or {}, pods)
    told = step.said if isinstance(step, binding.StayPending | binding.Provision | binding.Lose) else None
    return (told.reason, told.message) if told is not None else ("", "")


def test_the_smallest_that_fits() -> None:
    sizes = [volume("big", "10Gi"), volume("small", "1Gi"), volume("fits", "2Gi"), volume("kept", "2Gi", kept="other")]
    assert chosen(claim(storage="1500Mi"), *sizes) == "fits"
    assert chosen(claim(storage="20Gi"), *sizes) == "StayPending"


def test_fewer_access_modes_before_less_space() -> None:
    found = [volume("many", "1Gi", modes=["ReadWriteOnce", "ReadOnlyMany"]), volume("once", "5Gi")]
    assert chosen(claim(), *found) == "once"
    assert chosen(claim(modes=["ReadOnlyMany"]), *found) == "many"


def test_one_kept_for_the_claim_comes_first() -> None:
    assert chosen(claim(), volume("a"), volume("mine", "5Gi", kept="c")) == "mine"
    assert chosen(claim(), volume("a"), volume("once-of-another-c", "5Gi", kept="c", uid="older")) == "a"


@pytest.mark.parametrize(
    "other",
    [
        volume(volumeMode="Block"),
        volume(storageClassName="x"),
        volume(phase="Released"),
        volume(phase="Pending"),
        volume(volumeAttributesClassName="gold"),
        volume(modes=["ReadWriteMany"]),
    ],
)
def test_what_does_not_fit(other: v1.PersistentVolume) -> None:
    assert chosen(claim(), other) == "StayPending"


def test_a_selector_chooses() -> None:
    wanted = claim(selector=meta_v1.LabelSelector(matchLabels={"disk": "fast"}))
    assert chosen(wanted, volume("slow"), volume("fast", "9Gi", labels={"disk": "fast"})) == "fast"


def test_a_claim_that_waits_for_its_consumer() -> None:
    known = classes(storage_class("wait", mode="WaitForFirstConsumer"))
    mine, free = claim(where="wait"), volume(storageClassName="wait")
    assert said(mine, free, known=known) == ("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    assert said(mine, free, known=known, pods=("p",)) == ("WaitForPodScheduled", "waiting for pod p to be scheduled")
    assert said(mine, free, known=known, pods=("p", "q")) == ("WaitForPodScheduled", "waiting for pods p,q to be scheduled")
    assert chosen(mine, volume("given", kept="c", uid="uid-c", storageClassName="wait"), known=known) == "given"
    selected = claim(where="wait", notes={claims.SELECTED_NODE: "n"})
    assert said(selected, free, known=known)[0] == "ExternalProvisioning"


def test_provisioning() -> None:
    known = classes(storage_class("csi"), storage_class("none", claims.NO_PROVISIONER), storage_class("old", "kubernetes.io/aws-ebs"))
    reason, text = said(claim(where="csi"), known=known)
    assert reason == "ExternalProvisioning" and text.startswith(
        "Waiting for a volume to be created either by the external provisioner 'csi.example.com' or"
    )
    assert said(claim(where="none"), known=known) == ("ProvisioningFailed", "no volume plugin matched name: kubernetes.io/no-provisioner")
    assert said(claim(where="gone"), known=known) == ("ProvisioningFailed", 'storageclass.storage.k8s.io "gone" not found')
    step = binding.claim_step(claim(where="old"), (), known, ())
    assert isinstance(step, binding.Provision) and (step.provisioner, step.migrated) == ("ebs.csi.aws.com", True)


def test_no_class_gets_the_default_but_the_empty_class_does_not() -> None:
    known = classes(storage_class("standard", default=True))
    assert binding.claim_step(claim(where=None), (), known, ()) == binding.AssignClass("standard")
    assert said(claim(where=""), known=known) == ("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    assert chosen(claim(where=None), volume(), known=known) == "v", "a volume that fits is better than a class"


def test_a_claim_that_names_its_volume() -> None:
    assert chosen(claim(volume="v"), volume()) == "v"
    assert chosen(claim(volume="v")) == "StayPending"
    assert said(claim(volume="v", storage="5Gi"), volume()) == ("VolumeMismatch", 'Cannot bind to requested volume "v": requested PV is too small')
    assert said(claim(volume="v", where="x"), volume())[1].endswith("storageClassName does not match")
    assert said(claim(volume="v"), volume(kept="other")) == ("FailedBinding", 'volume "v" already bound to a different claim.')
    assert chosen(claim(volume="v"), volume(kept="c")) == "v"


def test_a_claim_that_was_bound() -> None:
    assert chosen(claim(volume="v", done=True), volume(kept="c", uid="uid-c")) == "v"
    assert said(claim(volume="v", done=True))[0] == "ClaimLost"
    assert said(claim(done=True))[0] == "ClaimLost"
    assert said(claim(volume="v", done=True), volume(kept="c", uid="other"))[0] == "ClaimMisbound"


@pytest.mark.parametrize(
    ("of", "holder", "step"),
    [
        (volume(), None, binding.SetPhase("Available")),
        (volume(kept="c"), claim(), binding.SetPhase("Available")),
        (volume(kept="c", uid="uid-c"), claim(), binding.LookAtClaim()),
        (volume(kept="c", uid="uid-c"), claim(volume="v"), binding.SetPhase("Bound")),
        (volume(kept="c", uid="uid-c"), claim(volume="other"), binding.Unbind()),
        (volume(kept="c", uid="uid-c"), None, binding.Release()),
        (volume(kept="c", uid="older"), claim(), binding.Release()),
        (
            volume(kept="c", uid="uid-c", notes={claims.PROVISIONED_BY: "x"}, persistentVolumeReclaimPolicy="Delete"),
            claim(volume="other"),
            binding.Release(),
        ),
    ],
)
def test_what_a_volume_needs(of: v1.PersistentVolume, holder: v1.PersistentVolumeClaim | None, step: binding.VolumeStep) -> None:
    assert binding.volume_step(of, holder) == step


def test_reclaiming() -> None:
    def policy(name: str, **more: Any) -> binding.Reclaim:
        return binding.reclaim(volume(persistentVolumeReclaimPolicy=name, **more))

    assert policy("Retain") == binding.Keep()
    assert policy("Delete", csi=v1.CSIPersistentVolumeSource(driver="d")) == binding.Keep()
    assert policy("Delete", hostPath=v1.HostPathVolumeSource(path="/tmp/x/y")) == binding.DeleteFolder("/tmp/x/y")
    for path in ("/tmp/../etc", "/etc", "/tmp"):
        step = policy("Delete", hostPath=v1.HostPathVolumeSource(path=path))
        assert isinstance(step, binding.Fail) and step.said.message == f"host_path deleter only supports /tmp/.+ but received provided {path}"
    step = policy("Delete", local=v1.LocalVolumeSource(path="/x"))
    assert isinstance(step, binding.Fail) and "no deletable volume plugin matched" in step.said.message
    assert isinstance(policy("Recycle"), binding.Fail)


def test_the_size_is_told_in_becoming_bound_only() -> None:
    pending = v1.PersistentVolumeClaimStatus(phase="Pending")
    bound = volumes.claim_status(pending, "Bound", volume(storage="2Gi"))
    assert (bound.phase, bound.capacity, bound.accessModes) == ("Bound", {"storage": "2Gi"}, ["ReadWriteOnce"])
    assert volumes.claim_status(bound, "Bound", volume(storage="9Gi")) == bound
    assert volumes.claim_status(bound, "Lost", None) == v1.PersistentVolumeClaimStatus(phase="Lost")


def test_finalizers_come_and_go() -> None:
    bare = claim()
    with_it = volumes.guarded(bare, volumes.CLAIM, used=False)
    assert with_it is not None and with_it.metadata is not None and with_it.metadata.finalizers == [volumes.CLAIM]
    assert volumes.guarded(with_it, volumes.CLAIM, used=False) is None
    with_it.metadata.deletionTimestamp = "2026-01-01T00:00:00Z"
    assert volumes.guarded(with_it, volumes.CLAIM, used=True) is None
    without = volumes.guarded(with_it, volumes.CLAIM, used=False)
    assert without is not None and without.metadata is not None and without.metadata.finalizers is None


def pod(node: str | None = "n", **more: Any) -> v1.Pod:
    found = [
        v1.Volume(name="a", persistentVolumeClaim=v1.PersistentVolumeClaimVolumeSource(claimName="c")),
        v1.Volume(name="own", ephemeral=v1.EphemeralVolumeSource(volumeClaimTemplate=v1.PersistentVolumeClaimTemplate())),
    ]
    metadata = meta_v1.ObjectMeta(name="p", namespace="d", uid="uid-p", **more)
    return v1.Pod(metadata=metadata, spec=v1.PodSpec(volumes=found, nodeName=node))


def test_who_uses_a_claim() -> None:
    assert volumes.uses(pod(), claim("c"))
    assert not volumes.uses(pod(None), claim("c")), "a pod without a node will not start with a claim that is going"
    assert not volumes.uses(pod(), claim("d"))
    ((name, made),) = volumes.ephemeral(pod())
    assert name == "own" and made.metadata is not None and made.metadata.name == "p-own"
    assert volumes.uses(pod(), made)
    assert not volumes.uses(pod(), claim("p-own")), "a claim of that name that was not made for the pod"
    assert volumes.ephemeral(pod(deletionTimestamp="2026-01-01T00:00:00Z")) == []
