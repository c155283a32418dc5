"""Rules of what a pod runs: the spec of pods and of pod templates, and what parts of it other kinds share (node selectors, tolerations).

Upstream counterpart: ValidatePodSpec and ValidatePodTemplateSpec in pkg/apis/core/validation.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds import checks, containers, metadata, volumes
from navarch.apiserver.kinds.checks import Found
from navarch.machinery import codec, field, names


def template(found: Found, path: str, held: core_v1.PodTemplateSpec) -> None:
    """Problems of a pod template."""
    if held.metadata is not None:
        checks.labels(found, f"{path}.labels", held.metadata.labels)
        if held.metadata.annotations:
            found += metadata.annotation_map(held.metadata.annotations, f"{path}.annotations")
    assert held.spec is not None
    pod_spec(found, f"{path}.spec", held.spec, "", is_pod=False)
    if held.spec.ephemeralContainers:
        found.append(field.forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))


_DNS = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")


def pod_spec(found: Found, at: str, spec: core_v1.PodSpec, name: str, *, is_pod: bool) -> None:
    """Problems of what a pod is made of. The order is upstream's."""
    if spec.terminationGracePeriodSeconds is None:
        found.append(field.required(f"{at}.terminationGracePeriodSeconds"))
    declared = volumes.check(found, f"{at}.volumes", spec.volumes, name)
    if spec.resourceClaims:
        _claims(found, f"{at}.resourceClaims", spec.resourceClaims)
    scope = containers.Scope(spec, declared)
    seen = containers.check_main(found, f"{at}.containers", spec.containers, scope)
    if spec.initContainers:
        containers.check_init(found, f"{at}.initContainers", spec.initContainers, scope, seen)
    if spec.ephemeralContainers:
        containers.check_ephemeral(found, f"{at}.ephemeralContainers", spec, scope)
    if spec.resources is not None:
        _pod_resources(found, f"{at}.resources", spec)
    if spec.hostNetwork:
        _host_network(found, at, spec, is_pod=is_pod)
    if spec.restartPolicy not in _RESTART:
        checks.one_of(found, f"{at}.restartPolicy", spec.restartPolicy, _RESTART)
    if spec.dnsPolicy not in _DNS:
        checks.one_of(found, f"{at}.dnsPolicy", spec.dnsPolicy, _DNS)
    checks.labels(found, f"{at}.nodeSelector", spec.nodeSelector)
    if spec.securityContext is not None:
        _security(found, at, spec, spec.securityContext)
    if spec.affinity is not None:
        _affinity(found, f"{at}.affinity", spec.affinity)
    if spec.dnsConfig is not None or spec.dnsPolicy == "None":
        _dns(found, f"{at}.dnsConfig", spec)
    for i, gate in enumerate(spec.readinessGates or ()):
        checks.qualified(found, f"{at}.readinessGates[{i}].conditionType", gate.conditionType or "")
    if spec.schedulingGates:
        _gates(found, f"{at}.schedulingGates", spec.schedulingGates)
    if spec.topologySpreadConstraints:
        _spread(found, f"{at}.topologySpreadConstraints", spec.topologySpreadConstraints)
    if spec.hostUsers is False:
        _own_users(found, at, spec)
    _names(found, at, spec)
    if spec.tolerations:
        tolerations(found, f"{at}.tolerations", spec.tolerations)
    for i, alias in enumerate(spec.hostAliases or ()):
        checks.address(found, f"{at}.hostAliases[{i}].ip", alias.ip or "")
        for j, host in enumerate(alias.hostnames or ()):
            checks.subdomain(found, f"{at}.hostAliases[{i}].hostnames[{j}]", host)
    if spec.preemptionPolicy is not None:
        checks.one_of(found, f"{at}.preemptionPolicy", spec.preemptionPolicy, ("PreemptLowerPriority", "Never"))
    if spec.os is not None:
        _system(found, f"{at}.os", spec.os)


def _system(found: Found, at: str, system: core_v1.PodOS) -> None:
    if not system.name:
        found.append(field.required(f"{at}.name", "cannot be empty"))
    elif system.name not in ("linux", "windows"):
        found.append(field.not_supported(at, system.name, ("linux", "windows")))


def _names(found: Found, at: str, spec: core_v1.PodSpec) -> None:
    for part in ("serviceAccountName", "nodeName"):
        value = getattr(spec, part)
        if value and (problems := names.dns_subdomain(value)):
            found += (field.invalid(f"{at}.{part}", value, p) for p in problems)
    seconds = spec.activeDeadlineSeconds
    if seconds is not None and not 1 <= seconds <= checks.MOST_INT32:
        found.append(field.invalid(f"{at}.activeDeadlineSeconds", seconds, checks.between(1, checks.MOST_INT32)))
    for part in ("hostname", "subdomain"):
        value = getattr(spec, part)
        if value:
            checks.label(found, f"{at}.{part}", value)
    for part in ("priorityClassName", "runtimeClassName"):
        value = getattr(spec, part)
        if value and (problems := names.dns_subdomain(value)):
            found += (field.invalid(f"{at}.{part}", value, p) for p in problems)


def _own_users(found: Found, at: str, spec: core_v1.PodSpec) -> None:
    """A pod in a user namespace of its own shares no other namespace with the host, and has no raw devices."""
    for held, name in ((spec.hostNetwork, "hostNetwork"), (spec.hostPID, "HostPID"), (spec.hostIPC, "HostIPC")):
        if held:
            found.append(field.forbidden(f"{at}.{name}", "when `hostUsers` is false"))
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(getattr(spec, part) or ()):
            if container.volumeDevices:
                found.append(field.forbidden(f"{at}.{part}[{i}].volumeDevices", "when `hostUsers` is false"))


def _spread(found: Found, path: str, constraints: Sequence[core_v1.TopologySpreadConstraint]) -> None:
    for i, c in enumerate(constraints):
        at = f"{path}[{i}]"
        if (c.maxSkew or 0) <= 0:
            found.append(field.invalid(f"{at}.maxSkew", c.maxSkew or 0, "must be greater than zero"))
        if not c.topologyKey:
            found.append(field.required(f"{at}.topologyKey", "can not be empty"))
        else:
            checks.qualified(found, f"{at}.topologyKey", c.topologyKey)
        if c.whenUnsatisfiable not in ("DoNotSchedule", "ScheduleAnyway"):
            found.append(field.not_supported(f"{at}.whenUnsatisfiable", c.whenUnsatisfiable or "", ("DoNotSchedule", "ScheduleAnyway")))
        for other in constraints[i + 1 :]:
            if (other.topologyKey, other.whenUnsatisfiable) == (c.topologyKey, c.whenUnsatisfiable):
                shown = f"{{{c.topologyKey}, {c.whenUnsatisfiable}}}"
                found.append(field.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", shown))
                break
        if c.minDomains is not None:
            if c.minDomains <= 0:
                found.append(field.invalid(f"{at}.minDomains", c.minDomains, "must be greater than zero"))
            if c.whenUnsatisfiable != "DoNotSchedule":
                why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {c.whenUnsatisfiable}"
                found.append(field.invalid(f"{at}.minDomains", c.minDomains, why))
        for part in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            value = getattr(c, part)
            if value is not None:
                checks.one_of(found, f"{at}.{part}", value, ("Honor", "Ignore"))
        checks.selector(found, f"{at}.labelSelector", c.labelSelector)


def _gates(found: Found, path: str, gates: Sequence[core_v1.PodSchedulingGate]) -> None:
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        name = gate.name or ""
        checks.qualified(found, f"{path}[{i}]", name)
        if name in seen:
            found.append(field.duplicate(f"{path}[{i}]", name))
        seen.add(name)


def _dns(found: Found, at: str, spec: core_v1.PodSpec) -> None:
    held = spec.dnsConfig
    if spec.dnsPolicy == "None":
        if held is None:
            found.append(field.required(at, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not held.nameservers:
            found.append(field.required(f"{at}.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None"))
            return
    if held is None:
        return
    servers, searches = held.nameservers or [], held.searches or []
    if len(servers) > 3:
        found.append(field.invalid(f"{at}.nameservers", servers, "must not have more than 3 nameservers"))
    for i, server in enumerate(servers):
        checks.address(found, f"{at}.nameservers[{i}]", server)
    if len(searches) > 32:
        found.append(field.invalid(f"{at}.searches", searches, "must not have more than 32 search paths"))
    if len(" ".join(searches)) > 2048:
        why = "must not have more than 2048 characters (including spaces) in the search list"
        found.append(field.invalid(f"{at}.searches", searches, why))
    for i, search in enumerate(searches):
        if search != ".":
            checks.subdomain(found, f"{at}.searches[{i}]", search.removesuffix(".").replace("_", "-").strip("-") or search)
    for i, option in enumerate(held.options or ()):
        if not option.name:
            found.append(field.required(f"{at}.options[{i}]", "must not be empty"))


def _affinity(found: Found, at: str, affinity: core_v1.Affinity) -> None:
    node = affinity.nodeAffinity
    if node is not None:
        required = node.requiredDuringSchedulingIgnoredDuringExecution
        if required is not None:
            node_selector(found, f"{at}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", required)
        for i, preferred in enumerate(node.preferredDuringSchedulingIgnoredDuringExecution or ()):
            path = f"{at}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            _weight(found, f"{path}.weight", preferred.weight)
            if preferred.preference is not None:
                _term(found, f"{path}.preference", preferred.preference)
    for part in ("podAffinity", "podAntiAffinity"):
        held = getattr(affinity, part)
        if held is None:
            continue
        for i, term in enumerate(held.requiredDuringSchedulingIgnoredDuringExecution or ()):
            _pod_term(found, f"{at}.{part}.requiredDuringSchedulingIgnoredDuringExecution[{i}]", term)
        for i, weighted in enumerate(held.preferredDuringSchedulingIgnoredDuringExecution or ()):
            path = f"{at}.{part}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            _weight(found, f"{path}.weight", weighted.weight)
            if weighted.podAffinityTerm is not None:
                _pod_term(found, f"{path}.podAffinityTerm", weighted.podAffinityTerm)


def _pod_term(found: Found, at: str, term: core_v1.PodAffinityTerm) -> None:
    checks.selector(found, f"{at}.labelSelector", term.labelSelector)
    checks.selector(found, f"{at}.namespaceSelector", term.namespaceSelector)
    for namespace in term.namespaces or ():
        checks.label(found, f"{at}.namespace", namespace)
    if not term.topologyKey:
        found.append(field.required(f"{at}.topologyKey", "can not be empty"))
    checks.qualified(found, f"{at}.topologyKey", term.topologyKey or "")


def _weight(found: Found, path: str, weight: int | None) -> None:
    if not 1 <= (weight or 0) <= 100:
        found.append(field.invalid(path, weight or 0, "must be in the range 1-100"))


def _security(found: Found, at: str, spec: core_v1.PodSpec, held: core_v1.PodSecurityContext) -> None:
    base = f"{at}.securityContext"
    for part in ("fsGroup", "runAsUser", "runAsGroup"):
        containers.identity(found, f"{base}.{part}", getattr(held, part))
    for i, group in enumerate(held.supplementalGroups or ()):
        containers.identity(found, f"{base}.supplementalGroups[{i}]", group)
    if spec.shareProcessNamespace and spec.hostPID:
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        found.append(field.invalid(f"{base}.shareProcessNamespace", True, why))
    seen: set[str] = set()
    for i, sysctl in enumerate(held.sysctls or ()):
        _sysctl(found, f"{base}.sysctls[{i}]", sysctl, seen)
    if held.fsGroupChangePolicy is not None:
        checks.one_of(found, f"{base}.fsGroupChangePolicy", held.fsGroupChangePolicy, ("Always", "OnRootMismatch"))
    containers.profile(found, f"{base}.seccompProfile", held.seccompProfile)
    containers.profile(found, f"{base}.appArmorProfile", held.appArmorProfile)
    if held.supplementalGroupsPolicy is not None:
        checks.one_of(found, f"{base}.supplementalGroupsPolicy", held.supplementalGroupsPolicy, ("Merge", "Strict"))


_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"


def _sysctl(found: Found, at: str, sysctl: core_v1.Sysctl, seen: set[str]) -> None:
    name = sysctl.name or ""
    if not name:
        found.append(field.required(f"{at}.name"))
    elif len(name) > 253 or not re.fullmatch(_SYSCTL, name):
        found.append(field.invalid(f"{at}.name", name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
    elif name in seen:
        found.append(field.duplicate(f"{at}.name", name))
    seen.add(name)


def _host_network(found: Found, at: str, spec: core_v1.PodSpec, *, is_pod: bool) -> None:
    for i, container in enumerate(spec.containers or ()):
        for j, port in enumerate(container.ports or ()):
            if (is_pod or port.hostPort) and port.hostPort != port.containerPort:
                why = "must match `containerPort` when `hostNetwork` is true"
                found.append(field.invalid(f"{at}.containers[{i}].ports[{j}].hostPort", port.hostPort or 0, why))


def _pod_resources(found: Found, at: str, spec: core_v1.PodSpec) -> None:
    held = spec.resources
    assert held is not None
    if held.claims:
        found.append(field.forbidden(f"{at}.claims", "claims may not be set for Resources at pod-level"))
    for part in ("limits", "requests"):
        for name in getattr(held, part) or ():
            if name not in ("cpu", "memory") and not name.startswith("hugepages-"):
                found.append(field.not_supported(f"{at}.{part}[{name}]", name, ("cpu", "hugepages-", "memory")))
    containers.resources(found, at, core_v1.ResourceRequirements(limits=held.limits, requests=held.requests), frozenset())


def _claims(found: Found, path: str, claims: Sequence[core_v1.PodResourceClaim]) -> None:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        if not claim.name:
            found.append(field.required(f"{path}[{i}].name"))
        elif claim.name in seen:
            found.append(field.duplicate(f"{path}[{i}].name", claim.name))
        else:
            seen.add(claim.name)
            checks.label(found, f"{path}[{i}].name", claim.name)
        given = [n for n in (claim.resourceClaimName, claim.resourceClaimTemplateName) if n is not None]
        why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        if not given:
            found.append(field.invalid(f"{path}[{i}]", codec.to_tree(claim), why))
        elif len(given) > 1:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            found.append(field.invalid(f"{path}[{i}]", codec.to_tree(claim), why))


def node_selector(found: Found, at: str, selector: core_v1.NodeSelector) -> None:
    terms = selector.nodeSelectorTerms or ()
    if not terms:
        found.append(field.required(f"{at}.nodeSelectorTerms", "must have at least one node selector term"))
    for i, term in enumerate(terms):
        _term(found, f"{at}.nodeSelectorTerms[{i}]", term)


def _term(found: Found, at: str, term: core_v1.NodeSelectorTerm) -> None:
    for i, e in enumerate(term.matchExpressions or ()):
        path = f"{at}.matchExpressions[{i}]"
        _node_requirement(found, path, e)
        checks.qualified(found, f"{path}.key", e.key or "")
        for j, value in enumerate(e.values or ()):
            found += (field.invalid(f"{path}.values[{j}]", value, p) for p in names.label_value(value))
    for i, e in enumerate(term.matchFields or ()):
        path = f"{at}.matchFields[{i}]"
        if e.operator not in ("In", "NotIn"):
            found.append(field.invalid(f"{path}.operator", e.operator or "", "not a valid selector operator"))
        elif len(e.values or ()) != 1:
            found.append(field.required(f"{path}.values", "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
        if e.key != "metadata.name":
            found.append(field.invalid(f"{path}.key", e.key or "", "not a valid field selector key"))


def _node_requirement(found: Found, path: str, e: core_v1.NodeSelectorRequirement) -> None:
    count = len(e.values or ())
    if e.operator in ("In", "NotIn"):
        if not count:
            found.append(field.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif e.operator in ("Exists", "DoesNotExist"):
        if count:
            found.append(field.forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif e.operator in ("Gt", "Lt"):
        if count != 1:
            found.append(field.required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        found.append(field.invalid(f"{path}.operator", e.operator or "", "not a valid selector operator"))


def difference(old: Any, new: Any) -> str:
    """A unified diff of two values as indented JSON, names as Go writes them."""
    texts = [json.dumps(_go_names(codec.to_tree(v)), indent=1).splitlines(keepends=True) for v in (old, new)]
    lines = list(difflib.unified_diff(texts[0], texts[1], n=3))[2:]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _go_names(value: Any) -> Any:
    if isinstance(value, dict):
        return {k[:1].upper() + k[1:]: _go_names(v) for k, v in value.items()}
    return [_go_names(v) for v in value] if isinstance(value, list) else value


def tolerations(found: Found, path: str, held: Sequence[core_v1.Toleration]) -> None:
    for i, t in enumerate(held):
        if t.key:
            if problems := names.qualified_name(t.key):
                found += (field.invalid(f"{path}[{i}].key", t.key, p) for p in problems)
        elif t.operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(field.invalid(f"{path}[{i}].operator", t.operator or "", why))
        if t.tolerationSeconds is not None and t.effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            found.append(field.invalid(f"{path}[{i}].effect", t.effect or "", why))
        if t.operator in ("Equal", "", None):
            if t.value and (problems := names.label_value(t.value)):
                found.append(field.invalid(f"{path}[{i}].operator", t.value, ";".join(problems)))
        elif t.operator == "Exists":
            if t.value:
                found.append(field.invalid(f"{path}[{i}].operator", t.value, "value must be empty when `operator` is 'Exists'"))
        else:
            found.append(field.not_supported(f"{path}[{i}].operator", t.operator, ("Equal", "Exists")))
        if t.effect and t.effect not in _EFFECTS:
            found.append(field.not_supported(f"{path}[{i}].effect", t.effect, _EFFECTS))


_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_RESTART = ("Always", "OnFailure", "Never")
