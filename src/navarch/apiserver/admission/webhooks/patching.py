"""What a mutating webhook makes of an object: its JSON patch applied, and the result read, defaulted and kept within what a webhook may change.

Upstream counterpart: callAttrMutatingHook in apiserver's pkg/admission/plugin/webhook/mutating/dispatcher.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import writing
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.machinery import codec, errors
from navarch.machinery.patch import json_patch

_DECIDED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink", "resourceVersion")
"""What of metadata the server decides, and no webhook."""


class Undecodable(Exception):
    """The text is no JSON patch."""


@dataclass(frozen=True, slots=True)
class Patched:
    obj: Obj
    changed: bool
    """Whether the patch changed anything; defaults do not count."""


def operations(patch: bytes) -> list[dict[str, Any]]:
    """The operations of a patch. Undecodable."""
    try:
        return json_patch.checked(codec.tree(codec.well_formed(patch)))
    except (errors.ApiError, ValueError, RecursionError) as error:
        raise Undecodable(str(error) or "exceeded max depth") from None


def apply(body: bytes, patch: list[dict[str, Any]], kind: type[Any] | None, served: Served) -> Patched:
    """The object after a patch, in the stored version and defaulted. `body`: the object as the webhook was shown it.

    `kind`: its type, where that is not the resource's own. InternalError when the patch does not apply or what it makes is no object.
    """
    try:
        tree = json_patch.apply(codec.tree(body), patch)
        text = codec.well_formed(codec.encode(tree))
        obj = served.request_shape.decode_reporting(text)[0] if kind is None else codec.decode(kind, text)
    except errors.Invalid as error:
        raise errors.internal(str(error.__cause__ or error)) from None
    except (errors.ApiError, codec.DecodeError) as error:
        raise errors.internal(str(error)) from None
    except RecursionError:
        raise errors.internal("exceeded max depth") from None
    changed = codec.encode(obj) != body
    return Patched(obj if kind is not None else writing.settle(served, obj), changed)


def keep_decided(attributes: Attributes, new: Obj, before: Obj) -> None:
    """Puts back what of metadata no webhook may change. BadRequest for an object that moves to another namespace.

    What the kind keeps, or the request is not about, is put back where the object is written.
    """
    made, held = new.metadata, before.metadata
    if (made.namespace or "") != (held.namespace or ""):
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    for name in _DECIDED:
        setattr(made, name, getattr(held, name))
    if made.managedFields != held.managedFields and not all(map(_is_managed, made.managedFields or ())):
        made.managedFields = held.managedFields
        why = "had managed fields that are none after mutation by admission; this could be due to an outdated admission controller"
        attributes.warnings.append(f".metadata.managedFields {why}")


def _is_managed(entry: meta_v1.ManagedFieldsEntry) -> bool:
    return bool(entry.apiVersion) and entry.operation in ("Apply", "Update") and entry.fieldsType == "FieldsV1"
