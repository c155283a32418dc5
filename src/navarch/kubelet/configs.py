"""CRI configurations of sandboxes and containers, built from pod specs.

Functions from values to CRI messages, no effects. Labels and annotations are upstream's, so that a kubelet that starts anew (ours
or upstream's) finds out from the runtime alone whose container is whose. Upstream's counterparts: kuberuntime_sandbox.go,
kuberuntime_container_linux.go, labels.go, security_context.go, network/dns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from navarch.api.core import v1
from navarch.cri import proto
from navarch.kubelet.core import containers, env, resources, sysctls
from navarch.kubelet.core.env import ConfigError
from navarch.kubelet.user_namespaces import Range

POD_NAME = "io.kubernetes.pod.name"
POD_NAMESPACE = "io.kubernetes.pod.namespace"
POD_UID = "io.kubernetes.pod.uid"
CONTAINER_NAME = "io.kubernetes.container.name"
HASH = "io.kubernetes.container.hash"
RESTART_COUNT = "io.kubernetes.container.restartCount"
MESSAGE_PATH = "io.kubernetes.container.terminationMessagePath"
MESSAGE_POLICY = "io.kubernetes.container.terminationMessagePolicy"
PRE_STOP = "io.kubernetes.container.preStopHandler"
PORTS = "io.kubernetes.container.ports"
POD_GRACE = "io.kubernetes.pod.terminationGracePeriod"

MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PROPAGATION = {"HostToContainer": 1, "Bidirectional": 2}

msg = proto.message


@dataclass(frozen=True)
class Dns:
    """What pods get as resolv.conf: the cluster's servers and domain, and the node's own settings."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"
    host_servers: tuple[str, ...] = ()
    host_searches: tuple[str, ...] = ()
    host_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mount:
    """A host path to appear inside a container."""

    host_path: str
    container_path: str
    read_only: bool = False
    propagation: str = "None"


@dataclass(frozen=True)
class ContainerPlan:
    """All that goes into one container besides its spec."""

    attempt: int
    image_ref: str
    variables: Mapping[str, str]
    mounts: Sequence[Mount]
    node_memory: int
    image_uid: int | None = None
    image_username: str = ""
    target_id: str = ""
    user_range: Range | None = None
    devices: Sequence[tuple[str, str, str]] = field(default_factory=tuple)


def hostname(pod: v1.Pod, dns: Dns) -> tuple[str, str]:
    """The pod's host name and domain (empty without a subdomain)."""
    spec, meta = pod.spec or v1.PodSpec(), pod.metadata
    if spec.hostnameOverride:
        return spec.hostnameOverride, ""
    name = (spec.hostname or (meta.name if meta else "") or "")[:63].rstrip("-.")
    domain = f"{spec.subdomain}.{meta.namespace if meta else ''}.svc.{dns.domain}" if spec.subdomain else ""
    if spec.setHostnameAsFQDN and domain:
        name = f"{name}.{domain}"
        if len(name) > 64:
            limit = f"(64 characters is the max, {len(name)} characters requested)"
            raise ConfigError(f"failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long {limit}")
    return name, domain


def dns_config(pod: v1.Pod, dns: Dns) -> proto.Message:
    """The pod's resolv.conf as CRI takes it."""
    spec = pod.spec or v1.PodSpec()
    policy = spec.dnsPolicy or "ClusterFirst"
    if policy == "ClusterFirst" and spec.hostNetwork:
        policy = "Default"
    if policy.startswith("ClusterFirst") and dns.servers:
        namespace = pod.metadata.namespace if pod.metadata else ""
        servers, options = list(dns.servers), ["ndots:5"]
        searches = [f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain, *dns.host_searches]
    elif policy == "None":
        servers, searches, options = [], [], []
    else:
        servers, searches, options = list(dns.host_servers), list(dns.host_searches), list(dns.host_options)
    extra = spec.dnsConfig
    if extra is not None:
        servers = list(dict.fromkeys([*servers, *(extra.nameservers or ())]))
        searches = list(dict.fromkeys([*searches, *(extra.searches or ())]))
        named = {option.partition(":")[0]: option for option in options}
        for option in extra.options or ():
            named[option.name or ""] = f"{option.name}:{option.value}" if option.value else option.name or ""
        options = list(named.values())
    return msg("DNSConfig")(servers=servers[:3], searches=list(dict.fromkeys(searches))[:32], options=options)


def _namespaces(pod: v1.Pod, user_range: Range | None, target_id: str = "") -> proto.Message:
    spec = pod.spec or v1.PodSpec()
    mode = {name: proto.enum("NamespaceMode", name) for name in ("POD", "CONTAINER", "NODE", "TARGET")}
    pid = mode["NODE"] if spec.hostPID else mode["POD"] if spec.shareProcessNamespace else mode["CONTAINER"]
    options = msg("NamespaceOption")(
        network=mode["NODE"] if spec.hostNetwork else mode["POD"],
        ipc=mode["NODE"] if spec.hostIPC else mode["POD"],
        pid=mode["TARGET"] if target_id else pid,
        target_id=target_id,
    )
    if user_range is not None:
        mappings = _id_mappings(user_range)
        options.userns_options.CopyFrom(msg("UserNamespace")(mode=mode["POD"], uids=mappings, gids=mappings))
    return options


def _id_mappings(user_range: Range) -> list[proto.Message]:
    return [msg("IDMapping")(host_id=user_range.first, container_id=0, length=user_range.length)]


def _profile(profile: v1.SeccompProfile | v1.AppArmorProfile | None, default: str = "Unconfined") -> proto.Message:
    kind = (profile.type if profile else None) or default
    number = proto.enum("SecurityProfile.ProfileType", kind)
    reference = (profile.localhostProfile if profile else None) or ""
    return msg("SecurityProfile")(profile_type=number, localhost_ref=reference)


def _int(value: int | None) -> proto.Message | None:
    return None if value is None else msg("Int64Value")(value=value)


def log_directory(logs: str, pod: v1.Pod) -> str:
    """Where a pod's container logs are."""
    meta = pod.metadata
    return f"{logs}/{meta.namespace}_{meta.name}_{meta.uid}" if meta else logs


def pod_labels(pod: v1.Pod) -> dict[str, str]:
    meta = pod.metadata
    assert meta is not None
    return {POD_NAME: meta.name or "", POD_NAMESPACE: meta.namespace or "", POD_UID: meta.uid or ""}


def sandbox(pod: v1.Pod, attempt: int, dns: Dns, logs: str, cgroup_parent: str, user_range: Range | None = None) -> proto.Message:
    """The sandbox of a pod. ConfigError when the spec cannot be turned into one."""
    spec, meta = pod.spec or v1.PodSpec(), pod.metadata
    assert meta is not None
    context = spec.securityContext or v1.PodSecurityContext()
    inits, mains, ephemeral = containers.of(pod)
    privileged = any(c.securityContext and c.securityContext.privileged for c in (*inits, *mains, *ephemeral))
    name, _ = hostname(pod, dns)
    ports = [
        msg("PortMapping")(
            protocol=proto.enum("Protocol", port.protocol or "TCP"),
            container_port=port.containerPort or 0,
            host_port=port.hostPort or 0,
            host_ip=port.hostIP or "",
        )
        for container in (*filter(containers.sidecar, inits), *mains)
        for port in container.ports or ()
        if port.hostPort and not spec.hostNetwork
    ]
    groups = [*(context.supplementalGroups or ()), *([context.fsGroup] if context.fsGroup is not None else [])]
    security = msg("LinuxSandboxSecurityContext")(
        namespace_options=_namespaces(pod, user_range),
        run_as_user=_int(context.runAsUser),
        run_as_group=_int(context.runAsGroup) if context.runAsUser is not None else None,
        supplemental_groups=groups,
        supplemental_groups_policy=proto.enum("SupplementalGroupsPolicy", context.supplementalGroupsPolicy or "Merge"),
        privileged=privileged,
        seccomp=_profile(None, "RuntimeDefault") if not privileged else _profile(None),
    )
    linux = msg("LinuxPodSandboxConfig")(
        cgroup_parent=cgroup_parent,
        security_context=security,
        sysctls={sysctls.normalized(s.name or ""): s.value or "" for s in context.sysctls or ()},
    )
    return msg("PodSandboxConfig")(
        metadata=msg("PodSandboxMetadata")(name=meta.name, namespace=meta.namespace, uid=meta.uid, attempt=attempt),
        hostname="" if spec.hostNetwork else name,
        log_directory=log_directory(logs, pod),
        dns_config=dns_config(pod, dns),
        port_mappings=ports,
        labels={**(meta.labels or {}), **pod_labels(pod)},
        annotations=meta.annotations or {},
        linux=linux,
    )


def container(pod: v1.Pod, spec: v1.Container, plan: ContainerPlan) -> proto.Message:
    """One container of a pod. ConfigError when its security context forbids running it."""
    name = spec.name or ""
    lookup = plan.variables.get
    if spec.command:
        command = [env.expand(word, lookup) for word in spec.command]
        args = [env.expand(word, lookup) for word in spec.args or ()]
    else:
        command, args = [], [env.expand(word, lookup) for word in spec.args or ()]
    # Files keep their owners as the pod sees them: the mounts are mapped, not the files changed.
    mappings = _id_mappings(plan.user_range) if plan.user_range is not None else []
    mounts = [
        msg("Mount")(
            host_path=mount.host_path,
            container_path=mount.container_path,
            readonly=mount.read_only,
            propagation=PROPAGATION.get(mount.propagation, 0),
            uidMappings=mappings,
            gidMappings=mappings,
        )
        for mount in plan.mounts
    ]
    return msg("ContainerConfig")(
        metadata=msg("ContainerMetadata")(name=name, attempt=plan.attempt),
        image=msg("ImageSpec")(image=plan.image_ref, user_specified_image=spec.image or ""),
        command=command,
        args=args,
        working_dir=spec.workingDir or "",
        envs=[msg("KeyValue")(key=key, value=value.encode("utf-8", "surrogateescape")) for key, value in plan.variables.items()],
        mounts=mounts,
        devices=[msg("Device")(host_path=h, container_path=c, permissions=p) for h, c, p in plan.devices],
        labels={CONTAINER_NAME: name, **pod_labels(pod)},
        annotations=_annotations(pod, spec, plan.attempt),
        log_path=f"{name}/{plan.attempt}.log",
        stdin=bool(spec.stdin),
        stdin_once=bool(spec.stdinOnce),
        tty=bool(spec.tty),
        linux=msg("LinuxContainerConfig")(
            resources=linux_resources(resources.cgroup_values(pod, spec, plan.node_memory)),
            security_context=_security(pod, spec, plan),
        ),
    )


def linux_resources(values: resources.CgroupValues) -> proto.Message:
    """Cgroup values as CRI takes them."""
    return msg("LinuxContainerResources")(
        cpu_period=values.cpu_period,
        cpu_quota=values.cpu_quota or -1,
        cpu_shares=values.cpu_shares,
        memory_limit_in_bytes=values.memory_limit,
        oom_score_adj=values.oom_score_adj,
    )


def _annotations(pod: v1.Pod, spec: v1.Container, attempt: int) -> dict[str, str]:
    result = {
        HASH: containers.fingerprint(spec),
        RESTART_COUNT: str(attempt),
        MESSAGE_PATH: spec.terminationMessagePath or "",
        MESSAGE_POLICY: spec.terminationMessagePolicy or "",
    }
    grace = pod.spec.terminationGracePeriodSeconds if pod.spec else None
    if grace is not None:
        result[POD_GRACE] = str(grace)
    if spec.lifecycle and spec.lifecycle.preStop:
        result[PRE_STOP] = msgspec.json.encode(spec.lifecycle.preStop).decode()
    if spec.ports:
        result[PORTS] = msgspec.json.encode(spec.ports).decode()
    return result


def _security(pod: v1.Pod, spec: v1.Container, plan: ContainerPlan) -> proto.Message:
    shared = (pod.spec.securityContext if pod.spec else None) or v1.PodSecurityContext()
    own = spec.securityContext or v1.SecurityContext()
    user = own.runAsUser if own.runAsUser is not None else shared.runAsUser
    group = own.runAsGroup if own.runAsGroup is not None else shared.runAsGroup
    _verify_not_root(pod, spec, plan, user)
    username = ""
    if user is None:
        user, username = plan.image_uid, plan.image_username
        if user is None and not username:
            user = 0
    groups = [*(shared.supplementalGroups or ()), *([shared.fsGroup] if shared.fsGroup is not None else [])]
    unmasked = own.procMount == "Unmasked" or bool(own.privileged)
    capabilities = own.capabilities or v1.Capabilities()
    no_new_privileges = own.allowPrivilegeEscalation is False
    return msg("LinuxContainerSecurityContext")(
        capabilities=msg("Capability")(add_capabilities=capabilities.add or (), drop_capabilities=capabilities.drop or ()),
        privileged=bool(own.privileged),
        namespace_options=_namespaces(pod, plan.user_range, plan.target_id),
        run_as_user=_int(user) if not username else None,
        run_as_username=username,
        run_as_group=_int(group),
        readonly_rootfs=bool(own.readOnlyRootFilesystem),
        supplemental_groups=groups,
        supplemental_groups_policy=proto.enum("SupplementalGroupsPolicy", shared.supplementalGroupsPolicy or "Merge"),
        no_new_privs=no_new_privileges,
        masked_paths=() if unmasked else MASKED,
        readonly_paths=() if unmasked else READ_ONLY,
        seccomp=_profile(own.seccompProfile or shared.seccompProfile),
        apparmor=_profile(own.appArmorProfile or shared.appArmorProfile, "RuntimeDefault") if _apparmor(own, shared) else None,
    )


def _apparmor(own: v1.SecurityContext, shared: v1.PodSecurityContext) -> bool:
    return own.appArmorProfile is not None or shared.appArmorProfile is not None


def _verify_not_root(pod: v1.Pod, spec: v1.Container, plan: ContainerPlan, user: int | None) -> None:
    shared = (pod.spec.securityContext if pod.spec else None) or v1.PodSecurityContext()
    own = spec.securityContext or v1.SecurityContext()
    required = own.runAsNonRoot if own.runAsNonRoot is not None else shared.runAsNonRoot
    if not required:
        return
    meta = pod.metadata
    where = f'(pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {spec.name})' if meta else ""
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    if plan.image_username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({plan.image_username}), cannot verify user is non-root {where}"
        )
    if not plan.image_uid:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def hosts_file(pod: v1.Pod, ips: Sequence[str], dns: Dns, node_hosts: str) -> str:
    """The content of the pod's /etc/hosts."""
    spec = pod.spec or v1.PodSpec()
    name, domain = hostname(pod, dns)
    if spec.hostNetwork:
        text = "# Kubernetes-managed hosts file (host network).\n" + node_hosts
    else:
        text = (
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
        )
        short = name.partition(".")[0] if domain else name
        for ip in ips:
            text += f"{ip}\t{short}.{domain}\t{short}\n" if domain else f"{ip}\t{name}\n"
    if spec.hostAliases:
        text += "\n# Entries added by HostAliases.\n"
        for alias in spec.hostAliases:
            words = "\t".join(alias.hostnames or ())
            text += f"{alias.ip}\t{words}\n"
    return text
