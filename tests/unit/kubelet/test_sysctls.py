"""Kernel settings: the safe ones, those the node's owner allows, and everything else refused."""

from __future__ import annotations

import pytest

from navarch.api.core import v1
from navarch.kubelet.core import admission, sysctls

KERNEL = "6.1.0-18-amd64"


def pod(*names: str, **spec: bool) -> v1.Pod:
    wanted = [v1.Sysctl(name=name, value="1") for name in names]
    body = v1.PodSpec(securityContext=v1.PodSecurityContext(sysctls=wanted), **spec)  # type: ignore[arg-type]
    return v1.Pod(spec=body)


@pytest.mark.parametrize("name", [name for name, _ in sysctls.SAFE])
def test_safe_ones(name: str) -> None:
    assert sysctls.Allowlist((), KERNEL).check(pod(name)) is None
    assert sysctls.Allowlist((), KERNEL).check(pod(name.replace(".", "/"))) is None
    shared = {"hostIPC": True} if name.startswith("kernel") else {"hostNetwork": True}
    where = "IPC" if name.startswith("kernel") else "Net"
    refused = sysctls.Allowlist((), KERNEL).check(pod(name, **shared))
    assert refused is not None
    assert refused.message == f'forbidden sysctl: "{name}" not allowed with host {where} enabled'


@pytest.mark.parametrize("name", ["kernel.msgmax", "net.core.somaxconn", "fs.mqueue.msg_max", "vm.swappiness", "kernel.core_pattern", ""])
def test_everything_else_is_refused(name: str) -> None:
    allowed = sysctls.Allowlist((), KERNEL)
    refused = admission.check(pod("net.ipv4.tcp_syncookies", name), None, {}, [], allowed)
    assert refused is not None
    assert (refused.reason, refused.message) == ("SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{name}" not allowlisted')


def test_what_the_owner_allows() -> None:
    allowed = sysctls.Allowlist(["kernel.msg*", "net/core/somaxconn", "net.ipv6.*"], KERNEL)
    for name in ("kernel.msgmax", "net.core.somaxconn", "net.ipv6.conf.all.forwarding", "net/ipv6/conf/eth0.1/forwarding"):
        assert allowed.check(pod(name)) is None, name
    assert allowed.check(pod("net.core.somaxconn", hostNetwork=True)) is not None
    assert allowed.check(pod("kernel.msgmax", hostIPC=True)) is not None
    assert allowed.check(pod("net.core.rmem_max")) is not None


@pytest.mark.parametrize("pattern", ["vm.swappiness", "kernel.core_pattern", "kernel.*", "*", "", "NET.x", "net..x", "net.x y"])
def test_what_nobody_can_allow(pattern: str) -> None:
    with pytest.raises(sysctls.BadPattern):
        sysctls.Allowlist([pattern], KERNEL)


def test_an_old_kernel_has_fewer_safe_ones() -> None:
    assert sysctls.Allowlist((), "4.4.0").check(pod("net.ipv4.tcp_keepalive_time")) is not None
    assert sysctls.Allowlist((), "4.4.0").check(pod("net.ipv4.tcp_syncookies")) is None


@pytest.mark.parametrize(
    ("name", "dots"), [("net.a.b", "net.a.b"), ("net/a/b", "net.a.b"), ("net/ipv4/eth0.1/x", "net.ipv4.eth0/1.x"), ("net.a/b", "net.a/b")]
)
def test_names_with_slashes(name: str, dots: str) -> None:
    assert sysctls.normalized(name) == dots
