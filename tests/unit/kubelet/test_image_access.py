"""Images on the node and who may use them: a pod without the credentials an image was pulled with has to show its own."""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import cast

import pytest

from navarch.api.core import v1
from navarch.api.meta import v1 as meta_v1
from navarch.cri.client import Client, CriError, Image
from navarch.kubelet.core import image_access
from navarch.kubelet.core.image_access import Access, Policy, Pulled, Rules, Secret
from navarch.kubelet.image_records import Records
from navarch.kubelet.images import Puller, StartError

IMAGE = "registry.test/private/app:1"


class Registry:
    """A runtime with a registry behind it that knows passwords."""

    def __init__(self, passwords: Sequence[str] = (), present: Mapping[str, str] | None = None) -> None:
        self.passwords = set(passwords)
        self.present = dict(present or {})
        self.pulls: list[str] = []
        self.cut = False

    async def image_status(self, name: str) -> Image | None:
        found = self.present.get(name)
        return Image(found, (name,), (), 1, None, "", False) if found else None

    async def list_images(self) -> list[Image]:
        return [Image(ref, (name,), (), 1, None, "", False) for name, ref in self.present.items()]

    async def pull_image(self, name: str, auth: Mapping[str, str] | None, config: object) -> str:
        password = (auth or {}).get("password", "")
        self.pulls.append(password)
        if self.passwords and password not in self.passwords:
            raise CriError("Unknown", "pull access denied")
        self.present[name] = f"id of {name}"
        if self.cut:
            raise KeyboardInterrupt
        return self.present[name]


def secret(name: str, password: str, namespace: str = "d", uid: str = "") -> v1.Secret:
    login = {"auths": {"registry.test": {"username": "u", "password": password}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(login).encode()).decode()}
    return v1.Secret(metadata=meta_v1.ObjectMeta(name=name, namespace=namespace, uid=uid or f"uid-{name}"), data=data)


class Node:
    def __init__(self, folder: pathlib.Path, registry: Registry, rules: Rules | None = None) -> None:
        self.registry, self._folder, self._rules = registry, folder, rules or Rules()
        self.restart()

    def restart(self) -> None:
        self.puller = Puller(cast(Client, self.registry), Records(self._folder), self._rules)

    async def start(self, *secrets: v1.Secret, image: str = IMAGE, policy: str = "IfNotPresent") -> str:
        """ "used" or "pulled", or the reason of the refusal."""
        before = len(self.registry.pulls)
        try:
            await self.puller.ensure(image, policy, secrets, None, lambda *_: None)
        except StartError as error:
            return error.reason
        return "pulled" if len(self.registry.pulls) > before else "used"


async def test_a_private_image_is_not_for_every_pod_of_the_node(tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, Registry(["right"]))
    assert await node.start(secret("a", "right")) == "pulled"
    assert await node.start(secret("a", "right")) == "used"
    assert await node.start() == "ErrImagePull"
    assert await node.start(policy="Never") == "ErrImageNeverPull"
    assert await node.start(secret("b", "wrong")) == "ErrImagePull"
    assert await node.start(secret("b", "wrong"), policy="Never") == "ErrImageNeverPull"
    node.restart()
    assert await node.start() == "ErrImagePull"
    assert await node.start(secret("a", "right")) == "used"
    assert await node.start(secret("a", "right"), policy="Never") == "used"


async def test_the_same_login_in_another_secret_counts_and_is_noted(tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, Registry(["right"]))
    await node.start(secret("a", "right"))
    assert await node.start(secret("other", "right", "elsewhere")) == "used"
    # The secret is known by itself now: a new password in it counts, too.
    assert await node.start(secret("other", "new", "elsewhere")) == "used"
    assert await node.start(secret("other", "new", "elsewhere", uid="another")) == "used"
    assert await node.start(secret("third", "third")) == "ErrImagePull"


async def test_an_image_anybody_can_pull_is_for_everybody(tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, Registry())
    assert await node.start() == "pulled"
    assert await node.start(secret("a", "x")) == "used"
    assert await node.start() == "used"


async def test_access_is_by_name_though_the_image_is_the_same(tmp_path: pathlib.Path) -> None:
    other = "registry.test/other/app:1"
    node = Node(tmp_path, Registry(["right"]))
    await node.start(secret("a", "right"))
    node.registry.present[other] = node.registry.present[IMAGE]
    assert await node.start(image=other) == "ErrImagePull"
    assert await node.start(secret("a", "right"), image="registry.test/private/app:1") == "used"


async def test_images_brought_by_hand_are_for_everybody_unless_told_otherwise(tmp_path: pathlib.Path) -> None:
    registry = Registry(["right"], present={IMAGE: "by-hand"})
    assert await Node(tmp_path / "1", registry).start() == "used"
    assert await Node(tmp_path / "2", registry, Rules(Policy.NEVER)).start() == "used"
    assert await Node(tmp_path / "3", registry, Rules(Policy.ALWAYS)).start() == "ErrImagePull"
    assert await Node(tmp_path / "4", registry, Rules(Policy.ALLOWLISTED, ["registry.test/private/*"])).start() == "used"
    assert await Node(tmp_path / "5", registry, Rules(Policy.ALLOWLISTED, ["registry.test/private/app"])).start() == "used"
    assert await Node(tmp_path / "6", registry, Rules(Policy.ALLOWLISTED, ["registry.test/priv/*"])).start() == "ErrImagePull"


async def test_a_pull_the_kubelet_died_in_leaves_an_image_for_nobody(tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, Registry(["right"]))
    node.registry.cut = True
    with pytest.raises(KeyboardInterrupt):
        await node.puller.ensure(IMAGE, "IfNotPresent", [secret("a", "right")], None, lambda *_: None)
    node.registry.cut = False
    node.restart()
    assert await node.start() == "ErrImagePull"
    node = Node(tmp_path, node.registry)
    await node.puller.settle()
    assert not Records(tmp_path).intents()
    assert await node.start() == "ErrImagePull"
    assert await node.start(secret("a", "right")) == "pulled"
    assert await node.start(secret("a", "right")) == "used"


async def test_records_go_with_their_images(tmp_path: pathlib.Path) -> None:
    node = Node(tmp_path, Registry(["right"]))
    await node.start(secret("a", "right"))
    ref = node.registry.present[IMAGE]
    await node.puller.prune([], since=0.0)
    assert Records(tmp_path).get(ref) is not None
    await node.puller.prune([], since=4e9)
    assert Records(tmp_path).get(ref) is None


def test_a_record_nobody_can_read_lets_nobody_in(tmp_path: pathlib.Path) -> None:
    records = Records(tmp_path)
    records.put(Pulled("ref", {"registry.test/app": Access(everybody=True)}))
    held = records.get("ref")
    assert held is not None
    assert not image_access.must_pull(held, "registry.test/app:2", [])
    next((tmp_path / "image_manager" / "pulled").iterdir()).write_text("{")
    held = records.get("ref")
    assert held is not None
    assert image_access.must_pull(held, "registry.test/app:2", [])
    assert (tmp_path / "image_manager" / "pulled").stat().st_mode & 0o777 == 0o700


def test_records_of_secrets_are_merged() -> None:
    one, renewed, two = Secret("n", "a", "1", "x"), Secret("n", "a", "1", "y"), Secret("n", "b", "2", "z")
    record = image_access.with_access(Pulled("r"), "i:1", Access(secrets=(one,)))
    record = image_access.with_access(record, "i:2", Access(secrets=(two, renewed)))
    assert [s.hash for s in record.access["i"].secrets] == ["y", "z"]
    record = image_access.with_access(record, "i", Access(everybody=True))
    assert image_access.with_access(record, "i", Access(secrets=(one,))).access["i"] == Access(everybody=True)


@pytest.mark.parametrize(
    ("image", "name"),
    [("a", "a"), ("a:1", "a"), ("h:5000/a", "h:5000/a"), ("h:5000/a:1", "h:5000/a"), ("h/a@sha256:0", "h/a"), ("h/a:1@sha256:0", "h/a")],
)
def test_names_without_tag_and_digest(image: str, name: str) -> None:
    assert image_access.untagged(image) == name


@pytest.mark.parametrize("pattern", ["", "/*", "*", "a*", "a/*/b", "a:1", " a", "a@sha256:0"])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"wildcard|neither"):
        Rules(Policy.ALLOWLISTED, [pattern])
