"""Versions of a custom resource that a webhook converts: in chunks, in order, forgotten when it fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from navarch.apiserver.extensions import conversion, definition
from navarch.apiserver.extensions.definition import Webhook
from navarch.apiserver.extensions.versions import VersionCache, Versions
from navarch.apiserver.streams import Turns
from navarch.apiserver.watch_cache import Scope
from navarch.machinery import errors
from navarch.store.interface import Change, Put
from navarch.store.memory import Memory
from navarch.testing import waiting

PREFIX = "/registry/widgets.example.com/"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def defined(strategy: str = "Webhook") -> definition.Definition:
    versions = [{"name": n, "served": True, "storage": n == "v1", "schema": {"openAPIV3Schema": ANYTHING}} for n in ("v1", "v2")]
    hook = {"clientConfig": {"url": "https://example.com/convert"}, "conversionReviewVersions": ["v1"]}
    names = {"plural": "widgets", "kind": "Widget"}
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": names,
        "versions": versions,
        "conversion": {"strategy": strategy, "webhook": hook},
    }
    return definition.read(json.dumps({"metadata": {"name": "widgets.example.com"}, "spec": spec}).encode())


def stored(name: str, version: str = "v1", **spec: Any) -> bytes:
    metadata = {"name": name, "namespace": "n", "uid": f"u-{name}"}
    return json.dumps({"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": metadata, "spec": spec}, separators=(",", ":")).encode()


class Hook:
    """A webhook: moves `spec.host` to `spec.address`, says how many it was asked for, and fails when told to."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.failing = False
        self.spoil: Callable[[dict[str, Any]], None] = lambda answer: None

    async def __call__(self, webhook: Webhook, body: bytes) -> bytes:
        await asyncio.sleep(0)
        if self.failing:
            raise conversion.ConversionFailed("the hook is down")
        request = json.loads(body)["request"]
        self.asked.append(len(request["objects"]))
        made = []
        for obj in request["objects"]:
            spec = dict(obj["spec"])
            if "host" in spec:
                spec["address"] = spec.pop("host")
            made.append({**obj, "apiVersion": request["desiredAPIVersion"], "spec": spec})
        answer = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": made}
        self.spoil(answer)
        return json.dumps({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": answer}).encode()


class Kept:
    """Versions over a store, fed by it."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.ended: list[VersionCache] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.store = Memory()

    async def start(self) -> Versions:
        await self.store.start()
        described = defined()
        converter = conversion.of(described, self.hook)
        self.versions = Versions(described, PREFIX, converter, self.store, Turns(), self._run, self.ended.append)
        self.store.subscribe(self._apply)
        await self.versions.load(self.versions.primary)
        return self.versions

    def _apply(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self.versions.primary.tell([self.versions.primary.apply(change)])

    def _run(self, name: str, work: Awaitable[None]) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    async def put(self, name: str, **spec: Any) -> None:
        await self.store.txn(Put(f"{PREFIX}n/{name}", stored(name, **spec)))


async def test_a_version_is_filled_in_chunks_and_follows_in_order() -> None:
    kept = Kept(Hook())
    versions = await kept.start()
    for n in range(1100):
        await kept.put(f"w{n:04}", host=str(n))
    view = versions.view("v2")
    assert view is not None and kept.hook.asked == [], "nobody asked for the version yet"
    await view.ready()
    assert kept.hook.asked == [500, 500, 100] and len(view) == 1100
    entry = view.get("n/w0007")
    assert entry is not None and json.loads(entry.body)["spec"] == {"address": "7"}
    seen: list[str] = []
    view.join(Scope(), lambda events: seen.extend(kind + " " + e.key for kind, e in events))
    await kept.put("new", host="x")
    await kept.put("w0001", host="y")
    await view.ready()
    assert seen == ["ADDED n/new", "MODIFIED n/w0001"]
    assert view.version == versions.primary.version


async def test_a_hook_that_fails_makes_the_version_unreadable_until_it_does_not() -> None:
    kept = Kept(Hook())
    versions = await kept.start()
    await kept.put("a", host="1")
    view = versions.view("v2")
    assert view is not None
    kept.hook.failing = True
    with pytest.raises(errors.ApiError, match=r"conversion webhook for example\.com/v1, Kind=Widget failed: the hook is down"):
        await view.ready()
    kept.hook.failing = False
    await view.ready()
    kept.hook.failing = True
    await kept.put("b", host="2")
    await waiting.until(lambda: view in kept.ended, 2, "the watches to end")
    kept.hook.failing = False
    await view.ready()
    assert len(view) == 2


async def test_what_is_written_in_another_version_is_converted_to_be_stored() -> None:
    versions = await Kept(Hook()).start()
    made = json.loads(await versions.stored(stored("a", "v2", host="1")))
    assert (made["apiVersion"], made["spec"]) == ("example.com/v1", {"address": "1"})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda a: a.update(uid="x"), "expected response.uid="),
        (lambda a: a.update(convertedObjects=[]), "returned 0 objects, expected 1"),
        (lambda a: a.update(result={"status": "Failed", "message": "no"}), "failed: no"),
        (
            lambda a: a["convertedObjects"][0].update(apiVersion="example.com/v3"),
            "(expected example.com/v1, received example.com/v3)",
        ),
        (lambda a: a["convertedObjects"][0]["metadata"].update(name="b"), "must have the same name: a != b"),
        (lambda a: a["convertedObjects"][0].pop("metadata"), "missing metadata in converted object"),
    ],
)
async def test_answers_that_are_wrong_are_told_in_upstream_s_words(spoil: Callable[[dict[str, Any]], None], told: str) -> None:
    hook = Hook()
    hook.spoil = spoil
    versions = await Kept(hook).start()
    with pytest.raises(errors.ApiError) as caught:
        await versions.stored(stored("a", "v2", host="1"))
    assert told in str(caught.value)


async def test_of_metadata_only_labels_and_annotations_may_change() -> None:
    hook = Hook()
    hook.spoil = lambda a: a["convertedObjects"][0]["metadata"].update(labels={"x": "y"}, finalizers=["sneaked/in"])
    versions = await Kept(hook).start()
    made = json.loads(await versions.stored(stored("a", "v2")))
    assert made["metadata"]["labels"] == {"x": "y"} and "finalizers" not in made["metadata"]
