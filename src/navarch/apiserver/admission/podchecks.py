"""The checks of the Pod Security Standards, each with the versions of Kubernetes it changed in. Pure: a pod in, what it breaks out.

`restricted` is `baseline` and more; where it has a stricter form of one of baseline's checks, that one takes its place.

Upstream counterpart: k8s.io/pod-security-admission/policy (one file a check, and registry.go).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from navarch.api.core import v1 as core_v1

AnyContainer = core_v1.Container | core_v1.EphemeralContainer
AnySecurity = core_v1.SecurityContext | core_v1.PodSecurityContext | None
Annotations = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Broken:
    """A check that a pod does not pass."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


Check = Callable[[Annotations, core_v1.PodSpec], Broken | None]


def evaluate(annotations: Annotations | None, spec: core_v1.PodSpec, level: str, minor: int | None = None) -> list[Broken]:
    """The checks of a level that a pod does not pass, as of Kubernetes 1.`minor` (None: the latest)."""
    if level == "privileged":
        return []
    wanted = _LATEST if minor is None else min(minor, _LATEST)
    return [found for check in _checks(level, wanted) if (found := check(annotations or {}, spec)) is not None]


# ---- how they are said ----


def _all(spec: core_v1.PodSpec) -> list[AnyContainer]:
    return [*(spec.initContainers or ()), *(spec.containers or ()), *(spec.ephemeralContainers or ())]


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f'"{v}"' for v in values)


def _named(names: list[str], one: str = "container") -> str:
    return f"{one}{'s' * (len(names) != 1)} {_quoted(names)}"


def _bad(spec: core_v1.PodSpec, wrong: Callable[[core_v1.SecurityContext | None], bool]) -> list[str]:
    return [c.name or "" for c in _all(spec) if wrong(c.securityContext)]


def _setters(pod: bool, names: list[str]) -> list[str]:
    return [*(["pod"] if pod else []), *([_named(names)] if names else [])]


# ---- baseline ----


def _app_armor(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    prefix = "container.apparmor.security.beta.kubernetes.io/"

    def free(s: AnySecurity) -> bool:
        return s is not None and s.appArmorProfile is not None and s.appArmorProfile.type not in ("RuntimeDefault", "Localhost")

    pod, names = free(spec.securityContext), _bad(spec, free)
    contexts = [s for s in (spec.securityContext, *(c.securityContext for c in _all(spec))) if s is not None]
    values = sorted({s.appArmorProfile.type or "" for s in contexts if s.appArmorProfile is not None and free(s)})
    notes = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in annotations.items()
        if key.startswith(prefix) and value and value != "runtime/default" and not value.startswith("localhost/")
    )
    setters = [*_setters(pod, names), *([f"annotation{'s' * (len(notes) != 1)}"] if notes else [])]
    if not setters:
        return None
    values += notes
    why = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}"
    return Broken(f"forbidden AppArmor profile{'s' * (len(values) != 1)}", why)


_COMMON = frozenset(
    {
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP",
        "SETUID", "SYS_CHROOT",
    }
)  # fmt: skip


def _added(security: core_v1.SecurityContext | None) -> set[str]:
    return set(security.capabilities.add or ()) if security is not None and security.capabilities is not None else set()


def _adding(spec: core_v1.PodSpec, allowed: frozenset[str]) -> str:
    """Who adds capabilities beyond the allowed ones, "" when nobody does."""
    names = _bad(spec, lambda s: bool(_added(s) - allowed))
    if not names:
        return ""
    extra = sorted({a for c in _all(spec) for a in _added(c.securityContext)} - allowed)
    return f"{_named(names)} must not include {_quoted(extra)} in securityContext.capabilities.add"


def _capabilities(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    adding = _adding(spec, _COMMON)
    return Broken("non-default capabilities", adding) if adding else None


def _host_namespaces(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    used = [f"{n}=true" for n in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, n)]
    return Broken("host namespaces", ", ".join(used)) if used else None


def _host_paths(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    used = [v.name or "" for v in spec.volumes or () if v.hostPath is not None]
    return Broken("hostPath volumes", _named(used, "volume")) if used else None


def _host_ports(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    using = [c for c in _all(spec) if any(p.hostPort for p in c.ports or ())]
    if not using:
        return None
    ports = sorted({str(p.hostPort) for c in using for p in c.ports or () if p.hostPort})
    verb = "uses" if len(using) == 1 else "use"
    return Broken("hostPort", f"{_named([c.name or '' for c in using])} {verb} hostPort{'s' * (len(ports) != 1)} {', '.join(ports)}")


def _hosts(container: AnyContainer) -> set[str]:
    """The hosts that a container's probes and hooks are sent to, other than the pod's own address."""
    handlers: list[core_v1.Probe | core_v1.LifecycleHandler | None] = [container.livenessProbe, container.readinessProbe, container.startupProbe]
    if container.lifecycle is not None:
        handlers += [container.lifecycle.postStart, container.lifecycle.preStop]
    actions = [a for h in handlers if h is not None for a in (h.httpGet, h.tcpSocket) if a is not None]
    return {a.host for a in actions if a.host}


def _probe_hosts(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    using = {c.name or "": found for c in _all(spec) if (found := _hosts(c))}
    if not using:
        return None
    hosts = sorted({h for held in using.values() for h in held})
    verb = "uses" if len(using) == 1 else "use"
    return Broken("probe or lifecycle host", f"{_named(sorted(using))} {verb} probe or lifecycle host{'s' * (len(hosts) != 1)} {_quoted(hosts)}")


def _privileged(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    names = _bad(spec, lambda s: s is not None and bool(s.privileged))
    return Broken("privileged", f"{_named(names)} must not set securityContext.privileged=true") if names else None


def _proc_mount(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    names = _bad(spec, lambda s: s is not None and s.procMount not in (None, "Default"))
    if not names:
        return None
    mounts = {c.securityContext.procMount or "" for c in _all(spec) if c.securityContext and c.securityContext.procMount not in (None, "Default")}
    return Broken("procMount", f"{_named(names)} must not set securityContext.procMount to {_quoted(sorted(mounts))}")


def _seccomp_annotations(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    keys = ["seccomp.security.alpha.kubernetes.io/pod"]
    keys += [f"container.seccomp.security.alpha.kubernetes.io/{c.name}" for c in _all(spec)]
    bad = sorted(
        {
            f"{key}={json.dumps(annotations[key])}"
            for key in keys
            if key in annotations and annotations[key] not in ("runtime/default", "docker/default") and not annotations[key].startswith("localhost/")
        }
    )
    return Broken("seccompProfile", f"forbidden annotation{'s' * (len(bad) != 1)} {', '.join(bad)}") if bad else None


def _unconfined(s: AnySecurity) -> bool:
    return s is not None and s.seccompProfile is not None and s.seccompProfile.type not in ("RuntimeDefault", "Localhost")


def _seccomp(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    setters = _setters(_unconfined(spec.securityContext), _bad(spec, _unconfined))
    if not setters:
        return None
    contexts = [s for s in (spec.securityContext, *(c.securityContext for c in _all(spec))) if s is not None]
    values = sorted({s.seccompProfile.type or "" for s in contexts if s.seccompProfile is not None and _unconfined(s)})
    return Broken("seccompProfile", f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {_quoted(values)}")


def _selinux(types: frozenset[str]) -> Check:
    def check(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
        def wrong(s: AnySecurity) -> bool:
            o = s.seLinuxOptions if s is not None else None
            return o is not None and bool(o.user or o.role or (o.type or "") not in types)

        setters = _setters(wrong(spec.securityContext), _bad(spec, wrong))
        if not setters:
            return None
        options = [s.seLinuxOptions for s in (spec.securityContext, *(c.securityContext for c in _all(spec))) if s and s.seLinuxOptions]
        bad = sorted({o.type or "" for o in options} - types)
        parts = [f"type{'s' * (len(bad) != 1)} {_quoted(bad)}"] if bad else []
        parts += ["user may not be set"] if any(o.user for o in options) else []
        parts += ["role may not be set"] if any(o.role for o in options) else []
        return Broken("seLinuxOptions", f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions: {'; '.join(parts)}")

    return check


def _sysctls(allowed: frozenset[str]) -> Check:
    def check(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
        held = (spec.securityContext.sysctls or ()) if spec.securityContext is not None else ()
        bad = [s.name or "" for s in held if s.name not in allowed]
        return Broken("forbidden sysctls", ", ".join(bad)) if bad else None

    return check


def _host_process(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    def wrong(s: AnySecurity) -> bool:
        return s is not None and s.windowsOptions is not None and bool(s.windowsOptions.hostProcess)

    setters = _setters(wrong(spec.securityContext), _bad(spec, wrong))
    return Broken("hostProcess", f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true") if setters else None


# ---- restricted ----


def _escalation(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    names = _bad(spec, lambda s: s is None or s.allowPrivilegeEscalation is not False)
    if not names:
        return None
    return Broken("allowPrivilegeEscalation != false", f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false")


def _few_capabilities(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    keeping = _bad(spec, lambda s: s is None or s.capabilities is None or "ALL" not in (s.capabilities.drop or ()))
    details = [f'{_named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding := _adding(spec, frozenset({"NET_BIND_SERVICE"})):
        details.append(adding)
    return Broken("unrestricted capabilities", "; ".join(details)) if details else None


_FREE_VOLUMES = ("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret")


def _volumes(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    wrong = [v for v in spec.volumes or () if all(getattr(v, s) is None for s in _FREE_VOLUMES)]
    if not wrong:
        return None
    kinds = sorted({next((f for f in v.__struct_fields__ if f != "name" and getattr(v, f) is not None), "unknown") for v in wrong})
    verb = "uses" if len(wrong) == 1 else "use"
    what = f"restricted volume type{'s' * (len(kinds) != 1)}"
    return Broken("restricted volume types", f"{_named([v.name or '' for v in wrong], 'volume')} {verb} {what} {_quoted(kinds)}")


def _not_root(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    held = spec.securityContext.runAsNonRoot if spec.securityContext is not None else None
    setters = _setters(held is False, _bad(spec, lambda s: s is not None and s.runAsNonRoot is False))
    if setters:
        return Broken("runAsNonRoot != true", f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false")
    silent = _bad(spec, lambda s: s is None or s.runAsNonRoot is None)
    if held or not silent:
        return None
    return Broken("runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true")


def _not_user_zero(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    pod = spec.securityContext is not None and spec.securityContext.runAsUser == 0
    setters = _setters(pod, _bad(spec, lambda s: s is not None and s.runAsUser == 0))
    return Broken("runAsUser=0", f"{' and '.join(setters)} must not set runAsUser=0") if setters else None


def _needed_seccomp(annotations: Annotations, spec: core_v1.PodSpec) -> Broken | None:
    if (found := _seccomp(annotations, spec)) is not None:
        return found
    if spec.securityContext is not None and spec.securityContext.seccompProfile is not None:
        return None
    names = _bad(spec, lambda s: s is None or s.seccompProfile is None)
    if not names:
        return None
    why = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Broken("seccompProfile", f"pod or {_named(names)} {why}")


# ---- which of them, when ----


def _but_windows(check: Check) -> Check:
    """Windows has none of this: validation keeps its pods from setting it."""
    return lambda annotations, spec: None if spec.os is not None and spec.os.name == "windows" else check(annotations, spec)


def _but_own_users(check: Check) -> Check:
    """Root of a user namespace is nobody outside of it (KEP-127)."""
    return lambda annotations, spec: None if spec.hostUsers is False else check(annotations, spec)


_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_SYSCTLS_0 = frozenset(
    {
        "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
    }
)  # fmt: skip
_SYSCTLS_27 = _SYSCTLS_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_29 = _SYSCTLS_27 | {f"net.ipv4.tcp_{n}" for n in ("keepalive_time", "fin_timeout", "keepalive_intvl", "keepalive_probes")}
_SYSCTLS_32 = _SYSCTLS_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


@dataclass(frozen=True, slots=True)
class Row:
    """A check by the minor versions it changed in. `replaces` is a check of baseline that `restricted` has in a stricter form."""

    id: str
    versions: Mapping[int, Check]
    replaces: str = ""


BASELINE: tuple[Row, ...] = (
    Row("appArmorProfile", {0: _app_armor}),
    Row("capabilities_baseline", {0: _capabilities}),
    Row("hostNamespaces", {0: _host_namespaces}),
    Row("hostPathVolumes", {0: _host_paths}),
    Row("hostPorts", {0: _host_ports}),
    Row("hostProbesAndHostLifecycle", {34: _probe_hosts}),
    Row("privileged", {0: _privileged}),
    Row("procMount", {0: _proc_mount, 35: _but_own_users(_proc_mount)}),
    Row("seLinuxOptions", {0: _selinux(_TYPES), 31: _selinux(_TYPES | {"container_engine_t"})}),
    Row("seccompProfile_baseline", {0: _seccomp_annotations, 19: _seccomp}),
    Row("sysctls", {0: _sysctls(_SYSCTLS_0), 27: _sysctls(_SYSCTLS_27), 29: _sysctls(_SYSCTLS_29), 32: _sysctls(_SYSCTLS_32)}),
    Row("windowsHostProcess", {0: _host_process}),
)
RESTRICTED: tuple[Row, ...] = (
    Row("allowPrivilegeEscalation", {8: _escalation, 25: _but_windows(_escalation)}),
    Row("capabilities_restricted", {22: _few_capabilities, 25: _but_windows(_few_capabilities)}, "capabilities_baseline"),
    Row("procMount_restricted", {35: _proc_mount}, "procMount"),
    Row("restrictedVolumes", {0: _volumes}, "hostPathVolumes"),
    Row("runAsNonRoot", {0: _not_root, 35: _but_own_users(_not_root)}),
    Row("runAsUser", {23: _not_user_zero, 35: _but_own_users(_not_user_zero)}),
    Row("seccompProfile_restricted", {19: _needed_seccomp, 25: _but_windows(_needed_seccomp)}, "seccompProfile_baseline"),
)
_LATEST = max(minor for row in (*BASELINE, *RESTRICTED) for minor in row.versions)


def _at(row: Row, minor: int) -> Check | None:
    since = max((m for m in row.versions if m <= minor), default=None)
    return None if since is None else row.versions[since]


@functools.cache
def _checks(level: str, minor: int) -> tuple[Check, ...]:
    """The checks of a level as of a version, in upstream's order: baseline's first, each by its id."""
    stricter = [row for row in RESTRICTED if _at(row, minor) is not None] if level == "restricted" else []
    replaced = {row.replaces for row in stricter}
    rows = [*(row for row in BASELINE if row.id not in replaced), *stricter]
    return tuple(check for row in rows if (check := _at(row, minor)) is not None)
