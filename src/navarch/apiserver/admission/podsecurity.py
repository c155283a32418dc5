"""PodSecurity: what a namespace's labels let its pods do: everything (privileged), nothing that reaches the host (baseline), or
next to nothing (restricted).

Labels: `pod-security.kubernetes.io/enforce`, `warn` and `audit` name a level each. Pods that break the enforced one are refused,
those that break the warned one are told of in a Warning header; so are the templates of workloads. The checks are those of the
newest version, whatever `-version` label a namespace carries.

Upstream counterpart: k8s.io/pod-security-admission.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission import Attributes
from navarch.apiserver.admission.serviceaccounts import refuse

if TYPE_CHECKING:
    from navarch.apiserver.server import Server

_LABEL = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_HOLDERS = frozenset(
    {
        ("", "podtemplates"), ("", "replicationcontrollers"), ("apps", "daemonsets"), ("apps", "deployments"), ("apps", "replicasets"),
        ("apps", "statefulsets"), ("batch", "cronjobs"), ("batch", "jobs"),
    }
)  # fmt: skip
_FREE_SUBRESOURCES = ("exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status")
AnyContainer = core_v1.Container | core_v1.EphemeralContainer


@dataclass(frozen=True, slots=True)
class Broken:
    """A check that a pod does not pass."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


async def check(attributes: Attributes, server: Server) -> None:
    """Refuses or warns, by the labels of the namespace."""
    if attributes.operation not in ("CREATE", "UPDATE") or not attributes.namespace:
        return
    pod = attributes.key == ("", "pods")
    if not pod and attributes.key not in _HOLDERS:
        return
    if attributes.subresource and (not pod or attributes.subresource in _FREE_SUBRESOURCES):
        return
    entry = server.catalog.of("", "namespaces").cache.get(attributes.namespace)
    levels = entry.labels if entry is not None else {}
    enforce, warn = (_level(levels.get(_LABEL + mode, "")) for mode in ("enforce", "warn"))
    if enforce == warn == "privileged":
        return
    spec = _spec(attributes)
    if spec is None or (pod and attributes.old is not None and not _matters(spec, attributes.old.spec)):
        return
    if pod and enforce != "privileged" and (found := broken(spec, enforce)):
        raise refuse(attributes, f'violates PodSecurity "{enforce}:{_version(levels, "enforce")}": {_said(found)}')
    if warn != "privileged" and (found := broken(spec, warn)):
        attributes.context.warnings.append(f'would violate PodSecurity "{warn}:{_version(levels, "warn")}": {_said(found)}')


def _said(found: Iterable[Broken]) -> str:
    return ", ".join(str(b) for b in found)


def _level(label: str) -> str:
    """A level by its label; one that is none is as strict as can be."""
    if not label:
        return "privileged"
    return label if label in _LEVELS else "restricted"


def _version(labels: Any, mode: str) -> str:
    return str(labels.get(f"{_LABEL}{mode}-version") or "latest")


def _spec(attributes: Attributes) -> core_v1.PodSpec | None:
    obj = attributes.obj
    if attributes.key == ("", "pods"):
        held: core_v1.PodSpec | None = obj.spec
        return held
    if attributes.key == ("", "podtemplates"):
        template = obj.template
    elif attributes.key == ("batch", "cronjobs"):
        template = obj.spec.jobTemplate.spec.template if obj.spec.jobTemplate and obj.spec.jobTemplate.spec else None
    else:
        template = obj.spec.template if obj.spec else None
    return template.spec if template is not None else None


def _matters(new: core_v1.PodSpec, old: core_v1.PodSpec) -> bool:
    """Whether an update changed what the checks look at: images and ephemeral containers."""
    return new.containers != old.containers or new.initContainers != old.initContainers or new.ephemeralContainers != old.ephemeralContainers


def broken(spec: core_v1.PodSpec, level: str) -> list[Broken]:
    """The checks of a level that a pod does not pass. Restricted replaces some of baseline's by stricter ones."""
    chosen = _BASELINE if level == "baseline" else _RESTRICTED
    return [found for one in chosen if (found := one(spec)) is not None]


# ---- the checks ----


def _all(spec: core_v1.PodSpec) -> list[AnyContainer]:
    return [*(spec.initContainers or ()), *(spec.containers or ()), *(spec.ephemeralContainers or ())]


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{v}"' for v in values)


def _named(names: list[str], one: str = "container") -> str:
    return f"{one}{'s' * (len(names) != 1)} {_quoted(names)}"


def _bad(spec: core_v1.PodSpec, wrong: Callable[[core_v1.SecurityContext | None], bool]) -> list[str]:
    return [c.name or "" for c in _all(spec) if wrong(c.securityContext)]


def _host_namespaces(spec: core_v1.PodSpec) -> Broken | None:
    used = [f"{n}=true" for n in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, n)]
    return Broken("host namespaces", ", ".join(used)) if used else None


def _host_paths(spec: core_v1.PodSpec) -> Broken | None:
    used = [v.name or "" for v in spec.volumes or () if v.hostPath is not None]
    return Broken("hostPath volumes", _named(used, "volume")) if used else None


def _host_ports(spec: core_v1.PodSpec) -> Broken | None:
    found = {c.name or "": [p.hostPort for p in c.ports or () if p.hostPort] for c in _all(spec)}
    names = [n for n, ports in found.items() if ports]
    if not names:
        return None
    ports = sorted({str(p) for held in found.values() for p in held})
    verb = "uses" if len(names) == 1 else "use"
    return Broken("hostPort", f"{_named(names)} {verb} hostPort{'s' * (len(ports) != 1)} {', '.join(ports)}")


def _privileged(spec: core_v1.PodSpec) -> Broken | None:
    names = _bad(spec, lambda s: s is not None and bool(s.privileged))
    return Broken("privileged", f"{_named(names)} must not set securityContext.privileged=true") if names else None


_COMMON = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
        "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip


def _added(security: core_v1.SecurityContext | None) -> list[str]:
    return list(security.capabilities.add or ()) if security is not None and security.capabilities is not None else []


def _capabilities(spec: core_v1.PodSpec) -> Broken | None:
    names = _bad(spec, lambda s: bool(set(_added(s)) - _COMMON))
    if not names:
        return None
    extra = sorted({a for c in _all(spec) for a in _added(c.securityContext)} - _COMMON)
    return Broken("non-default capabilities", f"{_named(names)} must not include {_quoted(extra)} in securityContext.capabilities.add")


def _few_capabilities(spec: core_v1.PodSpec) -> Broken | None:
    if _windows(spec):
        return None

    def keeps(s: core_v1.SecurityContext | None) -> bool:
        return s is None or s.capabilities is None or "ALL" not in (s.capabilities.drop or ())

    details: list[str] = []
    if keeping := _bad(spec, keeps):
        details.append(f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding := _bad(spec, lambda s: bool(set(_added(s)) - {"NET_BIND_SERVICE"})):
        extra = sorted({a for c in _all(spec) for a in _added(c.securityContext)} - {"NET_BIND_SERVICE"})
        details.append(f"{_named(adding)} must not include {_quoted(extra)} in securityContext.capabilities.add")
    return Broken("unrestricted capabilities", "; ".join(details)) if details else None


def _setters(pod: bool, names: list[str]) -> str:
    return " and ".join([*(["pod"] if pod else []), *([_named(names)] if names else [])])


def _proc_mount(spec: core_v1.PodSpec) -> Broken | None:
    if spec.hostUsers is False:
        return None
    names = _bad(spec, lambda s: s is not None and s.procMount not in (None, "Default"))
    if not names:
        return None
    kinds = sorted({c.securityContext.procMount or "" for c in _all(spec) if c.securityContext and c.name in names})
    return Broken("procMount", f"{_named(names)} must not set securityContext.procMount to {_quoted(kinds)}")


def _seccomp(spec: core_v1.PodSpec) -> Broken | None:
    def free(s: core_v1.SecurityContext | core_v1.PodSecurityContext | None) -> bool:
        return s is not None and s.seccompProfile is not None and s.seccompProfile.type not in ("RuntimeDefault", "Localhost")

    pod, names = free(spec.securityContext), _bad(spec, free)
    if not pod and not names:
        return None
    return Broken("seccompProfile", f'{_setters(pod, names)} must not set securityContext.seccompProfile.type to "Unconfined"')


def _needed_seccomp(spec: core_v1.PodSpec) -> Broken | None:
    if _windows(spec):
        return None
    if (found := _seccomp(spec)) is not None:
        return found
    if spec.securityContext is not None and spec.securityContext.seccompProfile is not None:
        return None
    names = _bad(spec, lambda s: s is None or s.seccompProfile is None)
    if not names:
        return None
    why = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Broken("seccompProfile", f"pod or {_named(names)} {why}")


def _app_armor(spec: core_v1.PodSpec) -> Broken | None:
    def free(s: core_v1.SecurityContext | core_v1.PodSecurityContext | None) -> bool:
        return s is not None and s.appArmorProfile is not None and s.appArmorProfile.type == "Unconfined"

    pod, names = free(spec.securityContext), _bad(spec, free)
    if not pod and not names:
        return None
    why = 'must not set securityContext.appArmorProfile.type to "Unconfined"'
    return Broken("forbidden AppArmor profile", f"{_setters(pod, names)} {why}")


_SELINUX_TYPES = ("", None, "container_t", "container_init_t", "container_kvm_t", "container_engine_t")


def _selinux(spec: core_v1.PodSpec) -> Broken | None:
    def wrong(s: core_v1.SecurityContext | core_v1.PodSecurityContext | None) -> bool:
        o = s.seLinuxOptions if s is not None else None
        return o is not None and bool(o.user or o.role or o.type not in _SELINUX_TYPES)

    pod, names = wrong(spec.securityContext), _bad(spec, wrong)
    if not pod and not names:
        return None
    options = [s.seLinuxOptions for s in (spec.securityContext, *(c.securityContext for c in _all(spec))) if s and s.seLinuxOptions]
    types = sorted({o.type or "" for o in options if o.type not in _SELINUX_TYPES})
    parts = [f"type{'s' * (len(types) != 1)} {_quoted(types)}"] if types else []
    parts += ["user may not be set"] if any(o.user for o in options) else []
    parts += ["role may not be set"] if any(o.role for o in options) else []
    verb = "set" if len(names) + pod > 1 else "sets"
    return Broken("seLinuxOptions", f"{_setters(pod, names)} {verb} forbidden securityContext.seLinuxOptions: {'; '.join(parts)}")


_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)  # fmt: skip


def _sysctls(spec: core_v1.PodSpec) -> Broken | None:
    held = (spec.securityContext.sysctls or ()) if spec.securityContext else ()
    unsafe = [s.name or "" for s in held if s.name not in _SAFE_SYSCTLS]
    return Broken("forbidden sysctls", ", ".join(unsafe)) if unsafe else None


def _windows(spec: core_v1.PodSpec) -> bool:
    return spec.os is not None and spec.os.name == "windows"


def _escalation(spec: core_v1.PodSpec) -> Broken | None:
    if _windows(spec):
        return None
    names = _bad(spec, lambda s: s is None or s.allowPrivilegeEscalation is not False)
    if not names:
        return None
    return Broken("allowPrivilegeEscalation != false", f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false")


_FREE_VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret")


def _volumes(spec: core_v1.PodSpec) -> Broken | None:
    wrong = [v for v in spec.volumes or () if all(getattr(v, s) is None for s in _FREE_VOLUMES)]
    if not wrong:
        return None
    kinds = sorted({f for v in wrong for f in v.__struct_fields__ if f != "name" and getattr(v, f) is not None})
    verb = "uses" if len(wrong) == 1 else "use"
    what = f"restricted volume type{'s' * (len(kinds) != 1)}"
    return Broken("restricted volume types", f"{_named([v.name or '' for v in wrong], 'volume')} {verb} {what} {_quoted(kinds)}")


def _not_root(spec: core_v1.PodSpec) -> Broken | None:
    if spec.hostUsers is False:
        return None
    held = spec.securityContext.runAsNonRoot if spec.securityContext else None
    names = _bad(spec, lambda s: s is not None and s.runAsNonRoot is False)
    if held is False or names:
        why = f"{_setters(held is False, names)} must not set securityContext.runAsNonRoot=false"
        return Broken("runAsNonRoot != true", why)
    silent = _bad(spec, lambda s: s is None or s.runAsNonRoot is None)
    if held or not silent:
        return None
    return Broken("runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true")


def _not_user_zero(spec: core_v1.PodSpec) -> Broken | None:
    if spec.hostUsers is False:
        return None
    pod = spec.securityContext is not None and spec.securityContext.runAsUser == 0
    names = _bad(spec, lambda s: s is not None and s.runAsUser == 0)
    return Broken("runAsUser=0", f"{_setters(pod, names)} must not set runAsUser=0") if pod or names else None


Check = Callable[[core_v1.PodSpec], Broken | None]
_BASELINE: tuple[Check, ...] = (
    _app_armor, _capabilities, _host_namespaces, _host_paths, _host_ports, _privileged, _proc_mount, _seccomp, _selinux, _sysctls,
)  # fmt: skip
_RESTRICTED: tuple[Check, ...] = (
    _app_armor, _host_namespaces, _host_ports, _privileged, _proc_mount, _selinux, _sysctls, _escalation, _few_capabilities, _volumes,
    _not_root, _not_user_zero, _needed_seccomp,
)  # fmt: skip
