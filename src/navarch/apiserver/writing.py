"""What every write shares: reading the body, making it an object, and the metadata every object gets.

Upstream counterparts: apiserver's endpoints/handlers (decoding), registry/rest (BeforeCreate, BeforeUpdate), api/validation.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from navarch.api import resources
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import background
from navarch.apiserver.call import Call
from navarch.apiserver.kinds import metadata as metadata_rules
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.lib import integers
from navarch.machinery import codec, errors, field, names, timestamps

MOST_BYTES = 3 * 1024 * 1024
BODY_SECONDS = 60.0
"""How long a body may take to arrive: as long as upstream gives a request."""
PROTOBUF = "application/vnd.kubernetes.protobuf"
_PROTOBUF_MAGIC = b"k8s\x00"
_JSON = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
_YAML = frozenset({"application/yaml", "text/yaml", "application/x-yaml"})
_GO_ENVELOPE = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_SUPPORTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


async def body(call: Call) -> bytes:
    """The request's body, as it was sent: what is compressed stays so, as in Go, and is no object. RequestEntityTooLarge past 3 MiB."""
    length = call.incoming.content_length
    data: bytes | None = None
    if length is None or length <= MOST_BYTES:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                data = await call.incoming.body(MOST_BYTES)
        except TimeoutError:
            raise errors.Timeout("Timeout: the request's body did not arrive within the allotted timeout") from None
    if data is None:
        raise errors.RequestEntityTooLarge(f"Request entity too large: limit is {MOST_BYTES}")
    call.size = len(data)
    return data


def media_type(call: Call) -> str:
    """The body's media type without parameters; none given means JSON."""
    return call.headers.get("Content-Type", "").split(";", 1)[0].strip().lower()


async def as_json(call: Call, data: bytes, kind: str = "object") -> bytes:
    """The body as JSON text, whichever of the supported forms it came in. UnsupportedMediaType, BadRequest."""
    return (await background.run(len(data), _as_json, media_type(call), data, kind))[0]


async def decode(call: Call, kind: type[codec.T], data: bytes) -> codec.T:
    """The body as an object of a type; unknown fields are dropped. DecodeError, and what `as_json` raises."""
    text = await as_json(call, data)
    return await background.run(len(text), codec.decode, kind, text)


def _as_json(media: str, data: bytes, kind: str) -> tuple[bytes, list[str]]:
    """The body as JSON text, and what a strict reader of its form objects to."""
    try:
        if data.startswith(_PROTOBUF_MAGIC) or media == PROTOBUF:
            from navarch.machinery import protobuf

            return codec.well_formed(codec.encode(protobuf.decode(data))), []
        if media in _JSON:
            return codec.well_formed(data), []
        if media in _YAML:
            return codec.json_from_yaml(data)
    except (ValueError, RecursionError) as error:
        why = "exceeded max depth" if isinstance(error, RecursionError) else str(error).removeprefix("error converting YAML to JSON: ")
        if media in _JSON and isinstance(error, codec.DecodeError):
            why = f"couldn't get version/kind; json parse error: {error}"
        raise unrecognized(kind, why, data) from None
    raise errors.UnsupportedMediaType(f"the body of the request was in an unknown format - accepted media types include: {_SUPPORTED}")


def field_validation(call: Call) -> str:
    """Ignore, Warn or Strict. Invalid when it is something else."""
    asked = call.query.get("fieldValidation")
    if asked not in ("", "Ignore", "Warn", "Strict"):
        problem = field.not_supported("fieldValidation", asked, ("", "Ignore", "Strict", "Warn"))
        raise field.invalid_error("meta.k8s.io", "CreateOptions" if call.info.verb == "create" else "UpdateOptions", "", [problem])
    return asked or "Warn"


def check_options(call: Call, kind: str) -> None:
    """The options every write has: dryRun and fieldManager."""
    problems: list[field.Problem] = []
    dry = call.query.all("dryRun")
    if any(d != "All" for d in dry):
        problems.append(field.not_supported("dryRun", list(dry), ("All",)))
    manager = call.query.get("fieldManager")
    if len(manager) > 128:
        problems.append(field.too_long("fieldManager", 128))
    elif not manager.isprintable():
        problems.append(field.invalid("fieldManager", manager, "should only contain printable characters"))
    if problems:
        raise field.invalid_error("meta.k8s.io", kind, "", problems)


async def object_from(call: Call, served: Served, data: bytes) -> Obj:
    """The object of a create or update body, checked for type and version, with unknown fields handled as asked, and defaulted."""
    return await background.run(len(data), _object_from, call, served, data)


def _object_from(call: Call, served: Served, data: bytes) -> Obj:
    kind = served.resource.kind
    text, repeated = _as_json(media_type(call), data, kind)
    envelope = envelope_of(served, text, data)
    _known(served, envelope)
    if envelope.apiVersion and envelope.apiVersion != served.resource.group_version:
        expected = served.resource.group_version
        raise errors.BadRequest(f"the API version in the data ({envelope.apiVersion}) does not match the expected API version ({expected})")
    if envelope.kind and envelope.kind != kind:
        given = envelope.apiVersion or served.resource.group_version
        version = given.rpartition("/")[2]
        raise errors.BadRequest(
            f'{envelope.kind} in version "{version}" cannot be handled as a {kind}: converting '
            f"({given}.{envelope.kind}) to ({served.resource.group_version}.{kind}): unknown conversion"
        )
    return decoded(call, served, text, repeated, data)


def _known(served: Served, envelope: _Envelope) -> None:
    """Refuses a version, or a kind of it, that there is nowhere. BadRequest."""
    kind, version = envelope.kind or served.resource.kind, envelope.apiVersion or served.resource.group_version
    if (kind, version) == (served.resource.kind, served.resource.group_version) or served.shape.custom:
        return
    group, _, number = version.rpartition("/")
    try:
        resources.kind_type(group, number, kind)
    except KeyError:
        raise errors.BadRequest(
            f'{kind} in version "{number}" cannot be handled as a {served.resource.kind}: no kind "{kind}" is registered '
            f'for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        ) from None


def decoded(call: Call, served: Served, text: bytes, repeated: Sequence[str] = (), sent: bytes = b"") -> Obj:
    """A typed, defaulted object (in the stored version) from JSON in the request's version.

    `repeated` are problems found before; `sent` is the body as it came, where that is another text.
    """
    how = field_validation(call)
    version = served.resource.version
    kind = served.resource.kind
    try:
        obj, problems = served.request_shape.decode_reporting(text)
    except codec.DecodeError as error:
        if kind_in(text):
            raise errors.BadRequest(f'{kind} in version "{version}" cannot be handled as a {kind}: {error}') from None
        raise unrecognized(kind, f"{error}", sent or text) from None
    report(call, how, [*repeated, *problems], f'{kind} in version "{version}" cannot be handled as a {kind}')
    return settle(served, obj)


def kind_in(text: bytes) -> bool:
    """Whether the text is far enough right to name its kind."""
    try:
        return bool(_envelope.decode(text).kind)
    except msgspec.DecodeError:
        return False


def settle(served: Served, obj: Any) -> Obj:
    """A decoded object in the stored version, with its envelope and defaults."""
    if served.convert_in is not None:
        obj = served.shape.from_tree(served.convert_in(codec.to_tree(obj)))
    obj.apiVersion, obj.kind = served.shape.envelope
    if obj.metadata is None:
        obj.metadata = meta_v1.ObjectMeta()
    served.strategy.default(obj)
    return obj


def report(call: Call, how: str, problems: list[str], what: str) -> None:
    """Refuses, warns of or ignores what a strict reader objects to."""
    if not problems or how == "Ignore":
        return
    if how == "Strict":
        raise errors.BadRequest(f"{what}: strict decoding error: {', '.join(problems)}")
    call.warnings.extend(problems)


class _Envelope(msgspec.Struct):
    apiVersion: str | None = None
    kind: str | None = None


_envelope = msgspec.json.Decoder(_Envelope)


def envelope_of(served: Served, text: bytes, sent: bytes) -> _Envelope:
    """apiVersion and kind of a body as JSON; empty where it has none. BadRequest, which shows what was sent, when it is no JSON object."""
    try:
        return _envelope.decode(text)
    except msgspec.DecodeError:
        try:
            codec.decode(meta_v1.APIGroup, text)
        except codec.DecodeError as error:
            why = str(error).replace("v1.APIGroup", _GO_ENVELOPE)
            raise unrecognized(served.resource.kind, f"couldn't get version/kind; json parse error: {why}", sent) from None
        return _Envelope()


def unrecognized(kind: str, why: str, data: bytes) -> errors.BadRequest:
    """The refusal of a body that cannot even be read."""
    return errors.BadRequest(f"the object provided is unrecognized (must be of type {kind}): {why} ({summary(data)})")


def summary(data: bytes) -> str:
    """The beginning of a body, as error messages show it: JSON objects as text, all else in hexadecimal."""
    if not data:
        return "<empty>"
    shown = data[:30].decode(errors="replace") if data.startswith(b"{") else data[:30].hex()
    return shown + (" ..." if len(data) > 30 else "")


# ---- metadata -----------------------------------------------------------------------------------------------------


def begin_create(served: Served, namespace: str, obj: Obj) -> None:
    """Checks the namespace against the request's, and clears what a client does not say."""
    metadata: meta_v1.ObjectMeta = obj.metadata
    check_namespace(served, namespace, metadata)
    metadata.deletionTimestamp = metadata.deletionGracePeriodSeconds = metadata.selfLink = None
    metadata.creationTimestamp = metadata.uid = metadata.generation = None
    if metadata.resourceVersion:
        raise errors.BadRequest("resourceVersion should not be set on objects to be created")
    metadata.resourceVersion = None


def fill_create(served: Served, obj: Obj, now: float) -> None:
    """Fills in what the server decides, once admission has seen the object."""
    metadata: meta_v1.ObjectMeta = obj.metadata
    metadata.creationTimestamp = timestamps.seconds(now)
    metadata.uid = str(uuid.uuid4())
    metadata.generation = 1 if served.strategy.generation else None
    if not metadata.name and metadata.generateName:
        metadata.name = names.generate(metadata.generateName, secrets.randbits(64))


def check_namespace(served: Served, namespace: str, metadata: meta_v1.ObjectMeta) -> None:
    if not served.resource.namespaced:
        if metadata.namespace:
            raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata.namespace = None
        return
    if not metadata.namespace:
        metadata.namespace = namespace
    elif metadata.namespace != namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def check_create(served: Served, obj: Obj) -> None:
    """Raises Invalid unless metadata and the kind's own rules hold."""
    problems = metadata_rules.validate(obj.metadata, served.resource.namespaced, served.strategy.name)
    problems += served.strategy.validate(obj)
    if problems:
        resource = served.resource
        raise field.invalid_error(resource.group, resource.kind, obj.metadata.name or obj.metadata.generateName or "", problems)


def begin_update(served: Served, new: Obj, old: Obj) -> None:
    """Keeps the metadata that no update may change."""
    metadata: meta_v1.ObjectMeta = new.metadata
    before: meta_v1.ObjectMeta = old.metadata
    metadata.creationTimestamp = before.creationTimestamp
    metadata.generation = before.generation
    metadata.selfLink = None
    metadata.namespace = before.namespace
    if not metadata.uid:
        metadata.uid = before.uid
    if not metadata.name:
        metadata.name = before.name
    if before.generateName and not metadata.generateName:
        metadata.generateName = before.generateName
    if metadata.deletionTimestamp is None or before.deletionTimestamp is None:
        metadata.deletionTimestamp = before.deletionTimestamp
    if metadata.deletionGracePeriodSeconds is None or before.deletionTimestamp is None:
        metadata.deletionGracePeriodSeconds = before.deletionGracePeriodSeconds


def count_generation(served: Served, new: Obj, old: Obj) -> None:
    """Generation grows when anything but metadata and status changed."""
    if served.strategy.generation and served.shape.substance(new) != served.shape.substance(old):
        new.metadata.generation = (old.metadata.generation or 0) + 1


def check_update(served: Served, new: Obj, old: Obj, subresource: str = "") -> None:
    """Raises Invalid unless the change is one that may be made."""
    resource = served.resource
    strategy = served.strategy
    problems = metadata_rules.validate_update(new.metadata, old.metadata)
    part = strategy.subresources.get(subresource)
    if part is not None:
        problems += part.validate(new, old)
    elif subresource == "status":
        problems += strategy.validate_status(new, old)
    else:
        problems += metadata_rules.validate(new.metadata, resource.namespaced, strategy.name)
        problems += strategy.validate_update(new, old)
    if problems:
        raise field.invalid_error(resource.group, resource.kind, new.metadata.name or "", problems)


def now() -> float:
    return time.time()


def version_number(text: str | None) -> int:
    """A resourceVersion as a number, 0 when there is none. Invalid when it is not one."""
    if not text:
        return 0
    digits = integers.is_digits(text)
    if digits and len(text) < 20 and (text[0] != "0" or text == "0"):
        return int(text)
    why = "value out of range" if digits and len(text) >= 20 else "invalid syntax"
    raise errors.BadRequest(f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}')
