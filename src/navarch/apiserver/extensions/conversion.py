"""From one version of a custom resource to another: by writing another apiVersion (strategy None), or by asking a webhook.

In: objects as trees. Out: the same objects in another version, in order. What a webhook answers is checked: as many objects, of the version
that was asked for, each still itself; of its metadata only labels and annotations count.

How a webhook is reached is not known here (`Post`).

Upstream counterpart: apiextensions-apiserver's pkg/apiserver/conversion.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from navarch.apiserver import background
from navarch.apiserver.extensions.definition import Definition, Webhook
from navarch.machinery import codec
from navarch.machinery.patch.strategic import failure

Tree = dict[str, Any]
MOST_AT_ONCE = 500
"""Objects in one request to a webhook."""
_REVIEWS = ("v1", "v1beta1")
_GROUP = "apiextensions.k8s.io"

Post = Callable[[Webhook, bytes], Awaitable[bytes]]
"""Sends a review and gives the answer's body. ConversionFailed, with the reason, when there is none."""


class ConversionFailed(Exception):
    """A webhook did not convert; the message is upstream's."""


class Converter(Protocol):
    """Converts objects to a version, in order. ApiError when it cannot be done."""

    immediate: bool
    """Whether `rewrite` does it, without asking anybody."""

    async def convert(self, trees: Sequence[Tree], api_version: str) -> list[Tree]: ...


def rewrite(tree: Tree, api_version: str) -> Tree:
    """An object of another version, which differs in nothing but its name."""
    tree["apiVersion"] = api_version
    return tree


class Rewriting:
    """The strategy None."""

    immediate = True

    async def convert(self, trees: Sequence[Tree], api_version: str) -> list[Tree]:
        return [rewrite(tree, api_version) for tree in trees]


class Asking:
    """The strategy Webhook."""

    immediate = False

    def __init__(self, definition: Definition, post: Post) -> None:
        conversion = definition.spec.conversion
        assert conversion is not None and conversion.webhook is not None
        self._webhook = conversion.webhook
        self._post = post

    async def convert(self, trees: Sequence[Tree], api_version: str) -> list[Tree]:
        made = list(trees)
        other = [i for i, tree in enumerate(trees) if tree.get("apiVersion") != api_version]
        for at in range(0, len(other), MOST_AT_ONCE):
            places = other[at : at + MOST_AT_ONCE]
            for i, converted in zip(places, await self._asked([trees[i] for i in places], api_version), strict=True):
                made[i] = converted
        return made

    async def _asked(self, trees: list[Tree], api_version: str) -> list[Tree]:
        kind = f"{trees[0].get('apiVersion')}, Kind={trees[0].get('kind')}"
        uid = str(uuid.uuid4())
        try:
            answer = await self._post(self._webhook, codec.encode(review(self._webhook, trees, api_version, uid)))
            objects = await background.run(len(answer), answered, answer, uid, reviewed(self._webhook))
        except ConversionFailed as error:
            raise failure(f"conversion webhook for {kind} failed: {error}") from None
        if len(objects) != len(trees):
            raise failure(f"conversion webhook for {kind} returned {len(objects)} objects, expected {len(trees)}")
        single = len(trees) == 1
        return [
            _checked(kind, old, new, api_version, "" if single else f" at index {i}") for i, (old, new) in enumerate(zip(trees, objects, strict=True))
        ]


def reviewed(webhook: Webhook) -> str:
    """The version of reviews a webhook takes: the first it names that we know."""
    return next((version for version in webhook.conversionReviewVersions if version in _REVIEWS), "v1")


def review(webhook: Webhook, trees: list[Tree], api_version: str, uid: str) -> Tree:
    """What a webhook is asked."""
    request = {"uid": uid, "desiredAPIVersion": api_version, "objects": trees}
    return {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{reviewed(webhook)}", "request": request}


def answered(data: bytes, uid: str, version: str) -> list[Any]:
    """The objects of an answer. ConversionFailed."""
    try:
        tree = codec.tree(codec.well_formed(data))
    except ValueError as error:
        raise ConversionFailed(f"{error}") from None
    if not isinstance(tree, dict):
        raise ConversionFailed("no response provided")
    response = tree.get("response")
    if version == "v1":
        expected = f"{_GROUP}/v1, Kind=ConversionReview"
        got = f"{tree.get('apiVersion') or ''}, Kind={tree.get('kind') or ''}"
        if got != expected:
            raise ConversionFailed(f"expected webhook response of {expected}, got {got}")
    if not isinstance(response, dict):
        raise ConversionFailed("no response provided")
    if version == "v1" and response.get("uid") != uid:
        raise ConversionFailed(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    status, message = (result.get("status"), result.get("message")) if isinstance(result, dict) else ("", "")
    if status != "Success":
        raise ConversionFailed(message or f"response.result.status was '{status or ''}', not 'Success'")
    objects = response.get("convertedObjects") or []
    if not isinstance(objects, list):
        raise ConversionFailed("response.convertedObjects is no list")
    return objects


def _checked(kind: str, old: Tree, new: Any, api_version: str, where: str) -> Tree:
    """A converted object, with its own metadata but for labels and annotations."""
    invalid = f"conversion webhook for {kind} returned invalid "
    if not isinstance(new, dict):
        raise failure(f"{invalid}converted object{where}: it is no object")
    if new.get("apiVersion") != api_version:
        raise failure(f"{invalid}object at index 0: invalid groupVersion (expected {api_version}, received {new.get('apiVersion') or ''})")
    if new.get("kind") != old.get("kind"):
        raise failure(f"{invalid}object at index 0: invalid kind (expected {old.get('kind')}, received {new.get('kind') or ''})")
    metadata, before = new.get("metadata"), old["metadata"]
    if not isinstance(metadata, dict):
        raise failure(f"{invalid}metadata{' in object' + where if where else ''}: missing metadata in converted object")
    for name, shown in (("name", "name"), ("namespace", "namespace"), ("uid", "UID")):
        if (metadata.get(name) or "") != (before.get(name) or ""):
            raise failure(f"{invalid}object{where}: must have the same {shown}: {before.get(name) or ''} != {metadata.get(name) or ''}")
    new["metadata"] = {**before}
    for name in ("labels", "annotations"):
        new["metadata"].pop(name, None)
        if name in metadata:
            new["metadata"][name] = _texts(metadata[name], f"{invalid}metadata", name)
    return new


def _texts(held: Any, what: str, name: str) -> dict[str, str] | None:
    if held is None:
        return None
    if not isinstance(held, dict) or not all(isinstance(value, str) for value in held.values()):
        raise failure(f"{what}: metadata.{name} must be a map of strings")
    return held


async def unreachable(webhook: Webhook, body: bytes) -> bytes:
    """For a server that was started without a way to webhooks."""
    del webhook, body
    raise ConversionFailed("this server has no client for webhooks")


def of(definition: Definition, post: Post) -> Converter:
    """How a definition's objects are converted."""
    conversion = definition.spec.conversion
    if conversion is not None and conversion.strategy == "Webhook" and conversion.webhook is not None:
        return Asking(definition, post)
    return Rewriting()
