"""Rules of containers: names, images, ports, environment, mounts, resources, probes, hooks, security contexts.

Upstream counterpart: validateContainers and what it calls in pkg/apis/core/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from navarch.api.core import v1 as core_v1
from navarch.api.scalars import Quantity
from navarch.apiserver.kinds import checks, volumes
from navarch.apiserver.kinds.checks import Found
from navarch.lib import texts
from navarch.machinery import codec, field, names, quantity

AnyContainer = core_v1.Container | core_v1.EphemeralContainer
_PULL = ("Always", "IfNotPresent", "Never")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ONE_HANDLER = "may not specify more than 1 handler type"
_STANDARD = frozenset({"cpu", "memory", "ephemeral-storage"})
_KNOWN = frozenset(
    {
        "cpu", "memory", "ephemeral-storage", "storage", "pods", "services", "replicationcontrollers", "resourcequotas", "secrets",
        "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers", "requests.cpu", "requests.memory",
        "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    }
)  # fmt: skip
_NO_EPHEMERAL = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


class Scope:
    """What containers are checked against: the pod's volumes, claims and grace period."""

    __slots__ = ("claims", "grace", "own_users", "policy", "volumes")

    def __init__(self, spec: core_v1.PodSpec, volumes: Mapping[str, core_v1.Volume]) -> None:
        self.volumes = volumes
        self.claims = frozenset(c.name for c in spec.resourceClaims or ())
        self.grace = spec.terminationGracePeriodSeconds
        self.policy = spec.restartPolicy
        self.own_users = spec.hostUsers is False


def check_main(found: Found, path: str, containers: Sequence[core_v1.Container] | None, scope: Scope) -> set[str]:
    """Checks a pod's main containers and returns their names."""
    seen: set[str] = set()
    if not containers:
        found.append(field.required(path))
        return seen
    for i, container in enumerate(containers):
        at = f"{path}[{i}]"
        _shared(found, at, container, scope)
        name = container.name or ""
        if name in seen:
            found.append(field.duplicate(f"{at}.name", name))
        seen.add(name)
        _running(found, at, container, scope)
        _restart_policy(found, at, container)
    _host_ports(found, path, containers)
    return seen


def check_init(found: Found, path: str, containers: Sequence[core_v1.Container] | None, scope: Scope, seen: set[str]) -> None:
    why = "may not be set for init containers without restartPolicy=Always"
    for i, container in enumerate(containers or ()):
        at = f"{path}[{i}]"
        _shared(found, at, container, scope)
        _restart_policy(found, at, container)
        name = container.name or ""
        if name in seen:
            found.append(field.duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        _host_ports(found, path, [container])
        if container.restartPolicy == "Always":
            _running(found, at, container, scope)
            continue
        for part in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, part) is not None:
                found.append(field.forbidden(f"{at}.{part}", why))


def check_ephemeral(found: Found, path: str, spec: core_v1.PodSpec, scope: Scope) -> None:
    others = {c.name for c in (*(spec.containers or ()), *(spec.initContainers or ()))}
    seen = set(others)
    why = "cannot be set for an Ephemeral Container"
    for i, container in enumerate(spec.ephemeralContainers or ()):
        at = f"{path}[{i}]"
        _shared(found, at, container, scope)
        if container.name in seen:
            found.append(field.duplicate(f"{at}.name", container.name))
        seen.add(container.name)
        if container.targetContainerName and container.targetContainerName not in others:
            found.append(field.not_found(f"{at}.targetContainerName", container.targetContainerName))
        found += (field.forbidden(f"{at}.{part}", why) for part in _NO_EPHEMERAL if getattr(container, part))
        held = container.resources
        if held is not None and (held.limits or held.requests or held.claims):
            found.append(field.forbidden(f"{at}.resources", why))
        for j, mount in enumerate(container.volumeMounts or ()):
            for part in ("subPath", "subPathExpr"):
                if getattr(mount, part):
                    found.append(field.forbidden(f"{at}.volumeMounts[{j}].{part}", why))


def _restart_policy(found: Found, at: str, container: core_v1.Container) -> None:
    if container.restartPolicy is None:
        if container.restartPolicyRules:
            why = "must specify restartPolicy when restart rules are used"
            found.append(field.required(f"{at}.restartPolicy", why))
        return
    checks.one_of(found, f"{at}.restartPolicy", container.restartPolicy, ("Always", "Never", "OnFailure"))


def _shared(found: Found, at: str, c: AnyContainer, scope: Scope) -> None:
    """What holds for every sort of container."""
    if not c.name:
        found.append(field.required(f"{at}.name"))
    elif problems := names.dns_label(c.name):
        found += (field.invalid(f"{at}.name", c.name, p) for p in problems)
    if not c.image:
        found.append(field.required(f"{at}.image"))
    if c.terminationMessagePolicy not in ("File", "FallbackToLogsOnError"):
        checks.one_of(found, f"{at}.terminationMessagePolicy", c.terminationMessagePolicy, ("File", "FallbackToLogsOnError"))
    if c.ports:
        _ports(found, f"{at}.ports", c.ports)
    if c.env:
        _env(found, f"{at}.env", c.env)
    if c.envFrom:
        _env_from(found, f"{at}.envFrom", c.envFrom)
    if c.volumeMounts:
        _mounts(found, f"{at}.volumeMounts", c, scope)
    if c.volumeDevices:
        _devices(found, f"{at}.volumeDevices", c, scope)
    if c.imagePullPolicy not in _PULL:
        checks.one_of(found, f"{at}.imagePullPolicy", c.imagePullPolicy, _PULL)
    if c.resources is not None:
        resources(found, f"{at}.resources", c.resources, scope.claims)
    if c.resizePolicy:
        _resize_policies(found, f"{at}.resizePolicy", c.resizePolicy, scope.policy)
    if c.securityContext is not None:
        _security(found, f"{at}.securityContext", c.securityContext, scope)


def _running(found: Found, at: str, c: core_v1.Container, scope: Scope) -> None:
    """Hooks and probes."""
    if c.lifecycle is not None:
        for part in ("postStart", "preStop"):
            handler = getattr(c.lifecycle, part)
            if handler is not None:
                _handler(found, f"{at}.lifecycle.{part}", handler, scope.grace)
    if c.livenessProbe is not None:
        _probe(found, f"{at}.livenessProbe", c.livenessProbe, scope.grace, once=True)
    if c.readinessProbe is not None:
        _probe(found, f"{at}.readinessProbe", c.readinessProbe, scope.grace)
        seconds = c.readinessProbe.terminationGracePeriodSeconds
        if seconds is not None:
            path = f"{at}.readinessProbe.terminationGracePeriodSeconds"
            found.append(field.invalid(path, seconds, "must not be set for readinessProbes"))
    if c.startupProbe is not None:
        _probe(found, f"{at}.startupProbe", c.startupProbe, scope.grace, once=True)


_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")


def _probe(found: Found, at: str, probe: core_v1.Probe, grace: int | None, *, once: bool = False) -> None:
    _handler(found, at, probe, grace)
    for name in _PROBE_NUMBERS:
        value = getattr(probe, name)
        if value is not None and value < 0:
            found.append(field.invalid(f"{at}.{name}", value, checks.NOT_NEGATIVE))
    seconds = probe.terminationGracePeriodSeconds
    if seconds is not None and seconds <= 0:
        found.append(field.invalid(f"{at}.terminationGracePeriodSeconds", seconds, "must be greater than 0"))
    if once and probe.successThreshold != 1:
        found.append(field.invalid(f"{at}.successThreshold", probe.successThreshold or 0, "must be 1"))


def _handler(found: Found, at: str, handler: core_v1.Probe | core_v1.LifecycleHandler, grace: int | None) -> None:
    count = 0
    for kind in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        held: Any = getattr(handler, kind, None)
        if held is None:
            continue
        count += 1
        if count > 1:
            found.append(field.forbidden(f"{at}.{kind}", _ONE_HANDLER))
        elif kind == "exec":
            if not held.command:
                found.append(field.required(f"{at}.exec.command"))
        elif kind == "httpGet":
            _http(found, f"{at}.httpGet", held)
        elif kind == "sleep":
            if grace is not None and not 0 <= (held.seconds or 0) <= grace:
                why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                found.append(field.invalid(f"{at}.sleep", held.seconds or 0, why))
        else:
            checks.port(found, f"{at}.{kind}.port", held.port)
    if not count:
        found.append(field.required(at, "must specify a handler type"))


def _http(found: Found, at: str, action: core_v1.HTTPGetAction) -> None:
    if not action.path:
        found.append(field.required(f"{at}.path"))
    checks.port(found, f"{at}.port", action.port)
    if action.scheme not in ("HTTP", "HTTPS"):
        found.append(field.not_supported(f"{at}.scheme", action.scheme or "", ("HTTP", "HTTPS")))
    for header in action.httpHeaders or ():
        name = header.name or ""
        if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            form = "[-A-Za-z0-9]+"
            why = names.regex_message("a valid HTTP header must consist of alphanumeric characters or '-'", form, "X-Header-Name")
            found.append(field.invalid(f"{at}.httpHeaders", name, why))


def _ports(found: Found, path: str, ports: Sequence[core_v1.ContainerPort]) -> None:
    seen: set[str] = set()
    for i, port in enumerate(ports):
        if port.name:
            if problems := names.port_name(port.name):
                found += (field.invalid(f"{path}[{i}].name", port.name, p) for p in problems)
            elif port.name in seen:
                found.append(field.duplicate(f"{path}[{i}].name", port.name))
            else:
                seen.add(port.name)
        if not port.containerPort:
            found.append(field.required(f"{path}[{i}].containerPort"))
        elif not 1 <= port.containerPort <= 65535:
            checks.port_number(found, f"{path}[{i}].containerPort", port.containerPort)
        if port.hostPort and not 1 <= port.hostPort <= 65535:
            checks.port_number(found, f"{path}[{i}].hostPort", port.hostPort)
        if port.protocol not in _PROTOCOLS:
            checks.one_of(found, f"{path}[{i}].protocol", port.protocol, _PROTOCOLS)


def _host_ports(found: Found, path: str, containers: Iterable[core_v1.Container]) -> None:
    seen: set[str] = set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.ports or ()):
            if port.hostPort:
                text = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
                if text in seen:
                    found.append(field.duplicate(f"{path}[{i}].ports[{j}].hostPort", text))
                seen.add(text)


def _env(found: Found, path: str, variables: Sequence[core_v1.EnvVar]) -> None:
    for i, variable in enumerate(variables):
        if not variable.name:
            found.append(field.required(f"{path}[{i}].name"))
        elif problems := names.env_var_name(variable.name):
            found += (field.invalid(f"{path}[{i}].name", variable.name, p) for p in problems)
        if variable.valueFrom is not None:
            _value_from(found, f"{path}[{i}].valueFrom", variable, variable.valueFrom)


def _key(found: Found, at: str, ref: core_v1.ConfigMapKeySelector | core_v1.SecretKeySelector) -> None:
    checks.subdomain(found, f"{at}.name", ref.name or "")
    if not ref.key:
        found.append(field.required(f"{at}.key"))
    else:
        found += (field.invalid(f"{at}.key", ref.key, p) for p in names.config_map_key(ref.key))


def _value_from(found: Found, at: str, variable: core_v1.EnvVar, source: core_v1.EnvVarSource) -> None:
    count = 0
    if source.fieldRef is not None:
        count += 1
        volumes.field_ref(found, f"{at}.fieldRef", source.fieldRef)
    if source.resourceFieldRef is not None:
        count += 1
        volumes.resource_ref(found, f"{at}.resourceFieldRef", source.resourceFieldRef, named=False)
    if source.configMapKeyRef is not None:
        count += 1
        _key(found, f"{at}.configMapKeyRef", source.configMapKeyRef)
    if source.secretKeyRef is not None:
        count += 1
        _key(found, f"{at}.secretKeyRef", source.secretKeyRef)
    if source.fileKeyRef is not None:
        count += 1
    if count == 0:
        why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        found.append(field.invalid(at, "", why))
    elif variable.value:
        found.append(field.invalid(at, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        found.append(field.invalid(at, "", "may not have more than one field specified at a time"))


def _env_from(found: Found, path: str, sources: Sequence[core_v1.EnvFromSource]) -> None:
    for i, source in enumerate(sources):
        if source.prefix:
            found += (field.invalid(f"{path}[{i}].prefix", source.prefix, p) for p in names.env_var_name(source.prefix))
        refs = [(n, getattr(source, n)) for n in ("configMapRef", "secretRef") if getattr(source, n) is not None]
        found += (field.required(f"{path}[{i}].{n}.name") for n, ref in refs if not ref.name)
        if not refs:
            found.append(field.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(refs) > 1:
            found.append(field.invalid(path, "", "may not have more than one field specified at a time"))


_PROPAGATION = ("Bidirectional", "HostToContainer", "None")


def _mounts(found: Found, path: str, c: AnyContainer, scope: Scope) -> None:
    seen: set[str] = set()
    devices = {d.name: d.devicePath for d in c.volumeDevices or ()}
    for i, mount in enumerate(c.volumeMounts or ()):
        name, where = mount.name or "", mount.mountPath or ""
        if not name:
            found.append(field.required(f"{path}[{i}].name"))
        if name not in scope.volumes:
            found.append(field.not_found(f"{path}[{i}].name", name))
        if not where:
            found.append(field.required(f"{path}[{i}].mountPath"))
        if where in seen:
            found.append(field.invalid(f"{path}[{i}].mountPath", where, "must be unique"))
        seen.add(where)
        if devices:
            if name in devices:
                found.append(field.invalid(f"{path}[{i}].name", name, "must not already exist in volumeDevices"))
            if where in devices.values():
                found.append(field.invalid(f"{path}[{i}].mountPath", where, "must not already exist as a path in volumeDevices"))
        if mount.subPath:
            volumes.descending(found, f"{path}.subPath", mount.subPath)
        if mount.subPathExpr:
            if mount.subPath:
                why = "subPathExpr and subPath are mutually exclusive"
                found.append(field.invalid(f"{path}[{i}].subPathExpr", mount.subPathExpr, why))
            volumes.descending(found, f"{path}.subPathExpr", mount.subPathExpr)
        if mount.mountPropagation is not None:
            checks.one_of(found, f"{path}.mountPropagation", mount.mountPropagation, _PROPAGATION)
            privileged = c.securityContext is not None and c.securityContext.privileged
            if mount.mountPropagation == "Bidirectional" and not privileged:
                why = "Bidirectional mount propagation is available only to privileged containers"
                found.append(field.forbidden(f"{path}.mountPropagation", why))


def _devices(found: Found, path: str, c: AnyContainer, scope: Scope) -> None:
    for i, device in enumerate(c.volumeDevices or ()):
        if not device.name:
            found.append(field.required(f"{path}[{i}].name"))
        volume = scope.volumes.get(device.name or "")
        if volume is None:
            found.append(field.not_found(f"{path}[{i}].name", device.name or ""))
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            found.append(field.invalid(f"{path}[{i}].name", device.name, why))
        if not device.devicePath:
            found.append(field.required(f"{path}[{i}].devicePath"))


# ---- resources ----


@texts.remembered(1024)
def _resource_name(name: str) -> tuple[str, ...]:
    problems = names.qualified_name(name)
    if problems:
        return problems
    if "/" not in name:
        made: tuple[str, ...] = ()
        if name not in _KNOWN and not name.startswith(("hugepages-", "requests.hugepages-")):
            made = ("must be a standard resource type or fully qualified",)
        if name not in _STANDARD and not name.startswith("hugepages-"):
            made = (*made, "must be a standard resource for containers")
        return made
    if "kubernetes.io/" not in name and name.startswith("requests."):
        return ("doesn't follow extended resource name standard",)
    return ()


def overcommits(name: str) -> bool:
    """Whether a limit may be larger than its request."""
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith("hugepages-")


def _amounts(found: Found, path: str, held: Mapping[str, Quantity]) -> None:
    for name, value in held.items():
        if problems := _resource_name(name):
            found += (field.invalid(f"{path}[{name}]" if len(problems) else path, name, p) for p in problems)
        nano = quantity.parse(value).nano
        if nano < 0:
            found.append(field.invalid(f"{path}[{name}]", str(value), checks.NOT_NEGATIVE))
        elif nano % quantity.NANO and "/" in name and "kubernetes.io/" not in name:
            found.append(field.invalid(f"{path}[{name}]", str(value), "must be an integer"))


def resources(found: Found, at: str, held: core_v1.ResourceRequirements, claims: frozenset[str | None]) -> None:
    limits, requests = held.limits or {}, held.requests or {}
    if limits:
        _amounts(found, f"{at}.limits", limits)
    for name, value in requests.items():
        _amounts(found, f"{at}.requests", {name: value})
        limit = limits.get(name)
        if limit is not None:
            order = quantity.compare(value, limit)
            if order and not overcommits(name):
                found.append(field.invalid(f"{at}.requests", str(value), f"must be equal to {name} limit of {limit}"))
            elif order > 0:
                found.append(field.invalid(f"{at}.requests", str(value), f"must be less than or equal to {name} limit of {limit}"))
        elif not overcommits(name):
            found.append(field.required(f"{at}.limits", "Limit must be set for non overcommitable resources"))
    pages = any(n.startswith("hugepages-") for n in (*limits, *requests))
    if pages and not any(n in ("cpu", "memory") for n in (*limits, *requests)):
        found.append(field.forbidden(at, "HugePages require cpu or memory"))
    seen: set[str] = set()
    for i, claim in enumerate(held.claims or ()):
        name = claim.name or ""
        if not name:
            found.append(field.required(f"{at}.claims[{i}]"))
        elif name in seen:
            found.append(field.duplicate(f"{at}.claims[{i}]", name))
        elif name not in claims:
            found.append(field.not_found(f"{at}.claims[{i}]", name))
        seen.add(name)


def _resize_policies(found: Found, path: str, policies: Sequence[core_v1.ContainerResizePolicy], pod_policy: str | None) -> None:
    seen: set[str] = set()
    for i, policy in enumerate(policies):
        name = policy.resourceName or ""
        if name in seen:
            found.append(field.duplicate(f"{path}[{i}]", name))
        seen.add(name)
        checks.one_of(found, f"{path}[{i}].resourceName" if not name else path, name, ("cpu", "memory"))
        checks.one_of(found, path, policy.restartPolicy, ("NotRequired", "RestartContainer"))
        if pod_policy == "Never" and policy.restartPolicy != "NotRequired":
            why = 'must be "NotRequired" when `restartPolicy` is "Never"'
            found.append(field.invalid(path, policy.restartPolicy, why.replace('"', "'")))


# ---- security ----

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")


def identity(found: Found, path: str, value: int | None) -> None:
    """A user or group id."""
    if value is not None and not 0 <= value <= checks.MOST_INT32:
        found.append(field.invalid(path, value, checks.between(0, checks.MOST_INT32)))


def profile(found: Found, at: str, held: core_v1.SeccompProfile | core_v1.AppArmorProfile | None) -> None:
    """A seccomp or AppArmor profile."""
    if held is None:
        return
    if held.type == "Localhost":
        if not held.localhostProfile:
            found.append(field.required(f"{at}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            volumes.descending(found, f"{at}.localhostProfile", held.localhostProfile)
    elif held.localhostProfile is not None:
        why = "can only be set when seccomp type is Localhost"
        found.append(field.invalid(f"{at}.localhostProfile", held.localhostProfile, why))
    if held.type not in _PROFILES:
        if not held.type:
            found.append(field.required(f"{at}.type", "type is required when seccompProfile is set"))
        else:
            found.append(field.not_supported(f"{at}.type", held.type, _PROFILES))


def _security(found: Found, at: str, held: core_v1.SecurityContext, scope: Scope) -> None:
    identity(found, f"{at}.runAsUser", held.runAsUser)
    identity(found, f"{at}.runAsGroup", held.runAsGroup)
    if held.procMount is not None and held.procMount not in ("Default", "Unmasked"):
        found.append(field.not_supported(f"{at}.procMount", held.procMount, ("Default", "Unmasked")))
    if held.procMount == "Unmasked" and not scope.own_users:
        found.append(field.invalid(f"{at}.procMount", held.procMount, "`hostUsers` must be false to use `Unmasked`"))
    profile(found, f"{at}.seccompProfile", held.seccompProfile)
    profile(found, f"{at}.appArmorProfile", held.appArmorProfile)
    if held.allowPrivilegeEscalation is False:
        if held.privileged:
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            found.append(field.invalid(at, codec.to_tree(held), why))
        if held.capabilities is not None and "CAP_SYS_ADMIN" in (held.capabilities.add or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            found.append(field.invalid(at, codec.to_tree(held), why))
