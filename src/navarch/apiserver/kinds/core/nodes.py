"""Nodes: facts, addresses of their pods, taints.

Upstream counterparts: pkg/registry/core/node, pkg/apis/core/validation.
"""

from __future__ import annotations

from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import NOTHING, UNKNOWN, Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Selectable, Strategy
from navarch.machinery import amounts, codec, field, names

_NODE_FACTS = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion", "kubeProxyVersion",
    "operatingSystem", "architecture",
)  # fmt: skip


def default_node(obj: core_v1.Node) -> None:
    obj.spec = obj.spec or core_v1.NodeSpec()
    status = obj.status = obj.status or core_v1.NodeStatus()
    facts = status.nodeInfo = status.nodeInfo or core_v1.NodeSystemInfo()
    for name in _NODE_FACTS:
        if getattr(facts, name) is None:
            setattr(facts, name, "")
    if status.daemonEndpoints is None:
        status.daemonEndpoints = core_v1.NodeDaemonEndpoints(kubeletEndpoint=core_v1.DaemonEndpoint(Port=0))
    amounts.canonical(status.capacity)
    amounts.canonical(status.allocatable)
    if status.allocatable is None and status.capacity is not None:
        status.allocatable = dict(status.capacity)


def prepare_node(obj: core_v1.Node, now: float) -> None:
    assert obj.spec is not None
    if obj.spec.podCIDRs and not obj.spec.podCIDR:
        obj.spec.podCIDR = obj.spec.podCIDRs[0]
    elif obj.spec.podCIDR and not obj.spec.podCIDRs:
        obj.spec.podCIDRs = [obj.spec.podCIDR]


def prepare_node_update(new: core_v1.Node, old: core_v1.Node, now: float) -> None:
    del old
    if new.spec is not None and new.spec.podCIDR and not new.spec.podCIDRs:
        new.spec.podCIDRs = [new.spec.podCIDR]


def validate_node(obj: core_v1.Node) -> Found:
    found: Found = []
    spec = obj.spec or core_v1.NodeSpec()
    _taints(found, spec.taints)
    _node_amounts(found, obj)
    for i, cidr in enumerate(spec.podCIDRs or ()):
        checks.network(found, f"spec.podCIDRs[{i}]", cidr)
    return found


def _node_amounts(found: Found, node: core_v1.Node) -> None:
    if node.status is None:
        return
    for part in ("capacity", "allocatable"):
        for name, value in (getattr(node.status, part) or {}).items():
            checks.amount(found, f"status.{part}.{name}", value)


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def _taints(found: Found, taints: list[core_v1.Taint] | None) -> None:
    seen: set[tuple[str | None, str | None]] = set()
    for i, taint in enumerate(taints or ()):
        at = f"metadata.taints[{i}]"
        checks.qualified(found, f"{at}.key", taint.key or "")
        if taint.value and (problems := names.label_value(taint.value)):
            found.append(field.invalid(f"{at}.value", taint.value, ";".join(problems)))
        checks.one_of(found, f"{at}.effect", taint.effect, _EFFECTS)
        if (taint.key, taint.effect) in seen:
            shown = codec.to_tree(taint)
            found.append(field.Problem("FieldValueDuplicate", at, shown, "taints must be unique by key and effect pair"))
        seen.add((taint.key, taint.effect))


def validate_node_update(new: core_v1.Node, old: core_v1.Node) -> Found:
    found: Found = []
    spec, before = new.spec or core_v1.NodeSpec(), old.spec or core_v1.NodeSpec()
    _node_amounts(found, new)
    if before.podCIDRs and spec.podCIDRs != before.podCIDRs:
        found.append(field.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid'))
    if before.providerID and spec.providerID != before.providerID:
        found.append(field.forbidden("spec.providerID", 'node updates may not change providerID except from "" to valid'))
    _taints(found, spec.taints)
    return found


def validate_node_status(new: core_v1.Node, old: core_v1.Node) -> Found:
    del old
    found: Found = []
    _node_amounts(found, new)
    seen: set[tuple[str | None, str | None]] = set()
    for i, address in enumerate((new.status.addresses or ()) if new.status else ()):
        if (address.type, address.address) in seen:
            found.append(field.duplicate(f"status.addresses[{i}]", codec.to_tree(address)))
        seen.add((address.type, address.address))
    return found


_ROLE = "node-role.kubernetes.io/"


def node_row(t: Tree, now: float) -> list[Any]:
    spec, status = spec_of(t), status_of(t)
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if spec.get("unschedulable"):
        word += ",SchedulingDisabled"
    held = t["metadata"].get("labels") or {}
    roles = {k[len(_ROLE) :] for k in held if k.startswith(_ROLE)} | {held.get("kubernetes.io/role", "")}
    facts = status.get("nodeInfo") or {}
    kernel = facts.get("kernelVersion") or UNKNOWN
    if facts.get("architecture"):
        kernel += f" ({facts['architecture']})"
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or ():
        addresses.setdefault(address.get("type", ""), address.get("address", ""))
    return [
        name_of(t, now),
        word,
        ",".join(sorted(roles - {""})) or NOTHING,
        age_of(t, now),
        facts.get("kubeletVersion", ""),
        addresses.get("InternalIP", NOTHING),
        addresses.get("ExternalIP", NOTHING),
        facts.get("osImage") or UNKNOWN,
        kernel,
        facts.get("containerRuntimeVersion") or UNKNOWN,
    ]


KINDS: dict[Key, Strategy] = {
    ("", "nodes"): Strategy(
        default=default_node,
        prepare_create=prepare_node,
        prepare_update=prepare_node_update,
        validate=validate_node,
        validate_update=validate_node_update,
        validate_status=validate_node_status,
        status_on_create=True,
        columns=sheet("Name|Status|Roles|Age|Version|Internal-IP*|External-IP*|OS-Image*|Kernel-Version*|Container-Runtime*", node_row),
        selectable=(Selectable("spec.unschedulable", absent="false"),),
    )
}
