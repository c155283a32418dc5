"""The scheduler, slow and obvious: one pod, one node, one plugin at a time, over API objects, as upstream's documentation says.

It shares no code with `navarch.scheduler`. The differential tests compare its feasible nodes, reasons and scores with the
columnar core's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.storage import v1 as storage_v1

Labels = dict[str, str]
HOSTNAME = "kubernetes.io/hostname"
_SUFFIX = {"m": Fraction(1, 1000), "": Fraction(1), "k": Fraction(1000), "M": Fraction(10**6), "G": Fraction(10**9)}
_SUFFIX |= {"Ki": Fraction(2**10), "Mi": Fraction(2**20), "Gi": Fraction(2**30)}


@dataclass
class Storage:
    """All objects that have to do with storage."""

    claims: list[v1.PersistentVolumeClaim] = field(default_factory=list)
    volumes: list[v1.PersistentVolume] = field(default_factory=list)
    classes: list[storage_v1.StorageClass] = field(default_factory=list)
    drivers: list[storage_v1.CSIDriver] = field(default_factory=list)
    capacities: list[storage_v1.CSIStorageCapacity] = field(default_factory=list)
    limits: list[storage_v1.CSINode] = field(default_factory=list)
    attachments: list[storage_v1.VolumeAttachment] = field(default_factory=list)


@dataclass
class Cluster:
    """Nodes, the pods on them, the labels of namespaces, and storage."""

    nodes: list[v1.Node]
    pods: list[v1.Pod] = field(default_factory=list)
    namespaces: dict[str, Labels] = field(default_factory=dict)
    storage: Storage = field(default_factory=Storage)

    def on(self, node: v1.Node) -> list[v1.Pod]:
        return [p for p in self.pods if p.spec is not None and p.spec.nodeName == name_of(node)]


Named = v1.Node | v1.Pod | v1.PersistentVolume | v1.PersistentVolumeClaim


def name_of(obj: Named) -> str:
    assert obj.metadata is not None
    return obj.metadata.name or ""


def labels_of(obj: Named) -> Labels:
    assert obj.metadata is not None
    return obj.metadata.labels or {}


def namespace_of(obj: v1.Pod | v1.PersistentVolumeClaim) -> str:
    assert obj.metadata is not None
    return obj.metadata.namespace or ""


def spec_of(pod: v1.Pod) -> v1.PodSpec:
    assert pod.spec is not None
    return pod.spec


def taints_of(node: v1.Node) -> list[v1.Taint]:
    return (node.spec.taints if node.spec else None) or []


# ---- label selectors ----------------------------------------------------------------------------------------------


def is_empty(selector: meta_v1.LabelSelector | None) -> bool:
    return selector is not None and not selector.matchLabels and not selector.matchExpressions


def selects(selector: meta_v1.LabelSelector | None, labels: Labels) -> bool:
    if selector is None:
        return False
    for key, value in (selector.matchLabels or {}).items():
        if labels.get(key) != value:
            return False
    return all(_expression(e.key or "", e.operator or "", e.values or [], labels) for e in selector.matchExpressions or ())


def _expression(key: str, operator: str, values: list[str], labels: Labels) -> bool:
    if operator == "In":
        return key in labels and labels[key] in values
    if operator == "NotIn":
        return key not in labels or labels[key] not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if key not in labels or operator not in ("Gt", "Lt"):
        return False
    try:
        held, bound = int(labels[key]), int(values[0])
    except ValueError:
        return False
    return held > bound if operator == "Gt" else held < bound


def completed(selector: meta_v1.LabelSelector | None, labels: Labels, match: list[str] | None) -> meta_v1.LabelSelector | None:
    """The selector with matchLabelKeys filled in."""
    own = {k: labels[k] for k in match or () if k in labels}
    if selector is None or not own:
        return selector
    more = [meta_v1.LabelSelectorRequirement(key=k, operator="In", values=[v]) for k, v in own.items()]
    return meta_v1.LabelSelector(matchLabels=selector.matchLabels, matchExpressions=[*(selector.matchExpressions or []), *more])


# ---- node alone: filters ------------------------------------------------------------------------------------------


def tolerates(t: v1.Toleration, taint: v1.Taint) -> bool:
    if t.effect and t.effect != taint.effect:
        return False
    if t.key and t.key != taint.key:
        return False
    if t.operator == "Exists":
        return True
    return t.operator in (None, "", "Equal") and (t.value or "") == (taint.value or "")


def tolerated(pod: v1.Pod, taint: v1.Taint) -> bool:
    return any(tolerates(t, taint) for t in spec_of(pod).tolerations or ())


def untolerated(pod: v1.Pod, node: v1.Node) -> bool:
    return any(t.effect in ("NoSchedule", "NoExecute") and not tolerated(pod, t) for t in taints_of(node))


def matches_node_term(term: v1.NodeSelectorTerm, node: v1.Node) -> bool:
    if not term.matchExpressions and not term.matchFields:
        return False
    fields = {"metadata.name": name_of(node)}
    if not all(_expression(e.key or "", e.operator or "", e.values or [], labels_of(node)) for e in term.matchExpressions or ()):
        return False
    return all(_expression(e.key or "", e.operator or "", e.values or [], fields) for e in term.matchFields or ())


def affinity_of(pod: v1.Pod) -> v1.Affinity:
    return spec_of(pod).affinity or v1.Affinity()


def matches_node_affinity(pod: v1.Pod, node: v1.Node) -> bool:
    for key, value in (spec_of(pod).nodeSelector or {}).items():
        if labels_of(node).get(key) != value:
            return False
    affinity = affinity_of(pod).nodeAffinity
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    if required is None:
        return True
    return any(matches_node_term(t, node) for t in required.nodeSelectorTerms or ())


def host_ports(pod: v1.Pod) -> list[tuple[str, str, int]]:
    spec = spec_of(pod)
    containers = [*(spec.containers or ()), *(c for c in spec.initContainers or () if c.restartPolicy == "Always")]
    return [(p.hostIP or "0.0.0.0", p.protocol or "TCP", p.hostPort) for c in containers for p in c.ports or () if p.hostPort]


def ports_free(pod: v1.Pod, others: list[v1.Pod]) -> bool:
    for address, protocol, port in host_ports(pod):
        for other in others:
            for held_address, held_protocol, held_port in host_ports(other):
                same_address = address == held_address or "0.0.0.0" in (address, held_address)
                if same_address and (protocol, port) == (held_protocol, held_port):
                    return False
    return True


# ---- resources ----------------------------------------------------------------------------------------------------


def number(resource: str, quantity: str | int | float) -> int:
    text = str(quantity)
    suffix = text.lstrip("0123456789.")
    amount = Fraction(text[: len(text) - len(suffix)]) * _SUFFIX[suffix]
    return math.ceil(amount * 1000) if resource == "cpu" else math.ceil(amount)


def container_requests(c: v1.Container, defaults: dict[str, int]) -> dict[str, int]:
    found = dict(defaults)
    for name, quantity in ((c.resources.requests if c.resources else None) or {}).items():
        found[name] = number(name, quantity)
    return found


def plus(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {k: a.get(k, 0) + b.get(k, 0) for k in {*a, *b}}


def larger(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {k: max(a.get(k, 0), b.get(k, 0)) for k in {*a, *b}}


def pod_requests(pod: v1.Pod, defaults: dict[str, int] | None = None) -> dict[str, int]:
    """Containers run together with sidecars; init containers one after the other, beside the sidecars started before them."""
    spec, defaults = spec_of(pod), defaults or {}
    total: dict[str, int] = {}
    for c in spec.containers or ():
        total = plus(total, container_requests(c, defaults))
    sidecars: dict[str, int] = {}
    largest: dict[str, int] = {}
    for c in spec.initContainers or ():
        if c.restartPolicy == "Always":
            sidecars = plus(sidecars, container_requests(c, defaults))
            largest = larger(largest, sidecars)
        else:
            largest = larger(largest, plus(container_requests(c, defaults), sidecars))
    total = larger(plus(total, sidecars), largest)
    for name, quantity in ((spec.resources.requests if spec.resources else None) or {}).items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            total[name] = number(name, quantity)
    for name, quantity in (spec.overhead or {}).items():
        total[name] = total.get(name, 0) + number(name, quantity)
    return total


DEFAULTS = {"cpu": 100, "memory": 200 * 2**20}


def counted_requests(pod: v1.Pod) -> dict[str, int]:
    """What a placed pod counts for in scores: with pod-level requests, defaults only for what is wholly absent."""
    own = (spec_of(pod).resources.requests if spec_of(pod).resources else None) or {}  # type: ignore[union-attr]
    bare = pod_requests(pod)
    if any(name in ("cpu", "memory") or name.startswith("hugepages-") for name in own):
        return pod_requests(pod, {k: v for k, v in DEFAULTS.items() if k not in bare})
    return pod_requests(pod, DEFAULTS)


def allocatable(node: v1.Node) -> dict[str, int]:
    return {k: number(k, v) for k, v in ((node.status.allocatable if node.status else None) or {}).items()}


def used(pods: list[v1.Pod]) -> dict[str, int]:
    total: dict[str, int] = {}
    for pod in pods:
        total = plus(total, pod_requests(pod))
    return total


def lacking(pod: v1.Pod, node: v1.Node, others: list[v1.Pod]) -> list[tuple[str, bool]]:
    """(reason, whether even the empty node is too small)."""
    has, taken, found = allocatable(node), used(others), []
    if len(others) + 1 > has.get("pods", 0):
        found.append(("Too many pods", False))
    for name, wanted in pod_requests(pod).items():
        if wanted > 0 and wanted > has.get(name, 0) - taken.get(name, 0):
            found.append((f"Insufficient {name}", wanted > has.get(name, 0)))
    return found


# ---- domains: filters ---------------------------------------------------------------------------------------------


def spread_constraints(pod: v1.Pod, when: str) -> list[v1.TopologySpreadConstraint]:
    return [c for c in spec_of(pod).topologySpreadConstraints or () if (c.whenUnsatisfiable or "DoNotSchedule") == when]


def counted_for(cluster: Cluster, pod: v1.Pod, node: v1.Node, c: v1.TopologySpreadConstraint) -> int:
    selector = completed(c.labelSelector, labels_of(pod), c.matchLabelKeys)
    if is_empty(selector):
        return 0
    alive = [p for p in cluster.on(node) if p.metadata is not None and p.metadata.deletionTimestamp is None]
    return sum(namespace_of(p) == namespace_of(pod) and selects(selector, labels_of(p)) for p in alive)


def included(pod: v1.Pod, node: v1.Node, c: v1.TopologySpreadConstraint) -> bool:
    if c.nodeAffinityPolicy != "Ignore" and not matches_node_affinity(pod, node):
        return False
    return c.nodeTaintsPolicy != "Honor" or not untolerated(pod, node)


def spread_reason(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> str:
    constraints = spread_constraints(pod, "DoNotSchedule")
    for c in constraints:
        key = c.topologyKey or ""
        if key not in labels_of(node):
            return "node(s) didn't match pod topology spread constraints (missing required label)"
        counts: dict[str, int] = {}
        for other in cluster.nodes:
            if all((d.topologyKey or "") in labels_of(other) for d in constraints) and included(pod, other, c):
                domain = labels_of(other)[key]
                counts[domain] = counts.get(domain, 0) + counted_for(cluster, pod, other, c)
        least = min(counts.values(), default=2**31 - 1)
        if len(counts) < (c.minDomains or 1):
            least = 0
        selector = completed(c.labelSelector, labels_of(pod), c.matchLabelKeys)
        own = 1 if selects(selector, labels_of(pod)) else 0
        if counts.get(labels_of(node)[key], 0) + own - least > (c.maxSkew or 1):
            return "node(s) didn't match pod topology spread constraints"
    return ""


def required_terms(affinity: v1.PodAffinity | v1.PodAntiAffinity | None) -> list[v1.PodAffinityTerm]:
    return (affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None) or []


def preferred_terms(affinity: v1.PodAffinity | v1.PodAntiAffinity | None) -> list[v1.WeightedPodAffinityTerm]:
    return (affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None) or []


def speaks_of(cluster: Cluster, term: v1.PodAffinityTerm, owner: v1.Pod, other: v1.Pod) -> bool:
    """Whether a term of `owner` is about `other`."""
    named = term.namespaces or ([namespace_of(owner)] if term.namespaceSelector is None else [])
    if namespace_of(other) not in named and not (
        term.namespaceSelector is not None and selects(term.namespaceSelector, cluster.namespaces.get(namespace_of(other), {}))
    ):
        return False
    if not selects(completed(term.labelSelector, labels_of(owner), term.matchLabelKeys), labels_of(other)):
        return False
    mismatch = {k: labels_of(owner)[k] for k in term.mismatchLabelKeys or () if k in labels_of(owner)}
    return all(labels_of(other).get(k) != v for k, v in mismatch.items())


def same_domain(key: str, a: v1.Node, b: v1.Node) -> bool:
    return key in labels_of(a) and labels_of(a)[key] == labels_of(b).get(key)


def pod_affinity_reason(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> tuple[str, bool]:
    """(reason, whether eviction cannot help)."""
    wanted = required_terms(affinity_of(pod).podAffinity)
    if wanted and not _affine(cluster, pod, node, wanted):
        return "node(s) didn't match pod affinity rules", True
    for term in required_terms(affinity_of(pod).podAntiAffinity):
        for other in cluster.nodes:
            if same_domain(term.topologyKey or "", node, other) and any(speaks_of(cluster, term, pod, p) for p in cluster.on(other)):
                return "node(s) didn't match pod anti-affinity rules", False
    for other in cluster.nodes:
        for holder in cluster.on(other):
            for term in required_terms(affinity_of(holder).podAntiAffinity):
                if same_domain(term.topologyKey or "", node, other) and speaks_of(cluster, term, holder, pod):
                    return "node(s) didn't satisfy existing pods anti-affinity rules", False
    return "", False


def _affine(cluster: Cluster, pod: v1.Pod, node: v1.Node, wanted: list[v1.PodAffinityTerm]) -> bool:
    if not all((t.topologyKey or "") in labels_of(node) for t in wanted):
        return False
    companions = [(n, p) for n in cluster.nodes for p in cluster.on(n) if all(speaks_of(cluster, t, pod, p) for t in wanted)]
    if all(any(same_domain(t.topologyKey or "", node, n) for n, _ in companions) for t in wanted):
        return True
    none_anywhere = not any((t.topologyKey or "") in labels_of(n) for n, _ in companions for t in wanted)
    return none_anywhere and all(speaks_of(cluster, t, pod, pod) for t in wanted)


# ---- volumes: what a pod asks for ----------------------------------------------------------------------------------


def claims_of(pod: v1.Pod, *, made: bool) -> list[str]:
    """Claims a pod names; with `made`, also those made for its ephemeral volumes."""
    found = []
    for v in spec_of(pod).volumes or ():
        if v.persistentVolumeClaim is not None:
            found.append(v.persistentVolumeClaim.claimName or "")
        elif v.ephemeral is not None and made:
            found.append(f"{name_of(pod)}-{v.name}")
    return found


def find_claim(cluster: Cluster, pod: v1.Pod, name: str) -> v1.PersistentVolumeClaim | None:
    return next((c for c in cluster.storage.claims if (namespace_of(c), name_of(c)) == (namespace_of(pod), name)), None)


def find_volume(cluster: Cluster, claim: v1.PersistentVolumeClaim) -> v1.PersistentVolume | None:
    assert claim.spec is not None
    return next((v for v in cluster.storage.volumes if name_of(v) == claim.spec.volumeName), None)


def find_class(cluster: Cluster, name: str) -> storage_v1.StorageClass | None:
    return next((c for c in cluster.storage.classes if c.metadata is not None and c.metadata.name == name), None)


def class_of(claim: v1.PersistentVolumeClaim) -> str:
    assert claim.spec is not None
    return claim.spec.storageClassName or ""


def notes_of(claim: v1.PersistentVolumeClaim) -> Labels:
    assert claim.metadata is not None
    return claim.metadata.annotations or {}


def complete(claim: v1.PersistentVolumeClaim) -> bool:
    assert claim.spec is not None
    return bool(claim.spec.volumeName) and "pv.kubernetes.io/bind-completed" in notes_of(claim)


def delayed(cluster: Cluster, claim: v1.PersistentVolumeClaim) -> bool:
    found = find_class(cluster, class_of(claim))
    return found is not None and found.volumeBindingMode == "WaitForFirstConsumer"


def whole_refusal(cluster: Cluster, pod: v1.Pod) -> tuple[str, str]:
    """(plugin, reason) for which no node can have the pod."""
    for name in claims_of(pod, made=False):
        if find_claim(cluster, pod, name) is None:
            return "VolumeRestrictions", f'persistentvolumeclaim "{name}" not found'
    if reason := binding_whole(cluster, pod):
        return "VolumeBinding", reason
    for name in claims_of(pod, made=False):
        claim = find_claim(cluster, pod, name)
        assert claim is not None and claim.spec is not None
        if claim.spec.volumeName:
            if find_volume(cluster, claim) is None:
                return "VolumeZone", f'persistentvolume "{claim.spec.volumeName}" not found'
        elif not class_of(claim):
            return "VolumeZone", "PersistentVolumeClaim had no pv name and storageClass name"
        elif find_class(cluster, class_of(claim)) is None:
            return "VolumeZone", f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        elif not delayed(cluster, claim):
            return "VolumeZone", "PersistentVolume had no name"
    return "", ""


def binding_whole(cluster: Cluster, pod: v1.Pod) -> str:
    named = claims_of(pod, made=False)
    found = []
    for name in claims_of(pod, made=True):
        claim = find_claim(cluster, pod, name)
        if claim is None:
            return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{name}"'
        assert claim.spec is not None and claim.metadata is not None and pod.metadata is not None
        if claim.status is not None and claim.status.phase == "Lost":
            return f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim.spec.volumeName or ""}"'
        if claim.metadata.deletionTimestamp is not None:
            return f'persistentvolumeclaim "{name}" is being deleted'
        owners = [o.uid for o in claim.metadata.ownerReferences or () if o.controller]
        if name not in named and pod.metadata.uid not in owners:
            where = namespace_of(pod)
            return f"PVC {where}/{name} was not created for pod {where}/{name_of(pod)} (pod is not owner)"
        found.append(claim)
    for claim in found:
        assert claim.spec is not None
        if not complete(claim) and (claim.spec.volumeName or not delayed(cluster, claim)):
            return "pod has unbound immediate PersistentVolumeClaims"
    return ""


# ---- volumes: one node --------------------------------------------------------------------------------------------


def volume_refusal(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> Refused | None:
    plugin, reason = whole_refusal(cluster, pod)
    if reason:
        return Refused(plugin, (reason,), True)
    if any(disks_clash(a, b) for a in spec_of(pod).volumes or () for p in cluster.on(node) for b in spec_of(p).volumes or ()):
        return Refused("VolumeRestrictions", ("node(s) had no available disk",), False)
    if used_alone(cluster, pod):
        text = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
        return Refused("VolumeRestrictions", (text,), False)
    if over_limit(cluster, pod, node):
        return Refused("NodeVolumeLimits", ("node(s) exceed max volume count",), False)
    reasons, _, _ = node_volumes(cluster, pod, node)
    if reasons:
        return Refused("VolumeBinding", tuple(sorted(reasons)), True)
    if not zone_matches(cluster, pod, node):
        return Refused("VolumeZone", ("node(s) had no available volume zone",), True)
    return None


def disks_clash(a: v1.Volume, b: v1.Volume) -> bool:
    if a.gcePersistentDisk is not None and b.gcePersistentDisk is not None:
        both_read = a.gcePersistentDisk.readOnly and b.gcePersistentDisk.readOnly
        return a.gcePersistentDisk.pdName == b.gcePersistentDisk.pdName and not both_read
    if a.awsElasticBlockStore is not None and b.awsElasticBlockStore is not None:
        return a.awsElasticBlockStore.volumeID == b.awsElasticBlockStore.volumeID
    if a.iscsi is not None and b.iscsi is not None:
        return a.iscsi.iqn == b.iscsi.iqn and not (a.iscsi.readOnly and b.iscsi.readOnly)
    if a.rbd is not None and b.rbd is not None:
        monitor = set(a.rbd.monitors or ()) & set(b.rbd.monitors or ())
        same = bool(monitor) and (a.rbd.pool, a.rbd.image) == (b.rbd.pool, b.rbd.image)
        return same and not (a.rbd.readOnly and b.rbd.readOnly)
    return False


def used_alone(cluster: Cluster, pod: v1.Pod) -> bool:
    """Whether one of the pod's ReadWriteOncePod claims has its one pod already."""
    for name in claims_of(pod, made=False):
        claim = find_claim(cluster, pod, name)
        assert claim is not None and claim.spec is not None
        others = [p for n in cluster.nodes for p in cluster.on(n) if namespace_of(p) == namespace_of(pod)]
        if "ReadWriteOncePod" in (claim.spec.accessModes or ()) and any(name in claims_of(p, made=False) for p in others):
            return True
    return False


DRIVERS = {"kubernetes.io/gce-pd": "pd.csi.storage.gke.io", "kubernetes.io/aws-ebs": "ebs.csi.aws.com"}


def csi_volumes(cluster: Cluster, pod: v1.Pod) -> set[tuple[str, str]]:
    """(driver, volume) that a pod has attached."""
    found = set()
    for v in spec_of(pod).volumes or ():
        if v.gcePersistentDisk is not None:
            found.add((DRIVERS["kubernetes.io/gce-pd"], f"disk {v.gcePersistentDisk.pdName}"))
        if v.awsElasticBlockStore is not None:
            found.add((DRIVERS["kubernetes.io/aws-ebs"], f"disk {v.awsElasticBlockStore.volumeID}"))
    named = claims_of(pod, made=False)
    for name in claims_of(pod, made=True):
        claim = find_claim(cluster, pod, name)
        if claim is None or claim.metadata is None or pod.metadata is None:
            continue
        if name not in named and pod.metadata.uid not in [o.uid for o in claim.metadata.ownerReferences or ()]:
            continue
        volume, made_by = find_volume(cluster, claim), find_class(cluster, class_of(claim))
        if volume is not None:
            assert volume.spec is not None
            if volume.spec.csi is not None:
                found.add((volume.spec.csi.driver or "", volume.spec.csi.volumeHandle or ""))
        elif made_by is not None:
            found.add((DRIVERS.get(made_by.provisioner or "", made_by.provisioner or ""), f"to be made for {namespace_of(claim)}/{name}"))
    return found


def over_limit(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> bool:
    limits: dict[str, int] = {}
    for held in cluster.storage.limits:
        if held.metadata is not None and held.metadata.name == name_of(node) and held.spec is not None:
            for d in held.spec.drivers or ():
                if d.allocatable is not None and d.allocatable.count is not None:
                    limits[d.name or ""] = d.allocatable.count
    used: set[tuple[str, str]] = set()
    for p in cluster.on(node):
        used |= csi_volumes(cluster, p)
    attached = set()
    for a in cluster.storage.attachments:
        assert a.spec is not None and a.spec.source is not None
        volume = next((v for v in cluster.storage.volumes if name_of(v) == a.spec.source.persistentVolumeName), None)
        if a.spec.nodeName == name_of(node) and volume is not None and volume.spec is not None and volume.spec.csi is not None:
            attached.add((a.spec.attacher or "", volume.spec.csi.volumeHandle or ""))
    new = csi_volumes(cluster, pod) - used
    for driver, limit in limits.items():
        count = sum(d == driver for d, _ in new)
        if count and count + sum(d == driver for d, _ in used | attached) > limit:
            return True
    return False


def reaches(node: v1.Node, volume: v1.PersistentVolume) -> bool:
    assert volume.spec is not None
    required = volume.spec.nodeAffinity.required if volume.spec.nodeAffinity is not None else None
    return required is None or any(matches_node_term(t, node) for t in required.nodeSelectorTerms or ())


def size(requests: dict[str, str | int | float] | None) -> int:
    return number("storage", (requests or {}).get("storage", 0))


def asked_size(claim: v1.PersistentVolumeClaim) -> int:
    assert claim.spec is not None
    return size(claim.spec.resources.requests if claim.spec.resources is not None else None)


def kept_for(volume: v1.PersistentVolume, claim: v1.PersistentVolumeClaim) -> bool:
    held = volume.spec.claimRef if volume.spec is not None else None
    if held is None or (held.namespace, held.name) != (namespace_of(claim), name_of(claim)):
        return False
    return not held.uid or (claim.metadata is not None and held.uid == claim.metadata.uid)


def best_volume(cluster: Cluster, claim: v1.PersistentVolumeClaim, node: v1.Node, taken: list[str]) -> str:
    """The volume kept for the claim, or else the smallest free one that fits and that the node reaches."""
    assert claim.spec is not None
    fitting = []
    for v in sorted(cluster.storage.volumes, key=lambda v: (size(v.spec.capacity if v.spec else None), name_of(v))):
        assert v.spec is not None and v.metadata is not None and v.status is not None
        if (v.spec.storageClassName or "") != class_of(claim) or size(v.spec.capacity) < asked_size(claim):
            continue
        if (v.spec.volumeMode or "Filesystem") != (claim.spec.volumeMode or "Filesystem") or v.metadata.deletionTimestamp is not None:
            continue
        if kept_for(v, claim):
            return name_of(v) if reaches(node, v) else ""
        if v.spec.claimRef is not None or v.status.phase != "Available" or name_of(v) in taken:
            continue
        if claim.spec.selector is not None and not selects(claim.spec.selector, labels_of(v)):
            continue
        if set(claim.spec.accessModes or ()) <= set(v.spec.accessModes or ()) and reaches(node, v):
            fitting.append(name_of(v))
    return fitting[0] if fitting else ""


def provision_problem(cluster: Cluster, claim: v1.PersistentVolumeClaim, node: v1.Node) -> str:
    found = find_class(cluster, class_of(claim))
    no_match = "node(s) didn't find available persistent volumes to bind"
    if found is None or found.provisioner in (None, "", "kubernetes.io/no-provisioner"):
        return no_match
    terms = found.allowedTopologies or []
    if terms and not any(
        t.matchLabelExpressions and all(labels_of(node).get(e.key or "") in (e.values or ()) for e in t.matchLabelExpressions) for t in terms
    ):
        return no_match
    for driver in cluster.storage.drivers:
        assert driver.metadata is not None and driver.spec is not None
        if driver.metadata.name == found.provisioner and driver.spec.storageCapacity and not room(cluster, claim, node):
            return "node(s) did not have enough free storage"
    return ""


def room(cluster: Cluster, claim: v1.PersistentVolumeClaim, node: v1.Node) -> bool:
    for c in cluster.storage.capacities:
        limit = c.maximumVolumeSize if c.maximumVolumeSize is not None else c.capacity
        if c.storageClassName != class_of(claim) or limit is None or c.nodeTopology is None:
            continue
        if number("storage", limit) >= asked_size(claim) and selects(c.nodeTopology, labels_of(node)):
            return True
    return False


def node_volumes(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> tuple[set[str], dict[str, str], set[str]]:
    """(reasons against the node, claim → volume it would give, claims to be provisioned)."""
    every = []
    for name in dict.fromkeys(claims_of(pod, made=True)):
        claim = find_claim(cluster, pod, name)
        assert claim is not None
        every.append(claim)
    reasons: set[str] = set()
    for claim in every:
        if complete(claim):
            volume = find_volume(cluster, claim)
            if volume is None:
                reasons.add("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
                break
            if not reaches(node, volume):
                reasons.add("node(s) didn't match PersistentVolume's node affinity")
                break
    bindings: dict[str, str] = {}
    to_make = [c for c in every if not complete(c) and "volume.kubernetes.io/selected-node" in notes_of(c)]
    if any(notes_of(c)["volume.kubernetes.io/selected-node"] != name_of(node) for c in to_make):
        return reasons | {"node(s) didn't find available persistent volumes to bind"}, {}, set()
    for claim in sorted((c for c in every if not complete(c) and c not in to_make), key=asked_size):
        volume_name = best_volume(cluster, claim, node, list(bindings.values()))
        if volume_name:
            bindings[name_of(claim)] = volume_name
        else:
            to_make.append(claim)
    for claim in to_make:
        if problem := provision_problem(cluster, claim, node):
            return reasons | {problem}, {}, set()
    return reasons, bindings, {name_of(c) for c in to_make}


ZONE_LABELS = tuple(f"{where}/{what}" for where in ("failure-domain.beta.kubernetes.io", "topology.kubernetes.io") for what in ("zone", "region"))


def zone_matches(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> bool:
    if not any(label in labels_of(node) for label in ZONE_LABELS):
        return True
    for name in claims_of(pod, made=False):
        claim = find_claim(cluster, pod, name)
        volume = find_volume(cluster, claim) if claim is not None else None
        for label in ZONE_LABELS if volume is not None else ():
            assert volume is not None
            if label not in labels_of(volume):
                continue
            values = [v.strip() for v in labels_of(volume)[label].split("__")]
            newer = label.replace("failure-domain.beta.kubernetes.io", "topology.kubernetes.io")
            held = labels_of(node).get(label, labels_of(node).get(newer))
            if "" not in values and held not in values:
                return False
    return True


# ---- all filters --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refused:
    plugin: str
    texts: tuple[str, ...]
    final: bool


def check(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> Refused | None:
    """The first plugin that refuses the node, in upstream's order."""
    unschedulable = v1.Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
    if node.spec is not None and node.spec.unschedulable and not tolerated(pod, unschedulable):
        return Refused("NodeUnschedulable", ("node(s) were unschedulable",), True)
    if untolerated(pod, node):
        return Refused("TaintToleration", ("node(s) had untolerated taint(s)",), True)
    if not matches_node_affinity(pod, node):
        return Refused("NodeAffinity", ("node(s) didn't match Pod's node affinity/selector",), True)
    others = cluster.on(node)
    if not ports_free(pod, others):
        return Refused("NodePorts", ("node(s) didn't have free ports for the requested pod ports",), False)
    if missing := lacking(pod, node, others):
        return Refused("NodeResourcesFit", tuple(sorted(t for t, _ in missing)), any(never for _, never in missing))
    if (refused := volume_refusal(cluster, pod, node)) is not None:
        return refused
    if reason := spread_reason(cluster, pod, node):
        return Refused("PodTopologySpread", (reason,), "missing" in reason)
    reason, final = pod_affinity_reason(cluster, pod, node)
    return Refused("InterPodAffinity", (reason,), final) if reason else None


# ---- scores -------------------------------------------------------------------------------------------------------


def normalized(raw: dict[str, int], *, reverse: bool) -> dict[str, int]:
    largest = max(raw.values(), default=0)
    if largest == 0:
        return {n: 100 if reverse else 0 for n in raw}
    return {n: 100 - s * 100 // largest if reverse else s * 100 // largest for n, s in raw.items()}


def taint_score(pod: v1.Pod, nodes: list[v1.Node]) -> dict[str, int]:
    raw = {name_of(n): sum(t.effect == "PreferNoSchedule" and not tolerated(pod, t) for t in taints_of(n)) for n in nodes}
    return normalized(raw, reverse=True)


def node_affinity_score(pod: v1.Pod, nodes: list[v1.Node]) -> dict[str, int]:
    affinity = affinity_of(pod).nodeAffinity
    wishes = (affinity.preferredDuringSchedulingIgnoredDuringExecution if affinity else None) or []
    raw = {name_of(n): sum((w.weight or 0) for w in wishes if w.preference is not None and matches_node_term(w.preference, n)) for n in nodes}
    return normalized(raw, reverse=False)


def least_allocated(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> int:
    own, has, scores = pod_requests(pod, DEFAULTS), allocatable(node), []
    for name in ("cpu", "memory"):
        capacity = has.get(name, 0)
        if capacity == 0:
            continue
        taken = sum(counted_requests(p).get(name, 0) for p in cluster.on(node)) + own.get(name, 0)
        scores.append(0 if taken > capacity else (capacity - taken) * 100 // capacity)
    return sum(scores) // len(scores) if scores else 0


def balanced(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> int:
    own, has, taken = pod_requests(pod), allocatable(node), used(cluster.on(node))
    if not own.get("cpu") and not own.get("memory"):
        return 0

    def score(extra: dict[str, int]) -> int:
        names = [n for n in ("cpu", "memory") if has.get(n, 0)]
        shares = [min(1.0, (taken.get(n, 0) + extra.get(n, 0)) / has[n]) for n in names]
        deviation = abs((shares[0] - shares[1]) / 2) if len(shares) == 2 else 0.0
        return int((1 - deviation) * 100)

    return 50 + int((50 + score(own) - score({})) / 2)


def tagged(image: str) -> str:
    return image if image.rfind(":") > image.rfind("/") else image + ":latest"


def image_locality(cluster: Cluster, pod: v1.Pod, node: v1.Node) -> int:
    holders: dict[str, list[str]] = {}
    sizes: dict[str, int] = {}
    for n in cluster.nodes:
        for image in (n.status.images if n.status else None) or ():
            for name in image.names or ():
                holders.setdefault(name, []).append(name_of(n))
                sizes[name] = image.sizeBytes or 0
    containers = [*(spec_of(pod).containers or ()), *(spec_of(pod).initContainers or ())]
    total = 0
    for c in containers:
        name = tagged(c.image or "")
        if name_of(node) in holders.get(name, []):
            total += int(sizes[name] * (len(set(holders[name])) / len(cluster.nodes)))
    low, high = 23 * 2**20, 1000 * 2**20 * len(containers)
    return 100 * (min(max(total, low), high) - low) // (high - low)


def spread_score(cluster: Cluster, pod: v1.Pod, nodes: list[v1.Node]) -> dict[str, int]:
    constraints = spread_constraints(pod, "ScheduleAnyway")
    if not constraints:
        return {}
    keys = [c.topologyKey or "" for c in constraints]
    counted = [n for n in nodes if all(k in labels_of(n) for k in keys)]
    raw: dict[str, int] = {}
    for node in counted:
        score = 0.0
        for c in constraints:
            key = c.topologyKey or ""
            if key == HOSTNAME:
                size, pods = len(counted), counted_for(cluster, pod, node, c)
            else:
                size, pods = len({labels_of(n)[key] for n in counted}), 0
                for other in cluster.nodes:
                    if all(k in labels_of(other) for k in keys) and included(pod, other, c) and same_domain(key, node, other):
                        pods += counted_for(cluster, pod, other, c)
            score += pods * math.log(size + 2) + ((c.maxSkew or 1) - 1)
        raw[name_of(node)] = math.floor(score + 0.5)
    least, most = min(raw.values(), default=0), max(raw.values(), default=0)
    found = {name_of(n): 0 for n in nodes}
    found |= {n: 100 if most == 0 else 100 * (most + least - s) // most for n, s in raw.items()}
    return found


def pod_affinity_score(cluster: Cluster, pod: v1.Pod, nodes: list[v1.Node]) -> dict[str, int]:
    raw = {name_of(n): 0 for n in nodes}
    for other in cluster.nodes:
        for p in cluster.on(other):
            wishes: list[tuple[str, int]] = []
            mine, theirs = affinity_of(pod), affinity_of(p)
            for affinity, sign in ((mine.podAffinity, 1), (mine.podAntiAffinity, -1)):
                for w in preferred_terms(affinity):
                    if w.podAffinityTerm is not None and speaks_of(cluster, w.podAffinityTerm, pod, p):
                        wishes.append((w.podAffinityTerm.topologyKey or "", sign * (w.weight or 0)))
            for term in required_terms(theirs.podAffinity):
                if speaks_of(cluster, term, p, pod):
                    wishes.append((term.topologyKey or "", 1))
            for affinity, sign in ((theirs.podAffinity, 1), (theirs.podAntiAffinity, -1)):
                for w in preferred_terms(affinity):
                    if w.podAffinityTerm is not None and speaks_of(cluster, w.podAffinityTerm, p, pod):
                        wishes.append((w.podAffinityTerm.topologyKey or "", sign * (w.weight or 0)))
            for node in nodes:
                raw[name_of(node)] += sum(weight for key, weight in wishes if same_domain(key, node, other))
    least, most = min(raw.values(), default=0), max(raw.values(), default=0)
    if least == most:
        return dict.fromkeys(raw, 0)
    return {n: int(100.0 * (float(s - least) / float(most - least))) for n, s in raw.items()}


WEIGHTS = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}


def score(cluster: Cluster, pod: v1.Pod, nodes: list[v1.Node]) -> dict[str, dict[str, int]]:
    """Plugin → node → weighted score, over the feasible nodes."""
    found = {
        "TaintToleration": taint_score(pod, nodes),
        "NodeAffinity": node_affinity_score(pod, nodes),
        "NodeResourcesFit": {name_of(n): least_allocated(cluster, pod, n) for n in nodes},
        "PodTopologySpread": spread_score(cluster, pod, nodes),
        "InterPodAffinity": pod_affinity_score(cluster, pod, nodes),
        "NodeResourcesBalancedAllocation": {name_of(n): balanced(cluster, pod, n) for n in nodes},
        "ImageLocality": {name_of(n): image_locality(cluster, pod, n) for n in nodes},
    }
    return {plugin: {n: s * WEIGHTS[plugin] for n, s in scores.items()} for plugin, scores in found.items()}


# ---- preemption ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Victims (names) on a node, and how bad that is: less is better."""

    rank: tuple[int, int, int, int, float]
    victims: tuple[str, ...]


def started(pod: v1.Pod) -> float:
    """In these tests a pod's number is its start."""
    return float(int(name_of(pod)[1:]) % 3)


def victims_on(cluster: Cluster, pod: v1.Pod, node: v1.Node, budgets: list[tuple[Labels, int]]) -> Plan | None:
    """Evict all of lower priority, then take back as many as possible. Budgets: (labels in the namespace `a`, allowed)."""

    def priority(p: v1.Pod) -> int:
        return spec_of(p).priority or 0

    def without(gone: list[v1.Pod]) -> Cluster:
        return Cluster(cluster.nodes, [p for p in cluster.pods if not any(p is g for g in gone)], cluster.namespaces, cluster.storage)

    lower = sorted((p for p in cluster.on(node) if priority(p) < priority(pod)), key=lambda p: (-priority(p), started(p)))
    if not lower or check(without(lower), pod, node) is not None:
        return None
    left, broken = [allowed for _, allowed in budgets], []
    for p in lower:
        hit = False
        for i, (labels, _) in enumerate(budgets):
            if labels_of(p) and namespace_of(p) == "a" and all(labels_of(p).get(k) == v for k, v in labels.items()):
                left[i] -= 1
                hit = hit or left[i] < 0
        if hit:
            broken.append(p)
    gone = list(lower)
    for p in [*broken, *(p for p in lower if p not in broken)]:
        fewer = [g for g in gone if g is not p]
        if check(without(fewer), pod, node) is None:
            gone = fewer
    if not gone:
        return None
    highest = max(priority(p) for p in gone)
    earliest = min(started(p) for p in gone if priority(p) == highest)
    violations = sum(p in broken for p in gone)
    rank = (violations, highest, sum(priority(p) + 2**31 for p in gone), len(gone), -earliest)
    return Plan(rank, tuple(sorted(name_of(p) for p in gone)))


def preempt(cluster: Cluster, pod: v1.Pod, budgets: list[tuple[Labels, int]]) -> dict[str, Plan]:
    """The best nodes (all that are equally good) with their victims."""
    found: dict[str, Plan] = {}
    for node in cluster.nodes:
        refused = check(cluster, pod, node)
        plan = victims_on(cluster, pod, node, budgets) if refused is not None and not refused.final else None
        if plan is not None:
            found[name_of(node)] = plan
    best = min((p.rank for p in found.values()), default=None)
    return {name: plan for name, plan in found.items() if plan.rank == best}
