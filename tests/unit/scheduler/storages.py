"""Random storage and pods that use it, for the differential tests: few classes, sizes and places, so that things meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1

ZONE, OLD_ZONE = "topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"
CLAIMS, VOLUMES = tuple(f"c{i}" for i in range(6)), tuple(f"v{i}" for i in range(6))
DRIVER = "csi.example.com"
SIZES = ("1Gi", "2Gi", "3Gi")
_ONCE, _MANY, _ALONE = "ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"


def rarely(times: int = 20) -> st.SearchStrategy[bool]:
    return st.sampled_from((*[False] * (times - 1), True))


def named(name: str, **more: Any) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, **more)


def _in(key: str, values: list[str]) -> v1.NodeSelector:
    requirement = v1.NodeSelectorRequirement(key=key, operator="In", values=values)
    return v1.NodeSelector(nodeSelectorTerms=[v1.NodeSelectorTerm(matchExpressions=[requirement])])


affinities = st.none() | st.builds(
    v1.VolumeNodeAffinity,
    required=st.sampled_from(
        (_in("kubernetes.io/hostname", ["n0"]), _in("kubernetes.io/hostname", ["n1", "n2"]), _in(ZONE, ["z1"]), _in("rack", ["r1"]))
    ),
)
references = (
    st.none()
    | st.none()
    | st.builds(
        v1.ObjectReference,
        name=st.sampled_from(CLAIMS),
        namespace=st.sampled_from(("a", "a", "b")),
        uid=st.sampled_from(("", "uid-c0", "uid-c1", "other")),
    )
)
volume_labels = st.fixed_dictionaries(
    {}, optional={ZONE: st.sampled_from(("z1", "z1__z2", "z3", "z1__")), OLD_ZONE: st.sampled_from(("z1", "z2 __ z3")), "disk": st.just("fast")}
)


@st.composite
def volume(draw: st.DrawFn, name: str) -> v1.PersistentVolume:
    csi = v1.CSIPersistentVolumeSource(driver=DRIVER, volumeHandle=draw(st.sampled_from(("h1", "h2", "h3"))))
    spec = v1.PersistentVolumeSpec(
        capacity={"storage": draw(st.sampled_from(SIZES))},
        storageClassName=draw(st.sampled_from(("wait", "wait", "wait", "made", ""))),
        accessModes=draw(st.sampled_from(([_ONCE], [_ONCE, _MANY], [_ONCE, _ALONE]))),
        volumeMode=draw(st.sampled_from((None, None, None, "Filesystem", "Block"))),
        nodeAffinity=draw(affinities),
        claimRef=draw(references),
        csi=draw(st.sampled_from((csi, None))),
    )
    gone = "2026-01-01T00:00:00Z" if draw(rarely()) else None
    phase = draw(st.sampled_from(("Available", "Available", "Available", "Released")))
    labels = draw(volume_labels)
    return v1.PersistentVolume(metadata=named(name, labels=labels, deletionTimestamp=gone), spec=spec, status=v1.PersistentVolumeStatus(phase=phase))


selectors = st.none() | st.none() | st.just(meta_v1.LabelSelector(matchLabels={"disk": "fast"}))


@st.composite
def claim(draw: st.DrawFn, name: str, namespace: str = "a", owner: str = "") -> v1.PersistentVolumeClaim:
    bound = draw(rarely(2))
    notes = {"pv.kubernetes.io/bind-completed": "yes"} if bound and not draw(rarely(10)) else {}
    if not bound and draw(rarely(8)):
        notes["volume.kubernetes.io/selected-node"] = draw(st.sampled_from(("n0", "n1")))
    spec = v1.PersistentVolumeClaimSpec(
        accessModes=draw(st.sampled_from(([_ONCE], [_ONCE], [_MANY], [_ALONE]))),
        resources=v1.VolumeResourceRequirements(requests={"storage": draw(st.sampled_from(SIZES))}),
        storageClassName=draw(st.sampled_from((*["wait"] * 10, *["made"] * 10, None, "unknown", "now"))),
        volumeName=draw(st.sampled_from((*VOLUMES, *VOLUMES, "v99"))) if bound else None,
        volumeMode="Block" if draw(rarely(12)) else None,
        selector=draw(selectors),
    )
    gone = "2026-01-01T00:00:00Z" if draw(rarely(40)) else None
    owners = [meta_v1.OwnerReference(uid=owner, name="x", controller=True)] if owner else None
    phase = "Lost" if draw(rarely(40)) else "Bound" if notes else "Pending"
    metadata = named(name, namespace=namespace, uid=f"uid-{name}", annotations=notes or None, deletionTimestamp=gone, ownerReferences=owners)
    return v1.PersistentVolumeClaim(metadata=metadata, spec=spec, status=v1.PersistentVolumeClaimStatus(phase=phase))


def _topology(values: list[str]) -> list[v1.TopologySelectorTerm]:
    return [v1.TopologySelectorTerm(matchLabelExpressions=[v1.TopologySelectorLabelRequirement(key=ZONE, values=values)])]


@st.composite
def classes(draw: st.DrawFn) -> list[storage_v1.StorageClass]:
    made = storage_v1.StorageClass(
        metadata=named("made"),
        provisioner=draw(st.sampled_from((DRIVER, "kubernetes.io/aws-ebs"))),
        volumeBindingMode="WaitForFirstConsumer",
        allowedTopologies=draw(st.sampled_from((None, _topology(["z1", "z2"])))),
    )
    wait = storage_v1.StorageClass(metadata=named("wait"), provisioner="kubernetes.io/no-provisioner", volumeBindingMode="WaitForFirstConsumer")
    return [made, wait, storage_v1.StorageClass(metadata=named("now"), provisioner=DRIVER, volumeBindingMode="Immediate")]


capacities = st.builds(
    storage_v1.CSIStorageCapacity,
    storageClassName=st.sampled_from(("made", "made", "now")),
    capacity=st.sampled_from((None, "2Gi", "10Gi")),
    maximumVolumeSize=st.sampled_from((None, None, "1Gi")),
    nodeTopology=st.sampled_from((None, meta_v1.LabelSelector(), meta_v1.LabelSelector(matchLabels={ZONE: "z1"}))),
)


@st.composite
def limits(draw: st.DrawFn, node: str) -> storage_v1.CSINode:
    drivers = [
        storage_v1.CSINodeDriver(name=name, allocatable=draw(st.none() | st.builds(storage_v1.VolumeNodeResources, count=st.integers(0, 2))))
        for name in (DRIVER, "ebs.csi.aws.com", "pd.csi.storage.gke.io")
    ]
    return storage_v1.CSINode(metadata=named(node), spec=storage_v1.CSINodeSpec(drivers=drivers))


attachments = st.builds(
    storage_v1.VolumeAttachmentSpec,
    attacher=st.just(DRIVER),
    nodeName=st.sampled_from(("n0", "n1")),
    source=st.builds(storage_v1.VolumeAttachmentSource, persistentVolumeName=st.sampled_from((*VOLUMES, "v99"))),
)


@st.composite
def storage(draw: st.DrawFn, nodes: list[str], pods: list[str]) -> dict[str, list[Any]]:
    """Keyword arguments of `reference.Storage`. Ephemeral volumes of some pods have their claims."""
    made = [draw(claim(f"{pod}-own", owner="other" if draw(rarely(8)) else f"uid-{pod}")) for pod in pods if not draw(rarely(8))]
    found = [draw(capacities) for _ in range(draw(st.integers(0, 3)))]
    for i, capacity in enumerate(found):
        capacity.metadata = named(f"capacity{i}", namespace="kube-system")
    tells = storage_v1.CSIDriverSpec(storageCapacity=draw(st.sampled_from((None, False, True, True))))
    return {
        "claims": [*(draw(claim(name)) for name in CLAIMS if not draw(rarely(25))), *made],
        "volumes": [draw(volume(name)) for name in VOLUMES if not draw(rarely(12))],
        "classes": draw(classes()),
        "drivers": [storage_v1.CSIDriver(metadata=named(DRIVER), spec=tells)] if draw(st.booleans()) else [],
        "capacities": found,
        "limits": [draw(limits(name)) for name in nodes if not draw(rarely(4))],
        "attachments": [
            storage_v1.VolumeAttachment(metadata=named(f"a{i}"), spec=spec) for i, spec in enumerate(draw(st.lists(attachments, max_size=2)))
        ],
    }


sources = st.one_of(
    st.builds(v1.Volume, persistentVolumeClaim=st.builds(v1.PersistentVolumeClaimVolumeSource, claimName=st.sampled_from(CLAIMS))),
    st.builds(v1.Volume, persistentVolumeClaim=st.builds(v1.PersistentVolumeClaimVolumeSource, claimName=st.sampled_from(CLAIMS))),
    st.builds(v1.Volume, persistentVolumeClaim=st.builds(v1.PersistentVolumeClaimVolumeSource, claimName=st.sampled_from(CLAIMS))),
    st.just(v1.Volume(name="own", ephemeral=v1.EphemeralVolumeSource())),
    st.builds(v1.Volume, persistentVolumeClaim=st.builds(v1.PersistentVolumeClaimVolumeSource, claimName=st.sampled_from(CLAIMS))),
    st.builds(v1.Volume, persistentVolumeClaim=st.builds(v1.PersistentVolumeClaimVolumeSource, claimName=st.sampled_from(CLAIMS))),
    st.just(v1.Volume(emptyDir=v1.EmptyDirVolumeSource())),
    st.builds(
        v1.Volume,
        gcePersistentDisk=st.builds(v1.GCEPersistentDiskVolumeSource, pdName=st.sampled_from(("d1", "d2")), readOnly=st.sampled_from((None, True))),
    ),
    st.builds(v1.Volume, awsElasticBlockStore=st.builds(v1.AWSElasticBlockStoreVolumeSource, volumeID=st.sampled_from(("aws://z/vol-1", "vol-2")))),
    st.builds(v1.Volume, iscsi=st.builds(v1.ISCSIVolumeSource, iqn=st.sampled_from(("q1", "q2")), readOnly=st.sampled_from((None, True)))),
    st.builds(
        v1.Volume,
        rbd=st.builds(
            v1.RBDVolumeSource,
            monitors=st.lists(st.sampled_from(("m1", "m2")), min_size=1, max_size=2, unique=True),
            pool=st.just("p"),
            image=st.just("i"),
            readOnly=st.sampled_from((None, True)),
        ),
    ),
)
volumes = st.lists(sources, min_size=1, max_size=3)
