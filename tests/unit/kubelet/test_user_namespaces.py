"""Pods with users of their own: which ids they get, that these are never shared, and that no pod silently gets the node's root."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any, cast

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.node import v1 as node_v1
from navarch.cri.client import Client, Handler, SandboxStatus
from navarch.kubelet import configs, user_namespaces
from navarch.kubelet.core.env import ConfigError
from navarch.kubelet.handlers import Handlers
from navarch.kubelet.images import Puller
from navarch.kubelet.references import References
from navarch.kubelet.runtime import Runtime, Settings, Surroundings
from navarch.kubelet.user_namespaces import LENGTH, NoIds, Range, UserNamespaces
from navarch.kubelet.volumes import table
from navarch.kubelet.volumes.mounter import Mounter
from navarch.kubelet.volumes.tokens import Tokens

FOUR = Range(LENGTH, 4 * LENGTH)


def test_ranges_are_apart_and_survive_a_restart(tmp_path: pathlib.Path) -> None:
    ids = UserNamespaces(tmp_path, FOUR)
    found = {uid: ids.range_of(uid) for uid in "abc"}
    assert sorted(r.first // LENGTH for r in found.values()) == [1, 2, 3]
    assert ids.range_of("a") == found["a"]
    held = json.loads((tmp_path / "a" / "userns").read_text())
    assert held["uidMappings"] == held["gidMappings"] == [{"hostId": found["a"].first, "containerId": 0, "length": LENGTH}]
    again = UserNamespaces(tmp_path, FOUR)
    assert {uid: again.range_of(uid) for uid in "abc"} == found
    assert again.range_of("d").first == 4 * LENGTH
    with pytest.raises(NoIds, match="could not find an empty slot"):
        again.range_of("e")
    again.release("b")
    assert not (tmp_path / "b" / "userns").exists()
    assert again.range_of("e") == found["b"]


def test_a_file_nobody_can_read_gives_no_other_range(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "userns").write_text("{}")
    with pytest.raises(NoIds, match="invalid user namespace mappings file"):
        UserNamespaces(tmp_path, FOUR).range_of("a")


@pytest.mark.parametrize("text", ["", "0: kubelet 65536", "0: kubelet 0 655360", "0: kubelet 65537 65536", "0: k 65536 65536\n1: k 9 9"])
def test_subordinate_ids_that_cannot_be_used(text: str) -> None:
    with pytest.raises(NoIds):
        user_namespaces._parse(text)


def test_subordinate_ids() -> None:
    assert user_namespaces._parse("0: kubelet 65536 7208960\n") == Range(65536, 7208960)


class Recording:
    """A runtime that notes what it was asked to make."""

    def __init__(self) -> None:
        self.sandboxes: list[Any] = []

    async def run_sandbox(self, config: Any, handler: str) -> str:
        self.sandboxes.append(config)
        return "s"

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        return SandboxStatus(sandbox_id, True, 0, (), False)


class Classes:
    """References that know one RuntimeClass."""

    async def fetch(self, kind: type[Any], namespace: str, name: str, max_age: float = 0.0) -> Any:
        return node_v1.RuntimeClass(handler=name)


def runtime(folder: pathlib.Path, cri: Recording, handlers: Mapping[str, Handler]) -> Runtime:
    references = cast(References, Classes())
    mounter = Mounter(folder, table.plugins(references, Tokens(cast(Any, None)), dict))
    settings = Settings(folder, str(folder / "logs"), configs.Dns(), 1 << 30, pod_cgroups=False)
    around = Surroundings(tuple, dict, tuple, lambda: True, lambda: handlers)
    ids = UserNamespaces(folder / "pods", FOUR)
    client = cast(Client, cri)
    return Runtime(client, mounter, cast(Puller, None), references, cast(Handlers, None), settings, around, ids)


def pod(host_users: bool | None, runtime_class: str | None = None) -> v1.Pod:
    meta = meta_v1.ObjectMeta(name="p", namespace="d", uid="uid-p")
    volume = v1.Volume(name="v", emptyDir=v1.EmptyDirVolumeSource())
    container = v1.Container(name="c", image="i")
    return v1.Pod(metadata=meta, spec=v1.PodSpec(hostUsers=host_users, runtimeClassName=runtime_class, containers=[container], volumes=[volume]))


ABLE, UNABLE = Handler(True, True), Handler(False, False)


@pytest.mark.parametrize(
    ("handlers", "runtime_class", "problem"),
    [
        ({}, None, "runtime does not support user namespaces"),
        ({"": UNABLE}, None, "runtime does not support user namespaces"),
        ({"": ABLE, "kata": UNABLE}, "kata", 'RuntimeClass handler "kata" does not support user namespaces'),
        ({"": ABLE}, "kata", 'RuntimeClass handler "kata" does not support user namespaces: the handler "kata" is not known'),
        ({}, "kata", 'RuntimeClass handler "kata" does not support user namespaces'),
    ],
)
async def test_a_runtime_without_user_namespaces_gets_no_such_pod(
    tmp_path: pathlib.Path, handlers: Mapping[str, Handler], runtime_class: str | None, problem: str
) -> None:
    cri = Recording()
    with pytest.raises(ConfigError) as refused:
        await runtime(tmp_path, cri, handlers).make_sandbox(pod(False, runtime_class), 0)
    assert str(refused.value) == f"can't set `spec.hostUsers: false`, {problem}"
    assert not cri.sandboxes
    assert not (tmp_path / "pods").exists()


@pytest.mark.parametrize("host_users", [None, True])
async def test_the_node_s_users_where_nothing_else_is_asked_for(tmp_path: pathlib.Path, host_users: bool | None) -> None:
    cri = Recording()
    await runtime(tmp_path, cri, {}).make_sandbox(pod(host_users), 0)
    assert not cri.sandboxes[0].linux.security_context.namespace_options.HasField("userns_options")


async def test_sandbox_containers_and_mounts_get_the_same_ids(tmp_path: pathlib.Path) -> None:
    cri = Recording()
    node = runtime(tmp_path, cri, {"": ABLE})
    wanted = pod(False)
    await node.make_sandbox(wanted, 0)
    options = cri.sandboxes[0].linux.security_context.namespace_options.userns_options
    assert options.mode == 0  # POD
    mapping = [(m.host_id, m.container_id, m.length) for m in options.uids]
    assert mapping == [(m.host_id, m.container_id, m.length) for m in options.gids] == [(LENGTH, 0, LENGTH)]
    assert wanted.spec is not None
    assert wanted.spec.containers is not None
    mounts = [configs.Mount("/a", "/b")]
    plan = configs.ContainerPlan(0, "i", {}, mounts, 1 << 30, user_range=node._user_range(wanted))
    config = configs.container(wanted, wanted.spec.containers[0], plan)
    assert config.linux.security_context.namespace_options.userns_options == options
    assert [list(m.uidMappings) for m in config.mounts] == [list(options.uids)]
    assert [list(m.gidMappings) for m in config.mounts] == [list(options.gids)]
    await node.remove("uid-p")
    assert not (tmp_path / "pods" / "uid-p").exists()
    other = pod(False)
    assert other.metadata is not None
    other.metadata.uid = "uid-q"
    assert node._user_range(other) != plan.user_range
