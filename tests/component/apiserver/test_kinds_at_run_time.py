"""A kind that is put together while the server runs is treated like those it was built with."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api import resources
from navarch.api.core import v1 as core_v1
from navarch.apiserver.kinds.columns import name_of, sheet
from navarch.apiserver.kinds.strategy import Part, Strategy, selectable
from navarch.apiserver.served import Served
from navarch.apiserver.shapes import Typed
from navarch.apiserver.watch_cache import Cache
from navarch.machinery import field, names
from navarch.machinery.field import Problem
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")


class Gadgets(Typed):
    """Objects that look like Secrets and are none."""

    def __init__(self) -> None:
        super().__init__(core_v1.Secret)
        self.envelope = ("example.test/v1", "Gadget")


def default(obj: core_v1.Secret) -> None:
    obj.type = obj.type or "plain"


def prepare(obj: core_v1.Secret, now: float) -> None:
    obj.data = {**(obj.data or {}), "made": str(int(now > 0))}


def keep_data(new: core_v1.Secret, old: core_v1.Secret, now: float) -> None:
    new.data = old.data


def rules(obj: core_v1.Secret) -> list[Problem]:
    return [field.invalid("type", obj.type, "must be spelled in small letters")] if (obj.type or "").lower() != obj.type else []


def rules_of_change(new: core_v1.Secret, old: core_v1.Secret) -> list[Problem]:
    return [field.invalid("type", new.type, "field is immutable")] if new.type != old.type else []


def retype(new: core_v1.Secret, old: core_v1.Secret, now: float) -> None:
    new.data = old.data


STRATEGY = Strategy(
    default=default,
    prepare_create=prepare,
    prepare_update=keep_data,
    validate=rules,
    validate_update=rules_of_change,
    subresources={"type": Part(retype)},
    name=names.dns_label,
    columns=sheet("Name|Sort", lambda tree, now: [name_of(tree, now), tree.get("type", "")]),
    row_conditions=lambda tree: [{"type": "Odd", "status": "True"}] if tree.get("type") == "odd" else [],
    selectable=selectable("type"),
    indexed=("type",),
    generation=True,
    create_on_update=True,
    returns_deleted=True,
    finalizers=lambda obj: ["example.test/wait"] if (obj.data or {}).get("wait") else [],
    terminate=lambda obj: setattr(obj, "type", "going"),
)


@pytest.fixture
def gadgets(api: server.ApiServer, ns: str) -> Any:
    """The path of the collection, served from now on."""
    part = resources.Subresource("type", "Gadget", "example.test", "v1", ("get", "update", "patch"))
    resource = resources.Resource("example.test", "v1", "gadgets", "Gadget", True, VERBS, {"type": part})
    shape = Gadgets()
    catalog = api.parts.catalog
    catalog.add(Served(resource, STRATEGY, Cache("/registry/gadgets.example.test/", STRATEGY.selectable, STRATEGY.indexed), shape, shape))
    yield f"/apis/example.test/v1/namespaces/{ns}/gadgets"
    catalog.remove("example.test", "v1", "gadgets")


def gadget(name: str, **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "example.test/v1", "kind": "Gadget", "metadata": {"name": name}, **rest}


async def test_it_is_defaulted_prepared_checked_and_counted(http: Any, gadgets: str) -> None:
    made = await http("POST", gadgets, gadget("a", data={"k": "djE="}))
    assert made.status == 201, made.body
    held = made.json
    assert (held["apiVersion"], held["kind"]) == ("example.test/v1", "Gadget")
    assert (held["type"], held["data"], held["metadata"]["generation"]) == ("plain", {"k": "djE=", "made": "1"}, 1)
    refused = await http("POST", gadgets, gadget("b", type="LOUD"))
    assert refused.status == 422 and "must be spelled in small letters" in refused.message
    assert "must not contain dots" in (await http("POST", gadgets, gadget("b.c"))).message
    refused = await http("PUT", f"{gadgets}/a", {**held, "type": "other"})
    assert refused.status == 422 and "field is immutable" in refused.message
    changed = await http("PUT", f"{gadgets}/a", {**held, "data": {}, "immutable": True})
    assert (changed.json["data"], changed.json["metadata"]["generation"]) == (held["data"], 2)
    retyped = await http("PUT", f"{gadgets}/a/type", {**changed.json, "type": "other", "data": {}})
    assert (retyped.status, retyped.json["type"], retyped.json["data"]) == (200, "other", held["data"]), retyped.body
    assert (await http("PUT", f"{gadgets}/new", gadget("new"))).status == 201, "a PUT creates it"


async def test_it_is_selected_and_shown_by_its_own_fields(http: Any, gadgets: str) -> None:
    for name, sort in (("a", "odd"), ("b", "even")):
        assert (await http("POST", gadgets, gadget(name, type=sort))).status == 201
    listed = await http("GET", gadgets, query={"fieldSelector": "type=odd"})
    assert [o["metadata"]["name"] for o in listed.json["items"]] == ["a"]
    table = (await http("GET", gadgets, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).json
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Sort"]
    assert [(r["cells"], r.get("conditions")) for r in table["rows"]] == [
        (["a", "odd"], [{"type": "Odd", "status": "True"}]),
        (["b", "even"], None),
    ]


async def test_it_goes_when_its_own_finalizers_are_gone(http: Any, gadgets: str) -> None:
    assert (await http("POST", gadgets, gadget("a", data={"wait": "MQ=="}))).status == 201
    assert (await http("POST", gadgets, gadget("b"))).status == 201
    gone = await http("DELETE", f"{gadgets}/b")
    assert gone.json["kind"] == "Gadget", "the object is returned"
    assert (await http("GET", f"{gadgets}/b")).status == 404
    waiting = (await http("DELETE", f"{gadgets}/a")).json
    assert waiting["type"] == "going" and waiting["metadata"]["deletionTimestamp"]
    assert (await http("GET", f"{gadgets}/a")).status == 200
