"""Security levels of namespaces: what each forbids, in upstream's words."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission import podchecks, podsecurity, serviceaccounts
from navarch.apiserver.admission import settings as configuration
from navarch.apiserver.authn.users import User
from navarch.apiserver.kinds import table
from navarch.machinery import codec, errors

SAFE: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def broken(level: str, security: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    container: dict[str, Any] = {"name": "a", "image": "x"}
    if security is not None:
        container["securityContext"] = security
    ports = spec.pop("ports", None)
    if ports:
        container["ports"] = ports
    made = codec.from_tree(core_v1.PodSpec, {"containers": [container], **spec})
    return [str(b) for b in podchecks.evaluate({}, made, level)]


def test_ordinary_pod_is_baseline_but_not_restricted() -> None:
    assert broken("baseline") == []
    assert broken("restricted") == [
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)',
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"])',
        'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)',
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")',
    ]


def test_careful_pod_is_restricted() -> None:
    assert broken("restricted", SAFE) == []
    own = {k: v for k, v in SAFE.items() if k not in ("runAsNonRoot", "seccompProfile")}
    pod = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert broken("restricted", own, securityContext=pod) == []


BASELINE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"privileged": True}, {}, 'privileged (container "a" must not set securityContext.privileged=true)'),
    ({}, {"hostNetwork": True, "hostPID": True}, "host namespaces (hostNetwork=true, hostPID=true)"),
    ({}, {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, 'hostPath volumes (volume "v")'),
    ({}, {"ports": [{"containerPort": 80, "hostPort": 80}]}, 'hostPort (container "a" uses hostPort 80)'),
    (
        {"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}},
        {},
        'non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)',
    ),
    (
        {"seccompProfile": {"type": "Unconfined"}},
        {},
        'seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    ({}, {"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "forbidden sysctls (kernel.msgmax)"),
]


@pytest.mark.parametrize(("security", "spec", "message"), BASELINE)
def test_what_reaches_the_host_is_no_baseline(security: dict[str, Any], spec: dict[str, Any], message: str) -> None:
    assert broken("baseline", security, **spec) == [message]


def test_restricted_knows_few_kinds_of_volume_and_no_root() -> None:
    assert broken("restricted", SAFE, volumes=[{"name": "v", "nfs": {"server": "s", "path": "/"}}]) == [
        'restricted volume types (volume "v" uses restricted volume type "nfs")'
    ]
    assert broken("restricted", {**SAFE, "runAsUser": 0}) == ['runAsUser=0 (container "a" must not set runAsUser=0)']
    assert broken("restricted", {**SAFE, "runAsNonRoot": False}) == [
        'runAsNonRoot != true (container "a" must not set securityContext.runAsNonRoot=false)'
    ]


def pod_of(*containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> tuple[dict[str, str], core_v1.PodSpec]:
    named = [{"name": "abcdef"[i], "image": "x", **c} for i, c in enumerate(containers)]
    return annotations or {}, codec.from_tree(core_v1.PodSpec, {"containers": named or [{"name": "a", "image": "x"}], **spec})


def said(pod: tuple[dict[str, str], core_v1.PodSpec], level: str = "baseline", minor: int | None = None) -> str:
    return ", ".join(map(str, podchecks.evaluate(*pod, level, minor)))


APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"


def probe(kind: str, action: str, host: str) -> dict[str, Any]:
    handler = {action: {"host": host, "port": 80}}
    return {"lifecycle": {kind: handler}} if kind.startswith(("pre", "post")) else {kind: handler}


@pytest.mark.parametrize("kind", ["livenessProbe", "readinessProbe", "startupProbe", "postStart", "preStop"])
@pytest.mark.parametrize("action", ["httpGet", "tcpSocket"])
@pytest.mark.parametrize("part", ["containers", "initContainers"])
def test_probes_and_hooks_go_to_the_pod_itself(kind: str, action: str, part: str) -> None:
    one = {"name": "z", "image": "x", **probe(kind, action, "10.0.0.1")}
    pod: tuple[dict[str, str], core_v1.PodSpec] = {}, codec.from_tree(core_v1.PodSpec, {part: [one]})
    why = 'probe or lifecycle host (container "z" uses probe or lifecycle host "10.0.0.1")'
    assert (said(pod), said(pod, minor=34), said(pod, minor=33)) == (why, why, "")
    silent = pod_of(probe(kind, action, ""))
    assert said(silent) == ""


def test_several_hosts_of_several_containers() -> None:
    pod = pod_of({}, probe("livenessProbe", "httpGet", "b.com"), probe("preStop", "tcpSocket", "a.com"))
    assert said(pod) == 'probe or lifecycle host (containers "b", "c" use probe or lifecycle hosts "a.com", "b.com")'


def test_windows_host_processes() -> None:
    hosted = {"securityContext": {"windowsOptions": {"hostProcess": True}}}
    plain = {"securityContext": {"windowsOptions": {"hostProcess": False}}}
    pod = pod_of(plain, hosted, hosted, securityContext={"windowsOptions": {"hostProcess": True}})
    assert said(pod) == 'hostProcess (pod and containers "b", "c" must not set securityContext.windowsOptions.hostProcess=true)'
    assert said(pod_of(plain)) == ""


def test_app_armor_by_field_and_by_annotation() -> None:
    free = {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}
    assert said(pod_of(free, free, securityContext=free["securityContext"])) == (
        'forbidden AppArmor profile (pod and containers "a", "b" must not set AppArmor profile type to "Unconfined")'
    )
    notes = {f"{APPARMOR}{k}": v for k, v in {"a": "", "b": "runtime/default", "c": "localhost/x", "e": "unconfined", "f": "unknown"}.items()}
    assert said(pod_of(annotations=notes)) == (
        f'forbidden AppArmor profiles (annotations must not set AppArmor profile type to "{APPARMOR}e="unconfined"", "{APPARMOR}f="unknown"")'
    )


def test_seccomp_was_an_annotation_once() -> None:
    pod = pod_of(annotations={f"{SECCOMP}a": "unconfined", f"{SECCOMP}stranger": "unconfined"})
    assert said(pod, minor=18) == f'seccompProfile (forbidden annotation {SECCOMP}a="unconfined")'
    assert said(pod, minor=19) == ""
    good = pod_of(annotations={"seccomp.security.alpha.kubernetes.io/pod": "docker/default", f"{SECCOMP}a": "localhost/x"})
    assert said(good, minor=18) == ""


def test_selinux_types_grew() -> None:
    engine = pod_of({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}})
    assert said(engine, minor=30) == 'seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "container_engine_t")'
    assert said(engine, minor=31) == ""
    own = pod_of(securityContext={"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}})
    assert said(own) == ('seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set; role may not be set)')


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("net.ipv4.ping_group_range", 0), ("net.ipv4.ip_local_reserved_ports", 27), ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29), ("net.ipv4.tcp_rmem", 32), ("net.ipv4.tcp_wmem", 32), ("kernel.msgmax", 99),
    ],
)  # fmt: skip
def test_sysctls_became_safe_one_by_one(name: str, since: int) -> None:
    pod = pod_of(securityContext={"sysctls": [{"name": name, "value": "1"}]})
    for minor in (0, 26, 27, 28, 29, 31, 32, 36):
        assert (said(pod, minor=minor) == "") is (minor >= since), minor


UNMASKED = {"securityContext": {"procMount": "Unmasked"}}
PROC = 'procMount (container "a" must not set securityContext.procMount to "Unmasked")'


def test_an_unmasked_proc_is_never_restricted() -> None:
    """A user namespace of its own relaxes baseline since 1.35, and root of it; restricted keeps /proc masked in every version."""
    shared, own = pod_of({**UNMASKED}, hostUsers=True), pod_of({**UNMASKED}, hostUsers=False)
    assert (said(shared), said(own), said(own, minor=34)) == (PROC, "", PROC)
    for minor in (*range(37), None):
        assert PROC in said(own, "restricted", minor)


def test_root_of_its_own_users_is_nobody() -> None:
    root = {"runAsUser": 0, "runAsNonRoot": False, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = pod_of({"securityContext": {**SAFE, "runAsNonRoot": False, "runAsUser": 0}}, hostUsers=False, securityContext=root)
    assert said(pod, "restricted") == said(pod, "restricted", 35) == ""
    assert said(pod, "restricted", 34) == (
        'runAsNonRoot != true (pod and container "a" must not set securityContext.runAsNonRoot=false), '
        'runAsUser=0 (pod and container "a" must not set runAsUser=0)'
    )
    assert "runAsUser" not in said(pod, "restricted", 22)


def test_windows_is_spared_what_it_has_not() -> None:
    pod = pod_of(os={"name": "windows"}, securityContext={"runAsNonRoot": True})
    assert said(pod, "restricted") == ""
    reasons = [b.reason for b in podchecks.evaluate(*pod, "restricted", 24)]
    assert reasons == ["allowPrivilegeEscalation != false", "unrestricted capabilities", "seccompProfile"]


def test_restricted_takes_the_place_of_what_it_is_stricter_than() -> None:
    pod = pod_of({"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}, volumes=[{"name": "v", "hostPath": {"path": "/"}}])
    assert [b.reason for b in podchecks.evaluate(*pod, "restricted", 0)] == [
        "non-default capabilities",
        "restricted volume types",
        "runAsNonRoot != true",
    ]
    assert [b.reason for b in podchecks.evaluate(*pod, "restricted")] == [
        "allowPrivilegeEscalation != false", "unrestricted capabilities", "restricted volume types", "runAsNonRoot != true", "seccompProfile",
    ]  # fmt: skip


def test_ephemeral_containers_are_looked_at_by_every_check() -> None:
    bad = {"name": "e", "image": "x", "securityContext": {"privileged": True}}
    pod = pod_of(ephemeralContainers=[bad])
    assert said(pod) == 'privileged (container "e" must not set securityContext.privileged=true)'


# ---- labels -----------------------------------------------------------------------------------------------------------------------

LABEL = "pod-security.kubernetes.io/"


@pytest.mark.parametrize(
    ("labels", "enforce", "warn", "problems"),
    [
        ({}, "privileged:latest", "privileged:latest", 0),
        ({"enforce": "baseline"}, "baseline:latest", "baseline:latest", 0),
        ({"enforce": "baseline", "enforce-version": "v1.24"}, "baseline:v1.24", "baseline:v1.24", 0),
        ({"enforce": "baseline", "enforce-version": "v1.24", "warn-version": "v1.30"}, "baseline:v1.24", "baseline:v1.30", 0),
        ({"enforce": "restricted", "warn": "privileged"}, "restricted:latest", "privileged:latest", 0),
        ({"enforce": "privileged", "warn": "restricted", "audit": "baseline"}, "privileged:latest", "restricted:latest", 0),
        ({"enforce": "strict"}, "restricted:latest", "privileged:latest", 1),
        ({"enforce": ""}, "restricted:latest", "privileged:latest", 1),
        ({"warn": "strict", "audit": "x"}, "privileged:latest", "privileged:latest", 2),
        ({"enforce": "baseline", "enforce-version": "1.24"}, "baseline:latest", "baseline:latest", 1),
        ({"enforce": "baseline", "enforce-version": "v1.024"}, "baseline:latest", "baseline:latest", 1),
    ],
)
def test_what_labels_ask_for(labels: dict[str, str], enforce: str, warn: str, problems: int) -> None:
    policy, wrong = podsecurity.policy_of({LABEL + k: v for k, v in labels.items()}, podsecurity.Policy())
    assert (str(policy.enforce), str(policy.warn), len(wrong)) == (enforce, warn, problems)


async def namespace(host: Any, name: str, **labels: str) -> Any:
    return await host.add("", "namespaces", {"metadata": {"name": name, "labels": {LABEL + k.replace("_", "-"): v for k, v in labels.items()}}})


async def test_versions_are_honoured(host: Any) -> None:
    await namespace(host, "default", enforce="baseline", enforce_version="v1.33")
    made = host.made("", "pods", {"spec": {"containers": [{"name": "a", "image": "x", **probe("livenessProbe", "httpGet", "h")}]}})
    await podsecurity.check(host.attributes("", "pods", made), host)
    await namespace(host, "newer", enforce="baseline", enforce_version="v1.34")
    made.metadata.namespace = "newer"
    with pytest.raises(errors.Forbidden, match=r'violates PodSecurity "baseline:v1\.34": probe or lifecycle host'):
        await podsecurity.check(host.attributes("", "pods", made), host)


async def test_what_does_not_change_what_is_checked_goes_through(host: Any) -> None:
    await namespace(host, "default", enforce="restricted")
    tree = {"spec": {"containers": [{"name": "a", "image": "x"}]}}
    old, labelled, upgraded = host.made("", "pods", tree), host.made("", "pods", tree), host.made("", "pods", tree)
    labelled.metadata.labels = {"a": "b"}
    upgraded.spec.containers[0].image = "y"
    await podsecurity.check(host.attributes("", "pods", labelled, old), host)
    await podsecurity.check(host.attributes("", "pods", upgraded, old, subresource="status"), host)
    with pytest.raises(errors.Forbidden):
        await podsecurity.check(host.attributes("", "pods", upgraded, old), host)


async def test_exemptions_and_defaults_come_from_the_file(host: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "admission.yaml").write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  path: security.yaml\n"
    )
    (tmp_path / "security.yaml").write_text(
        "apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\n"
        "defaults: {enforce: baseline, enforce-version: v1.30}\n"
        "exemptions: {usernames: [root], runtimeClasses: [sandboxed], namespaces: [infra]}\n"
    )
    host.pod_security = configuration.read(str(tmp_path / "admission.yaml"))
    for name in ("default", "infra"):
        await namespace(host, name)

    def attributes(ns: str = "default", user: str = "jane", **spec: Any) -> Any:
        tree = {"metadata": {"namespace": ns}, "spec": {"hostNetwork": True, "containers": [{"name": "a", "image": "x"}], **spec}}
        return host.attributes("", "pods", host.made("", "pods", tree), user=User(user))

    with pytest.raises(errors.Forbidden, match=r'violates PodSecurity "baseline:v1\.30": host namespaces'):
        await podsecurity.check(attributes(), host)
    await podsecurity.check(attributes(user="root"), host)
    await podsecurity.check(attributes("infra"), host)
    await podsecurity.check(attributes(runtimeClassName="sandboxed"), host)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is no object"), ("kind: Pod", "must be an AdmissionConfiguration"), ("{a: [}", "admission.yaml"),
        ("plugins: [{name: EventRateLimit}]", 'plugin "EventRateLimit" has no settings'),
        ("plugins: [{name: PodSecurity, configuration: {defaults: {enforce: x}}}]", "must be a PodSecurityConfiguration"),
        ("plugins: [{name: PodSecurity, configuration: {K, defaults: {enforce: x}}}]", 'defaults.enforce: Invalid value: "x": must be one of'),
        ("plugins: [{name: PodSecurity, configuration: {K, defaults: {warn-version: '1'}}}]", 'must be "latest" or "v1.x"'),
        ("plugins: [{name: PodSecurity, configuration: {K, default: {}}}]", 'unknown field "default"'),
        ("plugins: [{name: PodSecurity, configuration: {K, exemptions: {namespaces: [A_b]}}}]", "exemptions.namespaces[0]: Invalid value"),
        ("plugins: [{name: PodSecurity, configuration: {K, exemptions: {usernames: [a, a]}}}]", "exemptions.usernames[1]: Duplicate value"),
        ("plugins: [{name: PodSecurity, path: gone.yaml}]", "No such file or directory"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused(tmp_path: pathlib.Path, text: str, why: str) -> None:
    head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n" if text.startswith("plugins") else ""
    kind = "apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration"
    (tmp_path / "admission.yaml").write_text(head + text.replace("K,", kind + ","))
    with pytest.raises(ValueError, match=re.escape(why)):
        configuration.read(str(tmp_path / "admission.yaml"))


async def test_labels_of_a_namespace_must_be_readable(host: Any) -> None:
    good = await namespace(host, "a", enforce="baseline")
    bad = host.made("", "namespaces", {"metadata": {"name": "b", "labels": {f"{LABEL}enforce": "x", f"{LABEL}warn-version": "1"}}})
    with pytest.raises(errors.Invalid) as raised:
        await podsecurity.check(host.attributes("", "namespaces", bad), host)
    assert raised.value.message == (
        'Namespace "b" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "x": must be one of privileged, baseline, '
        'restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1": must be "latest" or "v1.x"]'
    )
    with pytest.raises(errors.Invalid):
        await podsecurity.check(host.attributes("", "namespaces", bad, good), host)
    await podsecurity.check(host.attributes("", "namespaces", bad, bad), host)
    await podsecurity.check(host.attributes("", "namespaces", bad, good, subresource="status"), host)


async def test_a_namespace_that_becomes_stricter_names_its_pods(host: Any) -> None:
    old = await namespace(host, "default")
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": True}
    for i in range(3):
        tree = {"metadata": {"name": f"p{i}", "ownerReferences": [owner]}, "spec": {"hostPID": True, "containers": [{"name": "a", "image": "x"}]}}
        await host.add("", "pods", tree)
    await host.add("", "pods", {"metadata": {"name": "fine"}, "spec": {"containers": [{"name": "a", "image": "x"}]}})
    new = host.made("", "namespaces", {"metadata": {"name": "default", "labels": {f"{LABEL}enforce": "baseline"}}})
    attributes = host.attributes("", "namespaces", new, old)
    attributes.warnings = []
    await podsecurity.check(attributes, host)
    assert attributes.warnings == [
        'existing pods in namespace "default" violate the new PodSecurity enforce level "baseline:latest"',
        "p0 (and 2 other pods): host namespaces",
    ]
    for after, before in ((old, new), (new, new)):
        calm = host.attributes("", "namespaces", after, before)
        calm.warnings = []
        await podsecurity.check(calm, host)
        assert calm.warnings == []


async def test_templates_are_warned_about(host: Any) -> None:
    await namespace(host, "default", enforce="restricted")
    spec = {"containers": [{"name": "a", "image": "x"}], "hostIPC": True}
    job = host.made("batch", "cronjobs", {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": spec}}}}})
    attributes = host.attributes("batch", "cronjobs", job)
    attributes.warnings = []
    await podsecurity.check(attributes, host)
    assert attributes.warnings[0].startswith('would violate PodSecurity "restricted:latest": host namespaces (hostIPC=true)')


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"containers": [{"name": "a", "image": "x", **UNMASKED}]}, "spec.containers[0].securityContext.procMount: Invalid value"),
        ({"hostUsers": True, "containers": [{"name": "a", "image": "x", **UNMASKED}]}, "`hostUsers` must be false to use `Unmasked`"),
        ({"hostUsers": False, "hostNetwork": True}, "spec.hostNetwork: Forbidden: when `hostUsers` is false"),
        ({"hostUsers": False, "hostPID": True}, "spec.HostPID: Forbidden: when `hostUsers` is false"),
        ({"hostUsers": False, "hostIPC": True}, "spec.HostIPC: Forbidden: when `hostUsers` is false"),
    ],
)
def test_an_unmasked_proc_needs_users_of_its_own(host: Any, spec: dict[str, Any], why: str) -> None:
    made = host.made("", "pods", {"spec": {"containers": [{"name": "a", "image": "x"}], **spec}})
    assert any(why in str(p) for p in table.of("", "pods").validate(made))
    fine = host.made("", "pods", {"spec": {"hostUsers": False, "containers": [{"name": "a", "image": "x", **UNMASKED}]}})
    assert [str(p) for p in table.of("", "pods").validate(fine)] == []


# ---- mountable secrets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["true", "1", "T"])
async def test_containers_added_later_mount_no_other_secrets(host: Any, value: str) -> None:
    annotations = {"kubernetes.io/enforce-mountable-secrets": value}
    await host.add("", "serviceaccounts", {"metadata": {"name": "default", "annotations": annotations}, "secrets": [{"name": "mine"}]})
    tree = {"spec": {"serviceAccountName": "default", "containers": [{"name": "a", "image": "x"}]}}
    old, new = host.made("", "pods", tree), host.made("", "pods", tree)

    def added(**container: Any) -> Any:
        new.spec.ephemeralContainers = [codec.from_tree(core_v1.EphemeralContainer, {"name": "d", "image": "x", **container})]
        return host.attributes("", "pods", new, old, subresource="ephemeralcontainers")

    await serviceaccounts.validate(added(envFrom=[{"secretRef": {"name": "mine"}}]), host.catalog)
    tail = 'secret.secretName="other" is not allowed because service account default does not reference that secret'
    with pytest.raises(errors.Forbidden, match=re.escape(f"ephemeral container d with envFrom referencing {tail}")):
        await serviceaccounts.validate(added(envFrom=[{"secretRef": {"name": "other"}}]), host.catalog)
    variable = {"name": "V", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}
    with pytest.raises(errors.Forbidden, match=re.escape(f"ephemeral container d with envVar V referencing {tail}")):
        await serviceaccounts.validate(added(env=[variable]), host.catalog)
