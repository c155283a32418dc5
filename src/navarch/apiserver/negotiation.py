"""The form of an answer, as a client's headers and query ask for it.

Upstream counterpart: apiserver's endpoints/handlers/negotiation.
"""

from __future__ import annotations

from dataclasses import dataclass

from navarch.apiserver.call import Call
from navarch.lib import texts
from navarch.machinery import errors

JSON = "application/json"
YAML = "application/yaml"
_AVAILABLE = (
    "application/json, application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, "
    "application/vnd.kubernetes.protobuf;stream=watch"
)
_JSON_NAMES = frozenset({"application/json", "*/*", "application/*", "text/*"})
_YAML_NAMES = frozenset({YAML, "text/yaml", "application/x-yaml"})
_MEDIA = _JSON_NAMES | _YAML_NAMES | {"application/vnd.kubernetes.protobuf"}


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of an answer. `shape` is "", "Table", "PartialObjectMetadata" or "PartialObjectMetadataList"."""

    media: str = JSON
    shape: str = ""
    pretty: bool = False
    version: str = "v1"


@texts.remembered(256)
def negotiate(accept: str) -> Accepted | None:
    """The first form of an Accept header that we can give; None when there is none."""
    if not accept:
        return Accepted()
    for clause in accept.split(","):
        media, *parameters = (p.strip() for p in clause.split(";"))
        options = dict(p.split("=", 1) for p in parameters if "=" in p)
        shape = options.get("as", "")
        if media in _JSON_NAMES:
            form = JSON
        elif media in _YAML_NAMES:
            form = YAML
        else:
            continue
        if shape and (options.get("g") != "meta.k8s.io" or options.get("v") not in ("v1", "v1beta1")):
            continue
        return Accepted(form, shape, options.get("pretty") in ("1", "true"), options.get("v", "v1"))
    return None


def accepted(call: Call, *shapes: str) -> Accepted:
    """The form to answer in. NotAcceptable when the client takes none of ours (`shapes`: those this answer can have)."""
    header = call.headers.get("Accept", "")
    found = negotiate(header)
    if found is None and header.startswith("application/vnd.kubernetes.protobuf") and "," not in header and ";as=" not in header:
        return Accepted()
    if found is None and not {c.split(";")[0].strip() for c in header.split(",")} & _MEDIA:
        raise errors.NotAcceptable(f"406: Not Acceptable\n\nAvailable representations: {_AVAILABLE}")
    if found is None or (found.shape and found.shape not in shapes):
        raise errors.NotAcceptable(
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    return found


def pretty(call: Call, form: Accepted) -> bool:
    """Whether JSON is wanted in lines, for people."""
    return form.pretty or call.query.get("pretty") in ("1", "true")
