"""Security levels of namespaces: what each forbids, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api.core import v1 as core_v1
from navarch.apiserver.admission import podsecurity
from navarch.machinery import codec

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
    return [str(b) for b in podsecurity.broken(made, level)]


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
