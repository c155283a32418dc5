"""Bodies that mean harm, sent to everything that takes one: each is refused in upstream's words, at once, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from navarch.machinery import codec
from navarch.testing import server

pytestmark = pytest.mark.asyncio(loop_scope="module")
YAML = "application/yaml"
JSON_PATCH, MERGE, STRATEGIC = "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
ALIASING = "yaml: document contains excessive aliasing"
DEEP = "exceeded max depth"


def maps(ns: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{ns}/configmaps" + (f"/{name}" if name else "")


def readers(ns: str) -> list[tuple[str, str]]:
    """One request of each kind that reads a body."""
    account = f"/api/v1/namespaces/{ns}/serviceaccounts/default/token"
    return [
        ("POST", maps(ns)), ("PUT", maps(ns, "m")), ("DELETE", maps(ns, "m")), ("DELETE", maps(ns)), ("POST", account),
        ("POST", f"/api/v1/namespaces/{ns}/pods/p/binding"), ("POST", f"/api/v1/namespaces/{ns}/pods/p/eviction"),
        ("PUT", f"/apis/apps/v1/namespaces/{ns}/deployments/d/scale"), ("PUT", f"/apis/apps/v1/namespaces/{ns}/deployments/d/status"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"), ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ]  # fmt: skip


async def prepared(api: server.ApiServer, http: Any, ns: str) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    assert (await http("POST", maps(ns), {"metadata": {"name": "m"}, "data": {"a": "b"}})).status == 201
    assert (await http("POST", f"/apis/apps/v1/namespaces/{ns}/deployments", deployment)).status == 201
    assert (await http("POST", f"/api/v1/namespaces/{ns}/pods", {"metadata": {"name": "p"}, "spec": template["spec"]})).status == 201


async def test_alias_bombs_are_refused_everywhere_at_once(api: server.ApiServer, http: Any, ns: str) -> None:
    await prepared(api, http, ns)
    patches = [("PATCH", f"{maps(ns, 'm')}?fieldManager=t", media) for media in (APPLY, MERGE, JSON_PATCH, STRATEGIC)]
    long = "a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 500_000 + "]"
    for method, path, media in [*((method, path, YAML) for method, path in readers(ns)), *patches]:
        for bomb in (BOMB, long):
            began = time.perf_counter()
            refused = await http(method, path, bomb, media=media)
            assert (refused.status, ALIASING in refused.message) == (400, True), (method, path, media, refused.message[:200])
            assert time.perf_counter() - began < 1.0


async def test_sensible_aliases_work(http: Any, ns: str) -> None:
    text = "metadata: {name: aliases, labels: &l {a: b}, annotations: *l}\ndata: {<<: *l, c: &v d, e: *v}\n"
    made = await http("POST", maps(ns), text, media=YAML)
    assert made.status == 201, made.message
    assert made.json["metadata"]["annotations"] == {"a": "b"} and made.json["data"] == {"a": "b", "c": "d", "e": "d"}


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
async def test_what_nests_too_deep_is_refused_everywhere(api: server.ApiServer, http: Any, ns: str, opening: str) -> None:
    await prepared(api, http, ns)
    closing = "".join({"[": "]", "{": "}"}.get(c, "") for c in reversed(opening))
    for depth in (codec.MOST_DEPTH + 1, 900, 20_000):
        levels = depth // len(closing)
        deep = '{"spec":' + opening * levels + "1" + closing * levels + "}"
        for media in ("application/json", YAML):
            for method, path in readers(ns):
                refused = await http(method, path, deep, media=media)
                assert (refused.status, DEEP in refused.message) == (400, True), (method, path, media, depth, refused.message[:200])
        for media in (MERGE, STRATEGIC, APPLY):
            refused = await http("PATCH", f"{maps(ns, 'm')}?fieldManager=t", deep, media=media)
            assert (refused.status, DEEP in refused.message) == (400, True), (media, depth, refused.message[:200])
        value = deep[len('{"spec":') : -1]
        refused = await http("PATCH", maps(ns, "m"), f'[{{"op":"add","path":"/data/a","value":{value}}}]', media=JSON_PATCH)
        assert (refused.status, DEEP in refused.message) == (400, True), refused.message[:200]


async def test_what_may_be_nested_as_deep_is_walked_everywhere(api: server.ApiServer, http: Any, ns: str) -> None:
    """The deepest text that is read: no walk over it ends in an error of ours."""
    await prepared(api, http, ns)
    levels = codec.MOST_DEPTH - 3
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inner = opening * levels + "1" + closing * levels
        body = f'{{"metadata":{{"name":"x"}},"a":1,"a":2,"x":{inner},"data":{inner}}}'
        for method, path in readers(ns):
            answer = await http(method, path, body)
            assert answer.status < 500, (method, path, answer.message[:300])
        for media in (MERGE, STRATEGIC):
            answer = await http("PATCH", maps(ns, "m"), f'{{"x":{inner},"data":{inner}}}', media=media)
            assert answer.status < 500, (media, answer.message[:300])
        fields = "f:a".join(["{"] + ['":{"'] * 0) + '"f:a":{' * (levels - 3) + "}" * (levels - 2)
        entries = f'[{{"manager":"x","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{fields}}}]'
        answer = await http("PATCH", maps(ns, "m"), f'{{"metadata":{{"managedFields":{entries}}}}}', media=MERGE)
        assert answer.status < 500, answer.message[:300]
        answer = await http("PATCH", f"{maps(ns, 'm')}?fieldManager=t&force=true", "apiVersion: v1\nkind: ConfigMap\ndata: {a: c}", media=APPLY)
        assert answer.status < 500, answer.message[:300]
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(codec.MOST_DEPTH // 2 - 5):
        schema = {"type": "object", "properties": {"a": schema}}
    names = {"plural": "deeps", "kind": "Deep"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": f"{ns}.test", "scope": "Cluster", "names": names, "versions": [version]}
    definition = {"metadata": {"name": f"deeps.{ns}.test"}, "spec": spec}
    answer = await http("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    assert answer.status < 500, answer.message[:300]


async def test_a_patch_cannot_nest_what_a_body_may_not(http: Any, ns: str) -> None:
    await http("POST", maps(ns), {"metadata": {"name": "m"}, "data": {"a": "b"}})
    for levels in (codec.MOST_DEPTH + 1, 950, 1_500):
        nest = [{"op": "add", "path": "/data" + "/a" * n, "value": {}} for n in range(1, levels)]
        refused = await http("PATCH", maps(ns, "m"), nest, media=JSON_PATCH)
        assert (refused.status, DEEP in refused.message) == (400, True), refused.message[:200]


async def test_json_patches_are_charged_for_what_they_copy(http: Any, ns: str) -> None:
    await http("POST", maps(ns), {"metadata": {"name": "m"}, "data": {"a": "x" * 1000}})
    double = [{"op": "copy", "from": "/data", "path": f"/data/a{n}"} for n in range(40)]
    began = time.perf_counter()
    refused = await http("PATCH", maps(ns, "m"), double, media=JSON_PATCH)
    assert refused.status == 422 and time.perf_counter() - began < 1.0
    many = [{"op": "test", "path": "/data/a", "value": 1}] * 10_001
    refused = await http("PATCH", maps(ns, "m"), many, media=JSON_PATCH)
    assert (refused.status, "The allowed maximum operations in a JSON patch is 10000, got 10001" in refused.message) == (413, True)


async def test_patches_of_long_lists_cost_what_they_hold(http: Any, ns: str) -> None:
    """Ten thousand insertions at the front of a long list, and long lists merged by key."""
    finalizers = [f"a/b{n}" for n in range(20_000)]
    await http("POST", maps(ns), {"metadata": {"name": "m", "finalizers": finalizers}})
    bodies = [
        (JSON_PATCH, [{"op": "add", "path": "/metadata/finalizers/0", "value": "a/b"}] * 9_999),
        (STRATEGIC, {"metadata": {"finalizers": finalizers, "$deleteFromPrimitiveList/finalizers": finalizers[::2]}}),
        (MERGE, {"metadata": {"finalizers": finalizers[::-1]}}),
    ]
    for media, body in bodies:
        began = time.perf_counter()
        assert (await http("PATCH", f"{maps(ns, 'm')}?dryRun=All", body, media=media)).status < 500
        assert time.perf_counter() - began < 5.0, media
    env = [{"name": f"N{n}", "value": "v"} for n in range(8_000)]
    spec = {"containers": [{"name": "c", "image": "i", "env": env}]}
    pod = {"metadata": {"name": "long"}, "spec": spec}
    assert (await http("POST", f"/api/v1/namespaces/{ns}/pods", pod)).status == 201
    began = time.perf_counter()
    answer = await http("PATCH", f"/api/v1/namespaces/{ns}/pods/long?dryRun=All", {"spec": spec}, media=STRATEGIC)
    assert answer.status < 500 and time.perf_counter() - began < 5.0


@pytest.mark.parametrize("text", [b"\xff", b"\xe2\x82", b"\\ud800", b"\\udc00x", b"\\uD83D\\u0041"])
async def test_what_is_no_unicode_becomes_a_replacement(http: Any, ns: str, text: bytes) -> None:
    made = await http("POST", f"{maps(ns)}?dryRun=All", b'{"metadata":{"name":"n"},"data":{"a":"%b"}}' % text)
    replaced = {b"\xe2\x82": "\ufffd\ufffd", b"\\udc00x": "\ufffdx", b"\\uD83D\\u0041": "\ufffdA"}.get(text, "\ufffd")
    assert (made.status, made.json["data"]) == (201, {"a": replaced})


async def test_pairs_and_escaped_backslashes_stay(http: Any, ns: str) -> None:
    made = await http("POST", f"{maps(ns)}?dryRun=All", rb'{"metadata":{"name":"n"},"data":{"a":"\ud83d\ude00 \\ud800"}}')
    assert made.json["data"] == {"a": "\U0001f600 \\ud800"}


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("12:30:45", "12:30:45"), ("190:20:30.15", "190:20:30.15"), ("=", "="), ('"<<"', "<<"), ("!!binary aGk=", "hi"),
        ("2001-12-14", "2001-12-14"), ("1e999", "1e999"),
    ],
)  # fmt: skip
async def test_yaml_scalars_that_are_texts(http: Any, ns: str, scalar: str, value: str) -> None:
    made = await http("POST", f"{maps(ns)}?dryRun=All", f"metadata: {{name: x}}\ndata:\n  a: {scalar}\n", media=YAML)
    assert (made.status, made.json.get("data")) == (201, {"a": value})


@pytest.mark.parametrize("scalar", ["y", "08", "1e3", "0o17", ".inf", "1" * 5000 + ".0", "[a]", "{a: b}"])
async def test_yaml_scalars_that_are_none(http: Any, ns: str, scalar: str) -> None:
    refused = await http("POST", f"{maps(ns)}?dryRun=All", f"metadata: {{name: x}}\ndata:\n  a: {scalar}\n", media=YAML)
    assert refused.status in (400, 201 if len(scalar) > 100 else 400)


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-1e-999999999", "123456789012345678901234567890", "9223372036854775808"])
async def test_no_number_is_our_error(http: Any, ns: str, number: str) -> None:
    pod = f'{{"metadata":{{"name":"x"}},"a":{number},"spec":{{"activeDeadlineSeconds":{number},"containers":[{{"name":"c","image":"i"}}]}}}}'
    for query in ("", "&fieldValidation=Strict"):
        answer = await http("POST", f"/api/v1/namespaces/{ns}/pods?dryRun=All{query}", pod)
        assert answer.status in (201, 400, 422), answer.message
    quota = f'{{"metadata":{{"name":"q"}},"spec":{{"hard":{{"pods":{number}}}}}}}'
    assert (await http("POST", f"/api/v1/namespaces/{ns}/resourcequotas?dryRun=All", quota)).status in (201, 400, 422)
    texts = [
        f"?limit={number}",
        f"?resourceVersion={number}",
        f"?timeoutSeconds={number}",
        f"?labelSelector=a%3E{number}",
        "?watch=1&timeoutSeconds=abc",
    ]
    for query in texts:
        assert (await http("GET", maps(ns) + query)).status in (200, 400, 504), query
    assert (await http("DELETE", f"{maps(ns, 'none')}?gracePeriodSeconds={number}")).status in (400, 404)


@pytest.mark.parametrize("quantity", ["1e-2147483648", "1e2147483647", "9" * 100_000, "１", "²"])
async def test_no_quantity_holds_anybody_up(http: Any, ns: str, quantity: str) -> None:
    began = time.perf_counter()
    hard = {"requests.storage": quantity, "limits.cpu": quantity}
    answer = await http("POST", f"/api/v1/namespaces/{ns}/resourcequotas?dryRun=All", {"metadata": {"name": "q"}, "spec": {"hard": hard}})
    assert answer.status in (201, 400, 422) and time.perf_counter() - began < 0.5


async def test_a_long_key_is_not_written_out_for_each_value(http: Any, ns: str) -> None:
    body = b'{"spec":{"a":1,"a":2,"resourceAttributes":{"' + b"k" * 1_000_000 + b'":[' + b"1," * 500_000 + b"1]}}}"
    began = time.perf_counter()
    answer = await http("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert answer.status < 500 and time.perf_counter() - began < 3.0


async def test_warnings_have_upstreams_bound(http: Any, ns: str) -> None:
    unknown = {f"k{n}{'x' * 2000}": 1 for n in range(200)}
    answer = await http("POST", f"{maps(ns)}?dryRun=All", {"metadata": {"name": "n"}, **unknown})
    assert answer.status == 201 and 0 < sum(map(len, answer.warnings)) < 6_000


async def test_compressed_bodies_are_not_inflated(http: Any, ns: str) -> None:
    import gzip

    body = gzip.compress(b" " * 50_000_000)
    refused = await http("POST", maps(ns), body, headers={"Content-Encoding": "gzip"})
    assert refused.status == 400


async def test_large_bodies_leave_the_loop_to_others(http: Any, ns: str) -> None:
    """A body that takes a second of Python, and what a small request waits meanwhile."""
    await http("POST", maps(ns), {"metadata": {"name": "m"}})
    wide = "metadata: {name: x}\ndata:\n" + "".join(f"  k{n}: v{n}\n" for n in range(120_000))
    large = asyncio.ensure_future(http("POST", f"{maps(ns)}?dryRun=All", wide, media=YAML))
    waits = []
    while not large.done():
        began = time.perf_counter()
        assert (await http("GET", maps(ns, "m"))).status == 200
        waits.append(time.perf_counter() - began)
    assert (await large).status in (201, 413, 422)
    waits.sort()
    assert len(waits) > 5 and waits[len(waits) // 2] < 0.1, waits[-5:]


async def test_no_answer_names_an_exception(http: Any, ns: str) -> None:
    for body in (b"\x00", b"{", b"[" * 5000, b'{"metadata":{"name":1}}', b'{"metadata":[]}', json.dumps({"data": {"a": [1]}}).encode()):
        for media in ("application/json", YAML, "application/vnd.kubernetes.protobuf"):
            refused = await http("POST", maps(ns), body, media=media)
            assert refused.status in (400, 422), (body[:20], media)
            assert "Error" not in refused.message and "Python" not in refused.message, refused.message
