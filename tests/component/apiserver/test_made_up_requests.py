"""Requests made at random from the server's own OpenAPI documents, custom resources' among them: right, nearly right and wrong.

Whatever comes, the answer is none of the server's own failures, it comes in time, and the server goes on answering others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from navarch.testing import server
from tests.component.apiserver.conftest import Http
from tests.component.apiserver.definitions import define, definition, version

GROUP = "made-up.example.com"
DOCUMENTS = (
    f"apis/{GROUP}/v1",
    "api/v1",
    "apis/apps/v1",
    "apis/coordination.k8s.io/v1",
    "apis/apiextensions.k8s.io/v1",
    "apis/admissionregistration.k8s.io/v1",
)
APPLY = "application/apply-patch+yaml"
KEPT = frozenset({"watch", "follow"})
"""Parameters that make an answer go on for ever, rightly."""
PLACES = {"namespace": ["default", "absent"], "name": ["made-up", "Ä/..", "x" * 300]}
MEDIA = {
    "patch": ["application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml", "application/strategic-merge-patch+json"]
}
Tree = dict[str, Any]

anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "spec", "metadata", "kind", ""]), inner, max_size=2),
    max_leaves=5,
)


class Bodies:
    """Values by the schemas of a document; now and then not quite."""

    def __init__(self, document: Tree, data: st.DataObject) -> None:
        self._types = document["components"]["schemas"]
        self._data = data
        self._left = 60
        """How many values may still be made."""

    def value(self, schema: Tree) -> Any:
        self._left -= 1
        odd = self._data.draw(st.integers(0, 15))
        if self._left < 0 or odd == 0:
            return self._data.draw(anything)
        if "$ref" in schema:
            return self.value(self._types[schema["$ref"].rpartition("/")[2]])
        for union in ("allOf", "oneOf", "anyOf"):
            if union in schema:
                return self.value(schema[union][0])
        if "enum" in schema:
            return self._data.draw(st.sampled_from(schema["enum"]))
        if "properties" in schema:
            return self._object(schema)
        if schema.get("type") == "array":
            return [self.value(schema["items"]) for _ in range(self._data.draw(st.integers(0, 2)))]
        if "additionalProperties" in schema:
            return {self._data.draw(st.text(max_size=3)): self.value(schema["additionalProperties"])}
        simple = {
            "string": st.sampled_from(["", "a", "made-up", "10m", "2030-01-01T00:00:00Z"]),
            "integer": st.integers(-1, 2**31),
            "boolean": st.booleans(),
        }
        return self._data.draw(simple.get(schema.get("type", ""), anything))

    def _object(self, schema: Tree) -> Tree:
        properties, required = schema["properties"], schema.get("required", [])
        likely = [key for key in ("apiVersion", "kind", "metadata", "spec") if key in properties]
        more = self._data.draw(st.lists(st.sampled_from(sorted(properties)), max_size=3, unique=True))
        return {key: self.value(properties[key]) for key in dict.fromkeys([*required, *likely, *more]) if key in properties}


def operations(document: Tree) -> list[tuple[str, str, Tree, list[Tree]]]:
    """Path, verb, operation and parameters, in the order of names; proxies and watches have no end that is ours."""
    found: list[tuple[str, str, Tree, list[Tree]]] = []
    for path, item in sorted(document["paths"].items()):
        if any(word in path for word in ("/watch/", "/proxy", "/exec", "/attach", "/portforward", "/log")):
            continue
        for verb in ("get", "post", "put", "patch", "delete"):
            if verb in item and (verb != "delete" or "{name}" in path) and "/namespaces/{name}" not in path:
                found.append((path, verb, item[verb], [*item.get("parameters", []), *item[verb].get("parameters", [])]))
    return found


async def ask(http: Http, documents: dict[str, Tree], data: st.DataObject) -> None:
    document = documents[data.draw(st.sampled_from(DOCUMENTS))]
    path, verb, operation, parameters = data.draw(st.sampled_from(operations(document)))
    for name, held in PLACES.items():
        path = path.replace(f"{{{name}}}", data.draw(st.sampled_from(held)))
    path = path.replace("{path}", "x")
    query = {
        p["name"]: str(data.draw(st.sampled_from(["", "true", "1", "-1", "All", "a=b", "x in (", "99999999999999999999", "\x00é"])))
        for p in parameters
        if p["in"] == "query" and p["name"] not in KEPT and data.draw(st.integers(0, 4)) == 0
    }
    body: Any = None
    media = "application/json"
    if verb == "patch":
        media = data.draw(st.sampled_from(MEDIA["patch"]))
        kind = operation.get("responses", {}).get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
        body = Bodies(document, data).value(kind)
    elif "requestBody" in operation:
        content = operation["requestBody"]["content"]
        body = Bodies(document, data).value(next(iter(content.values()))["schema"])
    answer = await asyncio.wait_for(http(verb.upper(), path, body, query=query, media=media), 5)
    expected = media == APPLY and answer.status >= 500 and "failed to create typed patch object" in answer.message  # as upstream has it
    assert answer.status < 500 or expected, (verb, path, query, media, body, answer.body)
    begun = time.perf_counter()
    assert (await http("GET", "/api/v1/namespaces/default")).status == 200
    took = time.perf_counter() - begun
    assert took < 1, f"{took:.3f} s for the next request"


@pytest.fixture(scope="module")
def served() -> Any:
    """A server on a loop of its own, for tests that are not coroutines."""
    with asyncio.Runner() as runner:

        async def start() -> tuple[Any, Http, dict[str, Tree]]:
            running = server.running()
            http = Http(await running.__aenter__())
            await define(
                http,
                definition(
                    GROUP,
                    version(subresources={"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}),
                ),
            )
            return running, http, {name: (await http("GET", f"/openapi/v3/{name}")).json for name in DOCUMENTS}

        running, http, documents = runner.run(start())
        try:
            yield lambda data: runner.run(ask(http, documents, data))
        finally:
            runner.run(http.close())
            runner.run(running.__aexit__(None, None, None))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_request_makes_the_server_fail(served: Callable[[Any], None], data: st.DataObject) -> None:
    served(data)
