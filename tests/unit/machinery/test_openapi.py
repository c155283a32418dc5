"""The OpenAPI documents, against those of kube-apiserver v1.36.2 without their prose and deprecated watch paths."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from navarch.machinery.openapi import documents, gnostic, schemas
from navarch.machinery.openapi.documents import Publisher
from navarch.machinery.openapi.schemas import V2, V3, Custom

HERE = pathlib.Path(__file__).parent
RECORDED = json.loads((HERE / "openapi_schemas.json").read_text())
OPERATIONS = [line.split("\t") for line in (HERE / "openapi_operations.tsv").read_text().splitlines()]
PUBLISHER = Publisher("test")


def bare(tree: Any) -> Any:
    """Without prose; `allOf` around a lone reference is the reference; lists without order in order."""
    if isinstance(tree, dict):
        kept = {key: value for key, value in tree.items() if key != "description" or not isinstance(value, str)}
        if set(kept) == {"allOf"} and len(kept["allOf"]) == 1:
            return bare(kept["allOf"][0])
        return {key: sorted(value) if key == "required" and isinstance(value, list) else bare(value) for key, value in kept.items()}
    return [bare(inner) for inner in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("name", sorted(RECORDED["schemas"]))
def test_schemas_of_types(name: str) -> None:
    assert bare(schemas.of_type(name, V3)) == bare(RECORDED["schemas"][name])


def operations(name: str) -> Iterator[list[str]]:
    answer = PUBLISHER.v3(name.replace("_", "/"))
    assert answer is not None
    for path, item in json.loads(answer.data)["paths"].items():
        common = [parameter["name"] for parameter in item.get("parameters", [])]
        for method, operation in item.items():
            if method != "parameters":
                yield line(name, path, method, operation, common)


def line(name: str, path: str, method: str, operation: dict[str, Any], common: list[str]) -> list[str]:
    kind = operation.get("x-kubernetes-group-version-kind", {})
    body = operation.get("requestBody", {})
    return [
        name, path, method, operation["operationId"], operation["tags"][0], operation.get("x-kubernetes-action", ""),
        "/".join(kind.get(part, "") for part in ("group", "version", "kind")) if kind else "",
        ",".join(sorted({*common, *(parameter["name"] for parameter in operation.get("parameters", []))})),
        referred(body) + ("!" if body.get("required") else ""),
        " ".join(f"{code}:{referred(answer)}" for code, answer in sorted(operation["responses"].items())),
    ]  # fmt: skip


def referred(body: dict[str, Any]) -> str:
    shapes = [content["schema"] for content in body.get("content", {}).values()]
    return str(shapes[0].get("$ref", shapes[0].get("type"))).rsplit("/", 1)[-1] if shapes else ""


@pytest.mark.parametrize("name", sorted({operation[0] for operation in OPERATIONS}))
def test_operations(name: str) -> None:
    assert sorted(operations(name)) == sorted(operation for operation in OPERATIONS if operation[0] == name)


def test_every_reference_leads_somewhere() -> None:
    for path in PUBLISHER.v3_paths():
        answer = PUBLISHER.v3(path)
        assert answer is not None
        document = json.loads(answer.data)
        missing = {ref for ref in references(document) if ref.removeprefix(V3.prefix) not in document["components"].get("schemas", {})}
        assert missing == set(), path
    document = json.loads(PUBLISHER.v2().data)
    for ref in references(document):
        _, where, name = ref.split("/", 2)
        assert name in document[where]


def references(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if isinstance(tree.get("$ref"), str):
            yield tree["$ref"]
        for value in tree.values():
            yield from references(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from references(value)


def test_operation_ids_are_distinct() -> None:
    ids = [o["operationId"] for item in json.loads(PUBLISHER.v2().data)["paths"].values() for m, o in item.items() if m != "parameters"]
    assert len(ids) == len(set(ids))


# ---- custom resources ----------------------------------------------------------------------------------------------

FOO = Custom(
    group="x.io", version="v1", plural="foos", kind="Foo", list_kind="FooList", namespaced=True,
    document=json.dumps(RECORDED["custom"]["crd"]).encode(), subresources=("status",),
)  # fmt: skip


def test_schemas_of_custom_resources() -> None:
    assert bare(schemas.of_custom(FOO, V3)) == bare(RECORDED["custom"]["v3"])
    assert bare(schemas.of_custom(FOO, V2)) == bare(RECORDED["custom"]["v2"])


def test_descriptions_of_custom_resources_are_published() -> None:
    told = {"type": "object", "description": "A foo.", "properties": {"spec": {"type": "object", "description": "What it is."}}}
    made = schemas.of_custom(dataclasses.replace(FOO, document=json.dumps(told).encode()), V2)
    assert made["io.x.v1.Foo"]["description"] == "A foo."
    assert made["io.x.v1.Foo"]["properties"]["spec"] == {"type": "object", "description": "What it is."}


def test_a_custom_resource_that_keeps_unknown_fields_names_none_in_v2() -> None:
    kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"spec": {"type": "object"}}}
    loose = dataclasses.replace(FOO, document=json.dumps(kept).encode())
    assert schemas.of_custom(loose, V2)["io.x.v1.Foo"] == {
        "type": "object", "x-kubernetes-group-version-kind": [{"group": "x.io", "kind": "Foo", "version": "v1"}],
    }  # fmt: skip
    assert "spec" in schemas.of_custom(loose, V3)["io.x.v1.Foo"]["properties"]


def test_documents_follow_the_custom_resources_and_etags_follow_the_documents() -> None:
    publisher = Publisher("test", [("", "v1"), ("apps", "v1")])
    apps, v2, index = publisher.v3("apis/apps/v1"), publisher.v2(), publisher.index()
    assert publisher.v3("apis/x.io/v1") is None
    publisher.set_custom([FOO])
    foos = publisher.v3("apis/x.io/v1")
    assert foos is not None
    assert "/apis/x.io/v1/namespaces/{namespace}/foos/{name}/status" in json.loads(foos.data)["paths"]
    assert publisher.v3("apis/apps/v1") is apps
    assert publisher.v2().etag != v2.etag
    assert "io.x.v1.Foo" in json.loads(publisher.v2().data)["definitions"]
    listed = json.loads(publisher.index().data)["paths"]["apis/x.io/v1"]["serverRelativeURL"]
    assert listed == f"/openapi/v3/apis/x.io/v1?hash={foos.etag}"
    publisher.set_custom([])
    assert (publisher.v2().data, publisher.v2().etag, publisher.index()) == (v2.data, v2.etag, index)


def test_patches_say_that_fields_can_be_validated() -> None:
    """kubectl asks the server to validate only where it sees this."""
    document = documents.v3("apps", "v1")
    patch = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}


# ---- protobuf ------------------------------------------------------------------------------------------------------


def parts(data: bytes) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = number()
        if tag & 7 == 2:
            size = number()
            found.setdefault(tag >> 3, []).append(data[at : at + size])
            at += size
        elif tag & 7 == 1:
            found.setdefault(tag >> 3, []).append(data[at : at + 8])
            at += 8
        else:
            found.setdefault(tag >> 3, []).append(number())
    return found


def named(data: list[bytes]) -> dict[str, dict[int, list[Any]]]:
    return {parts(entry)[1][0].decode(): parts(parts(entry).get(2, [b""])[0]) for entry in data}


def test_the_document_as_protobuf() -> None:
    document = parts(PUBLISHER.v2_protobuf().data)
    tree = json.loads(PUBLISHER.v2().data)
    assert document[1] == [b"2.0"]
    found = named(parts(document[9][0])[1])
    assert found.keys() == tree["definitions"].keys()
    spec = found["io.k8s.api.apps.v1.DeploymentSpec"]
    assert spec[19] == [b"selector", b"template"]
    assert parts(spec[22][0]) == {1: [b"object"]}
    fields = named(parts(spec[25][0])[1])
    assert fields["template"][1] == [b"#/definitions/io.k8s.api.core.v1.PodTemplateSpec"]
    assert fields["replicas"][2] == [b"int32"]
    extension = parts(fields["strategy"][31][0])
    assert (extension[1], parts(extension[2][0])) == ([b"x-kubernetes-patch-strategy"], {2: [b'"retainKeys"\n']})
    found = named(parts(document[8][0])[2])
    assert found.keys() == tree["paths"].keys()
    patch = parts(found["/api/v1/namespaces/{namespace}/pods/{name}"][8][0])
    assert patch[5] == [b"patchCoreV1NamespacedPod"]
    sent = parts(parts(parts(patch[8][0])[1][0])[1][0])
    assert (sent[2], sent[3], sent[4]) == ([b"body"], [b"body"], [1])
    assert parts(parts(patch[8][1])[2][0])[1] == [b"#/parameters/dryRun"]
    answers = named(parts(patch[9][0])[1])
    assert parts(parts(answers["200"][1][0])[2][0])[1] == [gnostic.schema({"$ref": "#/definitions/io.k8s.api.core.v1.Pod"})]


def test_every_kind_of_value_in_protobuf() -> None:
    schema = parts(
        gnostic.schema(
            {"default": {"a": 1}, "enum": ["x", 2], "maximum": 3, "minLength": 300, "additionalProperties": False, "items": {"type": "string"},
             "readOnly": True}
        )
    )  # fmt: skip
    assert parts(schema[5][0]) == {2: [b'{"a":1}\n']}
    assert [parts(value) for value in schema[20]] == [{2: [b'"x"\n']}, {2: [b"2\n"]}]
    assert schema[12] == [300]
    assert parts(schema[21][0]) == {2: [0]}
    assert schema[27] == [1]
