"""The rows of the kinds: for each, what `kubectl get` shows of an object, as a list of cells.

Upstream counterpart: pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from navarch.apiserver.registry.columns import Tree, age, duration, name, since
from navarch.machinery import timestamps

_NONE, _UNSET, _UNKNOWN = "<none>", "<unset>", "<unknown>"


def _spec(tree: Tree) -> Tree:
    return tree.get("spec") or {}


def _status(tree: Tree) -> Tree:
    return tree.get("status") or {}


def _pod(tree: Tree) -> Tree:
    return (_spec(tree).get("template") or {}).get("spec") or {}


def _containers(spec: Tree) -> list[str]:
    held = spec.get("containers") or ()
    return [",".join(c.get("name", "") for c in held), ",".join(c.get("image", "") for c in held)]


def labels(values: Mapping[str, str] | None) -> str:
    return ",".join(f"{k}={values[k]}" for k in sorted(values)) if values else _NONE


_OPERATORS = {"In": "in", "NotIn": "notin"}


def selector(held: Tree | None) -> str:
    """A label selector as its text, terms in the order of their keys."""
    if held is None:
        return _NONE
    terms = [(k, f"{k}={v}") for k, v in (held.get("matchLabels") or {}).items()]
    for e in held.get("matchExpressions") or ():
        key, operator = e.get("key", ""), e.get("operator")
        if operator in _OPERATORS:
            text = f"{key} {_OPERATORS[operator]} ({','.join(sorted(e.get('values') or ()))})"
        else:
            text = key if operator == "Exists" else f"!{key}"
        terms.append((key, text))
    terms.sort(key=lambda t: t[0])
    return ",".join(t[1] for t in terms) or _NONE


def _more(items: list[str], most: int = 3) -> str:
    if not items:
        return _NONE
    shown = ",".join(items[:most])
    return f"{shown} + {len(items) - most} more..." if len(items) > most else shown


def plain(tree: Tree, now: float) -> list[Any]:
    """Name and Age."""
    return [name(tree, now), age(tree, now)]


# ---- workloads ----


def replica_set(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(t, now), *counts, age(t, now), *_containers(_pod(t)), selector(spec.get("selector"))]


def replication_controller(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [name(t, now), *counts, age(t, now), *_containers(_pod(t)), labels(spec.get("selector"))]


def deployment(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [name(t, now), ready, *counts, age(t, now), *_containers(_pod(t)), selector(spec.get("selector"))]


def stateful_set(t: Tree, now: float) -> list[Any]:
    ready = f"{_status(t).get('readyReplicas', 0)}/{_spec(t).get('replicas', 0)}"
    return [name(t, now), ready, age(t, now), *_containers(_pod(t))]


_DAEMON_COUNTS = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")


def daemon_set(t: Tree, now: float) -> list[Any]:
    status = _status(t)
    counts = [status.get(n, 0) for n in _DAEMON_COUNTS]
    nodes = labels(_pod(t).get("nodeSelector"))
    return [name(t, now), *counts, nodes, age(t, now), *_containers(_pod(t)), selector(_spec(t).get("selector"))]


def _has(status: Tree, kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or ())


def _job_word(t: Tree, status: Tree) -> str:
    if _has(status, "Complete"):
        return "Complete"
    if _has(status, "Failed"):
        return "Failed"
    if t["metadata"].get("deletionTimestamp"):
        return "Terminating"
    words = (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"), ("SuccessCriteriaMet", "SuccessCriteriaMet"))
    return next((word for kind, word in words if _has(status, kind)), "Running")


def job(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    done = status.get("succeeded", 0)
    if spec.get("completions") is not None:
        completions = f"{done}/{spec['completions']}"
    else:
        parallelism = spec.get("parallelism") or 0
        completions = f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"
    took, start, end = "", status.get("startTime"), status.get("completionTime")
    if start:
        took = duration((timestamps.parse(end) if end else now) - timestamps.parse(start))
    head = [name(t, now), _job_word(t, status), completions, took, age(t, now)]
    return [*head, *_containers(_pod(t)), selector(spec.get("selector"))]


def cron_job(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    last = status.get("lastScheduleTime")
    suspended = spec.get("suspend")
    inner = ((spec.get("jobTemplate") or {}).get("spec")) or {}
    head = [
        name(t, now),
        spec.get("schedule", ""),
        spec.get("timeZone") or _NONE,
        _UNSET if suspended is None else "True" if suspended else "False",
        len(status.get("active") or ()),
        since(last, now) if last else _NONE,
        age(t, now),
    ]
    return [*head, *_containers((inner.get("template") or {}).get("spec") or {}), selector(inner.get("selector"))]


def pod_template(t: Tree, now: float) -> list[Any]:
    template = t.get("template") or {}
    return [name(t, now), *_containers(template.get("spec") or {}), labels((template.get("metadata") or {}).get("labels"))]


def controller_revision(t: Tree, now: float) -> list[Any]:
    owner = next((o for o in t["metadata"].get("ownerReferences") or () if o.get("controller")), None)
    controller = _NONE
    if owner is not None:
        group = owner["apiVersion"].rpartition("/")[0]
        kind = owner["kind"].lower()
        controller = f"{kind}.{group}/{owner['name']}" if group else f"{kind}/{owner['name']}"
    return [name(t, now), controller, t.get("revision", 0), age(t, now)]


# ---- services and networking ----


def _ports(spec: Tree) -> str:
    parts = []
    for port in spec.get("ports") or ():
        number, protocol = port.get("port"), port.get("protocol", "")
        parts.append(f"{number}:{port['nodePort']}/{protocol}" if port.get("nodePort") else f"{number}/{protocol}")
    return ",".join(parts) or _NONE


def _balancer(status: Tree) -> list[str]:
    found = {i.get("ip") or i.get("hostname") or "" for i in (status.get("loadBalancer") or {}).get("ingress") or ()}
    return sorted(found - {""})


def _external(spec: Tree, status: Tree) -> str:
    kind, own = spec.get("type"), spec.get("externalIPs") or []
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        found = [*_balancer(status), *own]
        return ",".join(found) or "<pending>"
    if kind in ("ClusterIP", "NodePort"):
        return ",".join(own) or _NONE
    return _UNKNOWN


def service(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    addresses = spec.get("clusterIPs") or [_NONE]
    external = _external(spec, _status(t))
    head = [name(t, now), spec.get("type", ""), addresses[0], external, _ports(spec), age(t, now)]
    return [*head, labels(spec.get("selector"))]


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def endpoints(t: Tree, now: float) -> list[Any]:
    found: list[str] = []
    for subset in t.get("subsets") or ():
        addresses = [a.get("ip", "") for a in subset.get("addresses") or ()]
        ports = subset.get("ports")
        if not ports:
            found += addresses
        for port in ports or ():
            found += [_joined(a, port.get("port", 0)) for a in addresses]
    shown = _more(found) if t.get("subsets") else _NONE
    return [name(t, now), "" if t.get("subsets") and not found else shown, age(t, now)]


def endpoint_slice(t: Tree, now: float) -> list[Any]:
    ports = [str(p["port"]) if p.get("port") is not None else p.get("name", "*") for p in t.get("ports") or ()]
    addresses = [a for e in t.get("endpoints") or () for a in e.get("addresses") or ()]
    return [name(t, now), t.get("addressType", ""), _ports_or_unset(ports), _ports_or_unset(addresses), age(t, now)]


def _ports_or_unset(items: list[str]) -> str:
    return _more(items) if items else _UNSET


def ingress(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    rules = spec.get("rules") or ()
    hosts = [r["host"] for r in rules if r.get("host")]
    shown = ",".join(hosts[:3]) or "*"
    if len(hosts) >= 3 and len(rules) > 3:
        shown = f"{shown} + {len(rules) - 3} more..."
    ports = "80, 443" if spec.get("tls") else "80"
    return [name(t, now), spec.get("ingressClassName") or _NONE, shown, ",".join(_balancer(_status(t))), ports, age(t, now)]


def ingress_class(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    p = spec.get("parameters")
    shown = _NONE
    if p:
        shown = f"{p.get('kind', '')}.{p['apiGroup']}/{p.get('name', '')}" if p.get("apiGroup") else f"{p.get('kind', '')}/{p.get('name', '')}"
    return [_marked(t, now, "ingressclass.kubernetes.io/is-default-class"), spec.get("controller", ""), shown, age(t, now)]


def _marked(t: Tree, now: float, *notes: str) -> str:
    held = t["metadata"].get("annotations") or {}
    return name(t, now) + (" (default)" if any(held.get(n) == "true" for n in notes) else "")


def network_policy(t: Tree, now: float) -> list[Any]:
    return [name(t, now), selector(_spec(t).get("podSelector") or {}), age(t, now)]


def ip_address(t: Tree, now: float) -> list[Any]:
    ref = _spec(t).get("parentRef")
    shown = _NONE
    if ref:
        group = f".{ref['group']}" if ref.get("group") else ""
        where = f"/{ref['namespace']}" if ref.get("namespace") else ""
        shown = f"{ref.get('resource', '')}{group}".lower() + f"{where}/{ref.get('name', '')}"
    return [name(t, now), shown, age(t, now)]


def service_cidr(t: Tree, now: float) -> list[Any]:
    return [name(t, now), ",".join(_spec(t).get("cidrs") or ()), age(t, now)]


# ---- nodes, namespaces, events, configuration ----

_ROLE = "node-role.kubernetes.io/"


def node(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"
    if spec.get("unschedulable"):
        word += ",SchedulingDisabled"
    held = t["metadata"].get("labels") or {}
    roles = {k[len(_ROLE) :] for k in held if k.startswith(_ROLE)} | {held.get("kubernetes.io/role", "")}
    facts = status.get("nodeInfo") or {}
    kernel = facts.get("kernelVersion") or _UNKNOWN
    if facts.get("architecture"):
        kernel += f" ({facts['architecture']})"
    addresses: dict[str, str] = {}
    for address in status.get("addresses") or ():
        addresses.setdefault(address.get("type", ""), address.get("address", ""))
    return [
        name(t, now),
        word,
        ",".join(sorted(roles - {""})) or _NONE,
        age(t, now),
        facts.get("kubeletVersion", ""),
        addresses.get("InternalIP", _NONE),
        addresses.get("ExternalIP", _NONE),
        facts.get("osImage") or _UNKNOWN,
        kernel,
        facts.get("containerRuntimeVersion") or _UNKNOWN,
    ]


def namespace(t: Tree, now: float) -> list[Any]:
    return [name(t, now), _status(t).get("phase", ""), age(t, now)]


def event(t: Tree, now: float) -> list[Any]:
    """Of a core/v1 Event, or of an events.k8s.io/v1 one."""
    first = since(t.get("firstTimestamp") or t.get("deprecatedFirstTimestamp") or t.get("eventTime"), now)
    last_stamp = t.get("lastTimestamp") or t.get("deprecatedLastTimestamp")
    last = since(last_stamp, now) if last_stamp else first
    count = t.get("count") or t.get("deprecatedCount") or 1
    if series := t.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count", 0)
    about = t.get("involvedObject") or t.get("regarding") or {}
    target = about.get("kind", "").lower() + (f"/{about['name']}" if about.get("name") else "")
    source = t.get("source") or t.get("deprecatedSource") or {}
    component = source.get("component") or t.get("reportingComponent") or t.get("reportingController") or ""
    host = source.get("host") or t.get("reportingInstance") or ""
    message = (t.get("message") or t.get("note") or "").strip()
    return [
        last,
        t.get("type", ""),
        t.get("reason", ""),
        target,
        about.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        message,
        first,
        count,
        name(t, now),
    ]


def secret(t: Tree, now: float) -> list[Any]:
    return [name(t, now), t.get("type", ""), len(t.get("data") or ()), age(t, now)]


def config_map(t: Tree, now: float) -> list[Any]:
    return [name(t, now), len(t.get("data") or ()) + len(t.get("binaryData") or ()), age(t, now)]


def resource_quota(t: Tree, now: float) -> list[Any]:
    status = _status(t)
    hard, used = status.get("hard") or {}, status.get("used") or {}
    parts: tuple[list[str], list[str]] = ([], [])
    for resource in sorted(hard):
        parts[resource.startswith("limits.")].append(f"{resource}: {used.get(resource, '0')}/{hard[resource]}")
    return [name(t, now), ", ".join(parts[0]), ", ".join(parts[1]), age(t, now)]


def created_at(t: Tree, now: float) -> list[Any]:
    """Name and the time of creation (roles)."""
    return [name(t, now), t["metadata"].get("creationTimestamp", "")]


def lease(t: Tree, now: float) -> list[Any]:
    return [name(t, now), _spec(t).get("holderIdentity", ""), age(t, now)]


# ---- storage ----

_MODES = (("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP"))
_OLD_CLASS = "volume.beta.kubernetes.io/storage-class"


def _modes(held: Iterable[str] | None) -> str:
    there = set(held or ())
    return ",".join(short for full, short in _MODES if full in there)


def _class(t: Tree) -> str:
    note = (t["metadata"].get("annotations") or {}).get(_OLD_CLASS)
    return str(note if note is not None else _spec(t).get("storageClassName") or "")


def _phase(t: Tree) -> str:
    return "Terminating" if t["metadata"].get("deletionTimestamp") else str(_status(t).get("phase", ""))


def persistent_volume(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    ref = spec.get("claimRef")
    claim = f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else ""
    return [
        name(t, now),
        (spec.get("capacity") or {}).get("storage", "0"),
        _modes(spec.get("accessModes")),
        spec.get("persistentVolumeReclaimPolicy", ""),
        _phase(t),
        claim,
        _class(t),
        spec.get("volumeAttributesClassName") or _UNSET,
        _status(t).get("reason", ""),
        age(t, now),
        spec.get("volumeMode") or _UNSET,
    ]


def claim(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    capacity = modes = ""
    if spec.get("volumeName"):
        capacity, modes = (status.get("capacity") or {}).get("storage", "0"), _modes(status.get("accessModes"))
    attributes = spec.get("volumeAttributesClassName") or _UNSET
    head = [name(t, now), _phase(t), spec.get("volumeName", ""), capacity, modes]
    return [*head, _class(t), attributes, age(t, now), spec.get("volumeMode") or _UNSET]


def storage_class(t: Tree, now: float) -> list[Any]:
    shown = _marked(t, now, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
    policy, binding = t.get("reclaimPolicy", "Delete"), t.get("volumeBindingMode", "Immediate")
    return [shown, t.get("provisioner", ""), policy, binding, bool(t.get("allowVolumeExpansion")), age(t, now)]


def attributes_class(t: Tree, now: float) -> list[Any]:
    return [name(t, now), t.get("driverName", ""), age(t, now)]


def csi_driver(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    requests = spec.get("tokenRequests")
    tokens = _UNSET if requests is None else ",".join(r.get("audience", "") for r in requests)
    flags = [spec.get("attachRequired", True), spec.get("podInfoOnMount", False), spec.get("storageCapacity", False)]
    modes = ",".join(spec.get("volumeLifecycleModes") or ()) or _NONE
    return [name(t, now), *flags, tokens, spec.get("requiresRepublish", False), modes, age(t, now)]


def csi_node(t: Tree, now: float) -> list[Any]:
    return [name(t, now), len(_spec(t).get("drivers") or ()), age(t, now)]


def csi_capacity(t: Tree, now: float) -> list[Any]:
    return [name(t, now), t.get("storageClassName", ""), t.get("capacity", _UNSET)]


def volume_attachment(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    volume = (spec.get("source") or {}).get("persistentVolumeName", "")
    return [name(t, now), spec.get("attacher", ""), volume, spec.get("nodeName", ""), _status(t).get("attached", False), age(t, now)]


# ---- policy, autoscaling, rbac, certificates ----


def budget(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    bounds = [str(spec[n]) if spec.get(n) is not None else "N/A" for n in ("minAvailable", "maxUnavailable")]
    return [name(t, now), *bounds, _status(t).get("disruptionsAllowed", 0), age(t, now)]


_METRIC_PARTS = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metric(spec: Tree, status: Tree) -> str:
    part = _METRIC_PARTS.get(spec.get("type", ""))
    if part is None:
        return "<unknown type>"
    held, seen = spec.get(part) or {}, (status.get(part) or {}).get("current") or {}
    target = held.get("target") or {}
    if part in ("resource", "containerResource"):
        head = f"{held.get('name', '')}: "
        if target.get("averageValue") is not None:
            return f"{head}{seen.get('averageValue', _UNKNOWN)}/{target['averageValue']}"
        now, goal = seen.get("averageUtilization"), target.get("averageUtilization")
        return f"{head}{_UNKNOWN if now is None else f'{now}%'}/{'<auto>' if goal is None else f'{goal}%'}"
    if target.get("averageValue") is not None:
        tail = "" if part == "pods" else " (avg)"
        return f"{seen.get('averageValue', _UNKNOWN)}/{target['averageValue']}{tail}"
    return f"{seen.get('value', _UNKNOWN)}/{target.get('value', '0')}"


def autoscaler(t: Tree, now: float) -> list[Any]:
    """Of an autoscaling/v2 object."""
    spec, status = _spec(t), _status(t)
    target = spec.get("scaleTargetRef") or {}
    specs, seen = spec.get("metrics") or [], status.get("currentMetrics") or []
    parts = [_metric(m, seen[i] if i < len(seen) else {}) for i, m in enumerate(specs)]
    shown = ", ".join(parts[:2]) + (f" + {len(parts) - 2} more..." if len(parts) > 2 else "") if parts else _NONE
    if "targetCPUUtilizationPercentage" in spec:
        current = status.get("currentCPUUtilizationPercentage")
        shown = f"cpu: {_UNKNOWN if current is None else f'{current}%'}/{spec['targetCPUUtilizationPercentage']}%"
    least = spec.get("minReplicas")
    counts = [_UNSET if least is None else str(least), spec.get("maxReplicas", 0), status.get("currentReplicas", 0)]
    return [name(t, now), f"{target.get('kind', '')}/{target.get('name', '')}", shown, *counts, age(t, now)]


def binding(t: Tree, now: float) -> list[Any]:
    role = t.get("roleRef") or {}
    who: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for s in t.get("subjects") or ():
        full = f"{s.get('namespace', '')}/{s.get('name', '')}" if s.get("kind") == "ServiceAccount" else s.get("name", "")
        who.setdefault(s.get("kind", ""), []).append(full)
    lists = [", ".join(who[k]) for k in ("User", "Group", "ServiceAccount")]
    return [name(t, now), f"{role.get('kind', '')}/{role.get('name', '')}", age(t, now), *lists]


def signing_request(t: Tree, now: float) -> list[Any]:
    spec, status = _spec(t), _status(t)
    kinds = {c.get("type") for c in status.get("conditions") or ()}
    word = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    word += ",Failed" if "Failed" in kinds else ""
    word += ",Issued" if status.get("certificate") else ""
    seconds = spec.get("expirationSeconds")
    asked = _NONE if seconds is None else duration(seconds)
    return [name(t, now), age(t, now), spec.get("signerName") or _NONE, spec.get("username", ""), asked, word]


# ---- scheduling, runtime, admission, flow control, extensions ----


def priority_class(t: Tree, now: float) -> list[Any]:
    return [name(t, now), t.get("value", 0), bool(t.get("globalDefault")), age(t, now), t.get("preemptionPolicy", "")]


def runtime_class(t: Tree, now: float) -> list[Any]:
    return [name(t, now), t.get("handler", ""), age(t, now)]


def webhooks(t: Tree, now: float) -> list[Any]:
    return [name(t, now), len(t.get("webhooks") or ()), age(t, now)]


def _param_kind(t: Tree) -> str:
    kind = _spec(t).get("paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else _UNSET


def validating_policy(t: Tree, now: float) -> list[Any]:
    return [name(t, now), len(_spec(t).get("validations") or ()), _param_kind(t), age(t, now)]


def mutating_policy(t: Tree, now: float) -> list[Any]:
    return [name(t, now), len(_spec(t).get("mutations") or ()), _param_kind(t), age(t, now)]


def policy_binding(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    ref = spec.get("paramRef")
    shown = _UNSET
    if ref and ref.get("name"):
        shown = f"{ref.get('namespace') or '*'}/{ref['name']}"
    elif ref and ref.get("selector"):
        shown = selector(ref["selector"])
    return [name(t, now), spec.get("policyName", ""), shown, age(t, now)]


def flow_schema(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
    method = (spec.get("distinguisherMethod") or {}).get("type") or _NONE
    missing = next((c.get("status", "") for c in _status(t).get("conditions") or () if c.get("type") == "Dangling"), "?")
    return [name(t, now), level, spec.get("matchingPrecedence", 0), method, age(t, now), missing]


def priority_level(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    limited = spec.get("limited")
    cells: list[Any] = [_NONE] * 4
    if limited:
        cells[0] = limited.get("nominalConcurrencyShares", 0)
        queuing = (limited.get("limitResponse") or {}).get("queuing")
        if queuing:
            cells[1:] = [queuing.get("queues", 0), queuing.get("handSize", 0), queuing.get("queueLengthLimit", 0)]
    return [name(t, now), spec.get("type", ""), *cells, age(t, now)]


def resource_claim(t: Tree, now: float) -> list[Any]:
    status = _status(t)
    deleted = bool(t["metadata"].get("deletionTimestamp"))
    states = ["deleted"] if deleted else []
    if status.get("allocation"):
        states += ["allocated", "reserved"] if status.get("reservedFor") else ["allocated"]
    elif not deleted:
        states.append("pending")
    return [name(t, now), ",".join(states), age(t, now)]


def resource_slice(t: Tree, now: float) -> list[Any]:
    spec = _spec(t)
    return [name(t, now), spec.get("nodeName", ""), spec.get("driver", ""), (spec.get("pool") or {}).get("name", ""), age(t, now)]


def api_service(t: Tree, now: float) -> list[Any]:
    ref = _spec(t).get("service")
    where = f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "Local"
    held = next((c for c in _status(t).get("conditions") or () if c.get("type") == "Available"), None)
    shown = "Unknown"
    if held is not None:
        word, reason = held.get("status", ""), held.get("reason")
        shown = word if word == "True" or not reason else f"{word} ({reason})"
    return [name(t, now), where, shown, age(t, now)]
