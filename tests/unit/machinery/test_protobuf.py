"""The protobuf codec, against bytes and JSON that kube-apiserver v1.36.2 gave for the same objects, and against itself."""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from navarch.machinery import protobuf
from navarch.machinery.protobuf import Message, Op, ProtobufError

RECORDED = json.loads(pathlib.Path(__file__).with_name("protobuf.json").read_text())


def said(tree: Any) -> Any:
    """What an object says, without what Go writes for fields that nobody set."""
    if isinstance(tree, dict):
        return {key: value for key, inner in tree.items() if (value := said(inner)) not in (None, "", 0, False, {}, [])}
    return [said(inner) for inner in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['json']['kind']} {case['json'].get('metadata', {}).get('name', '')}")
def test_bytes_of_go(case: dict[str, Any]) -> None:
    data, wanted = base64.b64decode(case["protobuf"]), case["json"]
    if wanted["kind"] == "StatefulSet":  # the templates' own kind is in no message
        for template in wanted["spec"]["volumeClaimTemplates"]:
            template.pop("kind", None)
            template.pop("apiVersion", None)
    made = protobuf.decode(data)
    assert said(made) == said(wanted)
    assert protobuf.decode(protobuf.encode(made)) == made
    assert said(protobuf.decode(protobuf.encode({k: v for k, v in wanted.items() if v is not None}))) == said(wanted)


def test_a_pointers_zero_is_kept_and_others_are_absence() -> None:
    tree = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"generation": 0}, "spec": {"replicas": 0, "paused": False}}
    assert protobuf.decode(protobuf.encode(tree)) == {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {}, "spec": {"replicas": 0},
    }  # fmt: skip


def test_unknown_fields_are_skipped() -> None:
    message = protobuf.table().of_kind("v1", "ConfigMap")
    known = protobuf.encode_message(message, {"data": {"a": "1"}})
    unknown = b"\xfa\x3f\x03abc" + b"\xf8\x3f\x96\x01" + b"\xf9\x3f" + bytes(8) + b"\xfd\x3f" + bytes(4)
    assert protobuf.decode_message(message, unknown + known + unknown) == {"data": {"a": "1"}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not appear to be a protobuf message"),
        (b"{}", "does not appear to be a protobuf message"),
        (b"k8s\0", "does not say which kind"),
        (b"k8s\0\x0a\x50abc", "unexpected EOF"),
        (b"k8s\0" + protobuf.sized(b"\x0a", protobuf.sized(b"\x0a", b"v9") + protobuf.sized(b"\x12", b"Frob")), 'no kind "Frob"'),
    ],
)
def test_what_is_no_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ProtobufError, match=message):
        protobuf.decode(data)


@given(st.binary(max_size=60))
def test_garbage_is_an_error_and_nothing_else(garbage: bytes) -> None:
    for name in ("v1", "Pod"), ("v1", "Service"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition"):
        try:
            protobuf.decode_message(protobuf.table().of_kind(*name), garbage)
        except ProtobufError:
            continue


@given(st.data())
def test_every_cut_of_an_object_is_an_error_or_an_object(data: Any) -> None:
    case = data.draw(st.sampled_from(RECORDED))
    whole = base64.b64decode(case["protobuf"])
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        protobuf.decode(whole[:cut])
    except ProtobufError:
        return


# ---- round trips of made-up objects ---------------------------------------------------------------------------------

SPECIAL = {
    "Time": st.sampled_from(["2026-01-31T12:00:00Z", "1969-12-31T23:59:59Z", "2100-02-28T00:00:00Z"]),
    "MicroTime": st.sampled_from(["2026-01-31T12:00:00.000001Z", "1999-12-31T23:59:59.999999Z"]),
    "Quantity": st.sampled_from(["1", "500m", "1Gi", "0"]),
    "IntOrString": st.integers(-(2**31), 2**31 - 1).filter(bool) | st.text(max_size=5),
    "ExtraValue": st.lists(st.text(max_size=3), min_size=1, max_size=2),
    "Verbs": st.lists(st.text(max_size=3), min_size=1, max_size=2),
    "JSONSchemaPropsOrBool": st.booleans() | st.just({"type": "string"}),
    "JSONSchemaPropsOrArray": st.just({"type": "string"}) | st.just([{"type": "string"}, {"type": "object"}]),
    "JSONSchemaPropsOrStringArray": st.just({"type": "string"}) | st.lists(st.text(max_size=3), min_size=1, max_size=2),
}
RAW_JSON = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3) | st.lists(st.booleans(), max_size=2), min_size=1, max_size=2)


def values(field: protobuf.Field, depth: int) -> st.SearchStrategy[Any]:
    match field.op:
        case Op.STRING:
            return st.text(min_size=0 if field.keep_zero else 1, max_size=5)
        case Op.VARINT:
            numbers = st.integers(-(2**31), 2**31 - 1)
            return numbers if field.keep_zero else numbers.filter(bool)
        case Op.BOOL:
            return st.booleans() if field.keep_zero else st.just(True)
        case Op.BYTES:
            return st.binary(min_size=0 if field.keep_zero else 1, max_size=5).map(lambda data: base64.b64encode(data).decode())
        case Op.DOUBLE:
            return st.floats(allow_nan=False, allow_infinity=False)
        case Op.SPECIAL:
            name = next(name for name, forms in protobuf.SPECIALS.items() if forms is field.special)
            return SPECIAL.get(name.rsplit(".", 1)[1], RAW_JSON)
        case Op.MAP:
            assert field.value is not None
            return st.dictionaries(st.text(max_size=4), values(field.value, depth), min_size=1, max_size=2)
        case _:
            assert field.message is not None
            return trees(field.message, depth - 1)


def trees(message: Message, depth: int) -> st.SearchStrategy[Any]:
    if depth < 0:
        return st.just({})
    optional = {}
    for field in message.fields:
        if field.op is Op.INLINE:
            continue
        value = values(field, depth)
        optional[field.name] = st.lists(value, min_size=1, max_size=2) if field.repeated else value
    return st.fixed_dictionaries({}, optional=optional)


KINDS = [("v1", "Pod"), ("v1", "Service"), ("v1", "Node"), ("v1", "Secret"), ("apps/v1", "Deployment"), ("batch/v1", "CronJob"),
         ("networking.k8s.io/v1", "Ingress"), ("autoscaling/v2", "HorizontalPodAutoscaler"), ("coordination.k8s.io/v1", "Lease"),
         ("apiextensions.k8s.io/v1", "CustomResourceDefinition"), ("resource.k8s.io/v1", "ResourceSlice"), ("v1", "Status"),
         ("authorization.k8s.io/v1", "SubjectAccessReview"), ("v1", "DeleteOptions"), ("meta.k8s.io/v1", "PartialObjectMetadataList"),
         ("admission.k8s.io/v1", "AdmissionReview"), ("resource.k8s.io/v1beta1", "ResourceClaim")]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(KINDS))
def test_round_trips(data: Any, kind: tuple[str, str]) -> None:
    tree = data.draw(trees(protobuf.table().of_kind(*kind), 3))
    tree = {"apiVersion": kind[0], "kind": kind[1], **{k: v for k, v in tree.items() if k not in ("apiVersion", "kind")}}
    assert protobuf.decode(protobuf.encode(tree)) == tree


def test_every_message_can_be_made() -> None:
    for group_version_kind in protobuf.table()._kinds:
        group, version, kind = group_version_kind
        try:
            message = protobuf.table().of_kind(f"{group}/{version}" if group else version, kind)
        except ProtobufError:
            continue
        assert message.by_name is not None
