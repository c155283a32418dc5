"""Wrong input: what `kubectl` and the API server say of it. Codes and texts are upstream's."""

from __future__ import annotations

import base64
import http.client
import json
import pathlib
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

import pytest
import yaml

JSON = "application/json"


@dataclass
class Answer:
    code: int
    reason: str
    message: str
    warnings: list[str]


class Api:
    """Requests as somebody would make them who is not `kubectl`: anything goes."""

    def __init__(self, kubeconfig: pathlib.Path, folder: pathlib.Path) -> None:
        found = yaml.safe_load(kubeconfig.read_text())
        address = urlparse(found["clusters"][0]["cluster"]["server"])
        self.address = (address.hostname or "", address.port or 443)
        files = {}
        for key in ("client-certificate-data", "client-key-data"):
            files[key] = folder / key
            files[key].write_bytes(base64.b64decode(found["users"][0]["user"][key]))
        authority = base64.b64decode(found["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
        self.tls = ssl.create_default_context(cadata=authority)
        self.tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self.tls.load_cert_chain(files["client-certificate-data"], files["client-key-data"])

    def __call__(self, method: str, path: str, body: Any = None, media: str = JSON, **headers: str) -> Answer:
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        connection = http.client.HTTPSConnection(*self.address, context=self.tls, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": media, **headers} if body is not None else headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        status = json.loads(text)
        if status["kind"] != "Status":
            return Answer(answer.status, "", "", answer.headers.get_all("Warning") or [])
        assert status.get("code", 200) == answer.status
        return Answer(answer.status, status.get("reason", ""), status.get("message", ""), answer.headers.get_all("Warning") or [])

    def raw(self, data: bytes, tls: bool) -> bytes:
        """What comes back for bytes sent as they are."""
        with socket.create_connection(self.address, 10) as plain:
            if not tls:
                return self._exchange(plain, data)
            with self.tls.wrap_socket(plain, server_hostname=self.address[0]) as wrapped:
                return self._exchange(wrapped, data)

    @staticmethod
    def _exchange(connection: socket.socket, data: bytes) -> bytes:
        got = b""
        try:
            connection.sendall(data)
            while part := connection.recv(4096):
                got += part
        except ConnectionError:
            pass
        return got


@pytest.fixture
def api(kubectl: Any, tmp_path: pathlib.Path) -> Api:
    return Api(kubectl.kubeconfig, tmp_path)


@pytest.fixture
def maps(kubectl: Any) -> str:
    return f"/api/v1/namespaces/{kubectl.namespace}/configmaps"


def config_map(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, **fields}


def test_manifests_that_cannot_be_read(kubectl: Any) -> None:
    assert "error converting YAML to JSON: yaml:" in kubectl.fails("apply", "-f", "-", stdin="a: [1\n")
    assert "kind not set" in kubectl.fails("apply", "-f", "-", stdin="apiVersion: v1\n")
    unknown = kubectl.fails("apply", "-f", "-", stdin="apiVersion: v1\nkind: Nope\nmetadata: {name: a}\n")
    assert 'no matches for kind "Nope" in version "v1"' in unknown and "ensure CRDs are installed first" in unknown
    assert kubectl.fails("get", "nopes") == 'error: the server doesn\'t have a resource type "nopes"\n'
    assert kubectl.fails("get", "cm", "nope") == 'Error from server (NotFound): configmaps "nope" not found\n'
    assert kubectl.fails("create", "cm", "c", "-n", "nope") == 'error: failed to create configmap: namespaces "nope" not found\n'


def test_manifests_with_wrong_fields(kubectl: Any) -> None:
    strict = kubectl.fails("apply", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nnope: 1\n")
    assert strict == (
        'Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        'strict decoding error: unknown field "nope"\n'
    )
    warned = kubectl.run("apply", "--validate=warn", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nnope: 1\n")
    assert warned.returncode == 0 and warned.stderr == 'Warning: unknown field "nope"\n'
    wrong = kubectl.fails("create", "-f", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {a: 1}\n")
    assert "json: cannot unmarshal number into Go struct field ConfigMap.data of type string" in wrong
    named = kubectl.fails("create", "cm", "Bad_Name")
    assert named.startswith(
        'error: failed to create configmap: ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 '
        "subdomain must consist of lower case alphanumeric characters, '-' or '.'"
    )
    empty = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: []}\n"
    assert kubectl.fails("create", "-f", "-", stdin=empty) == 'The Pod "p" is invalid: spec.containers: Required value\n'
    selector = kubectl("create", "deployment", "d", "--image=a", "--dry-run=client", "-o", "yaml").replace(
        "matchLabels:\n      app: d", "matchLabels:\n      app: e"
    )
    assert "`selector` does not match template `labels`" in kubectl.fails("create", "-f", "-", stdin=selector)


UNREADABLE = "the object provided is unrecognized (must be of type ConfigMap): "
NO_KIND = UNREADABLE + "couldn't get version/kind; json parse error: "
HANDLED = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
BODIES = {
    "cut": ('{"apiVersion":"v1",', JSON, 400, NO_KIND + 'unexpected end of JSON input ({"apiVersion":"v1",)'),
    "empty": ("", JSON, 400, NO_KIND + "unexpected end of JSON input (<empty>)"),
    "bytes": (b"\x00\x01\xff\xfe", JSON, 400, NO_KIND + "invalid character '\\x00' looking for beginning of value (0001fffe)"),
    "no protobuf": (
        b"\x00garbage",
        "application/vnd.kubernetes.protobuf",
        400,
        UNREADABLE + "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] (0067617262616765)",
    ),
    "bad protobuf": (b"k8s\0garbage", "application/vnd.kubernetes.protobuf", 400, UNREADABLE + "proto: illegal wireType 7 (6b38730067617262616765)"),
    "wrong type": (
        config_map(data={"a": 1}),
        JSON,
        400,
        HANDLED + "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    ),
    "unknown kind": (
        {"apiVersion": "v1", "kind": "Nope"},
        JSON,
        400,
        'Nope in version "v1" cannot be handled as a ConfigMap: no kind "Nope" is registered for version "v1" in scheme '
        '"pkg/api/legacyscheme/scheme.go:30"',
    ),
    "no name": (config_map(metadata={}), JSON, 422, 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'),
    "bad key": (
        config_map(data={"bad key": "x"}),
        JSON,
        422,
        'ConfigMap "c" is invalid: data[bad key]: Invalid value: "bad key": a valid config key must consist of alphanumeric '
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
    ),
    "too large": (config_map(data={"a": "x" * 1048577}), JSON, 422, 'ConfigMap "c" is invalid: []: Too long: may not be more than 1048576 bytes'),
    "far too large": (config_map(data={"a": "x" * 3200000}), JSON, 413, "Request entity too large: limit is 3145728"),
    "other namespace": (
        config_map(metadata={"name": "c", "namespace": "other"}),
        JSON,
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
}
REASONS = {400: "BadRequest", 413: "RequestEntityTooLarge", 422: "Invalid"}


@pytest.mark.parametrize("case", BODIES)
def test_bodies(api: Api, maps: str, case: str) -> None:
    body, media, code, message = BODIES[case]
    answer = api("POST", maps, body, media)
    assert (answer.code, answer.reason, answer.message) == (code, REASONS[code], message)


def test_strict_fields(api: Api, maps: str) -> None:
    assert api("POST", f"{maps}?fieldValidation=Strict", config_map(nope=1)).message == HANDLED + 'strict decoding error: unknown field "nope"'
    twice = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"a":"b","a":"c"}}'
    assert api("POST", f"{maps}?fieldValidation=Strict", twice).message == HANDLED + 'strict decoding error: duplicate field "data.a"'
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b, a: c}\n"
    repeated = api("POST", f"{maps}?fieldValidation=Strict", text, "application/yaml")
    assert repeated.message == HANDLED + 'strict decoding error: yaml: unmarshal errors:\n  line 4: key "a" already set in map'
    warned = api("POST", f"{maps}?fieldValidation=Warn", config_map(nope=1))
    assert (warned.code, warned.warnings) == (201, ['299 - "unknown field \\"nope\\""'])
    assert api("POST", f"{maps}?fieldValidation=Warn", config_map(nope=1)).warnings == warned.warnings, "a refusal warns too"


def test_conflicts(api: Api, maps: str) -> None:
    assert api("POST", maps, config_map()).code == 201
    again = api("POST", maps, config_map())
    assert (again.code, again.reason, again.message) == (409, "AlreadyExists", 'configmaps "c" already exists')
    modified = "the object has been modified; please apply your changes to the latest version and try again"
    conflict = f'Operation cannot be fulfilled on configmaps "c": {modified}'
    old = {"name": "c", "resourceVersion": "1"}
    for answer in (
        api("PUT", f"{maps}/c", config_map(metadata=old)),
        api("PATCH", f"{maps}/c", {"metadata": {"resourceVersion": "1"}}, "application/merge-patch+json"),
    ):
        assert (answer.code, answer.reason, answer.message) == (409, "Conflict", conflict)
    wrong = api("PUT", f"{maps}/c", config_map(metadata={"name": "other"}))
    assert (wrong.code, wrong.message) == (400, "the name of the object (other) does not match the name on the URL (c)")
    assert api("PUT", f"{maps}/nope", config_map(metadata={"name": "nope"})).code == 404
    uid = api("DELETE", f"{maps}/c", {"preconditions": {"uid": "x"}})
    assert uid.code == 409 and "the UID in the precondition (x) does not match the UID in record" in uid.message


def test_paths_and_methods(api: Api, maps: str) -> None:
    assert api.raw(b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", tls=True).endswith(b"404 page not found\n")
    missing = api("GET", "/api/v1/nopes")
    assert (missing.code, missing.reason, missing.message) == (404, "NotFound", "the server could not find the requested resource")
    for method, path in (("PUT", maps), ("POST", f"{maps}/c"), ("TRACE", maps)):
        refused = api(method, path, config_map() if method != "TRACE" else None)
        assert (refused.code, refused.message) == (405, "the server does not allow this method on the requested resource")
    assert api("POST", maps, config_map(), "text/html").code == 415
    typed = api("PATCH", f"{maps}/c", {}, JSON)
    assert (typed.code, typed.message) == (415, "415: Unsupported Media Type")
    picture = api("GET", maps, Accept="image/png")
    assert picture.code == 406 and picture.message.startswith("406: Not Acceptable\n\nAvailable representations: application/json, application/yaml")
    number = api("GET", f"{maps}?resourceVersion=x")
    assert number.message == 'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax'
    cut = api("PATCH", f"{maps}/c", "{", "application/merge-patch+json")
    assert (cut.code, cut.message) == (400, "error decoding patch: unexpected end of JSON input")
    operations = api("PATCH", f"{maps}/kube-root-ca.crt", {}, "application/json-patch+json")
    assert operations.message == "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    nobody = api("GET", maps, **{"Impersonate-User": "nobody"})
    assert nobody.code == 403 and 'User "nobody" cannot list resource "configmaps" in API group ""' in nobody.message
    field = api("GET", f"{maps}?fieldSelector=spec.x%3D1")
    assert (field.code, field.message) == (400, '"spec.x" is not a known field selector: only "metadata.name", "metadata.namespace"')
    assert api("GET", f"{maps}?sendInitialEvents=true").message.endswith("sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list")
    ahead = api("GET", f"{maps}?resourceVersion=99999999")
    assert ahead.code == 504 and ahead.message.startswith("Timeout: Too large resource version: 99999999, current: ")


RAW = {
    b"garbage\r\n\r\n": b"400 Bad Request",
    b"\x00\xff\x16\x03garbage\r\n\r\n": b"400 Bad Request",
    b"GET /version HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n": b"400 Bad Request",
    b"GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n": b"400 Bad Request",
    b"GET /version HTTP/1.1\r\n\r\n": b"400 Bad Request: missing required Host header",
    b"GET /version HTTP/9.9\r\nHost: x\r\n\r\n": b"505 HTTP Version Not Supported: unsupported protocol version",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 1_200_000 + b"\r\n\r\n": b"431 Request Header Fields Too Large",
}


@pytest.mark.parametrize("sent", RAW, ids=lambda s: s[:40].decode("ascii", "replace").split("\r")[0])
def test_no_http(api: Api, sent: bytes) -> None:
    head, _, body = api.raw(sent, tls=True).partition(b"\r\n\r\n")
    assert body == RAW[sent] and head.split(b" ")[1] == RAW[sent][:3], head


def test_no_tls(api: Api, kubectl: Any) -> None:
    connection = http.client.HTTPConnection(*api.address, timeout=10)
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (400, b"Client sent an HTTP request to an HTTPS server.\n")
    finally:
        connection.close()
    assert api.raw(b"\x00\x01\x02garbage garbage garbage\n\n", tls=False) == b""
    assert kubectl("get", "--raw", "/readyz") == "ok", "and the server serves on"
