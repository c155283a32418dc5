"""What expressions of admission may speak of: match conditions of webhooks and policies, and policies' own expressions.

`object`, `oldObject` and `namespaceObject` may be null; `request` is the AdmissionRequest without objects and uid; `authorizer` asks for its user.

Upstream counterpart: apiserver's pkg/admission/plugin/cel/compile.go.
"""

from __future__ import annotations

import functools

from navarch.machinery.cel import expressions, libraries, types
from navarch.machinery.cel.expressions import CompileError, Expression
from navarch.machinery.cel.types import BOOL, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of

REQUEST_RESOURCE = "authorizer.requestResource"


def _object(name: str, /, **fields: Type) -> Type:
    return Type(f"kubernetes.{name}", fields=fields)


_KIND = _object("GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = _object("GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = _object("UserInfo", username=STRING, uid=STRING, groups=list_of(STRING), extra=map_of(STRING, list_of(STRING)))
REQUEST = _object(
    "AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=STRING,
    name=STRING,
    namespace=STRING,
    operation=STRING,
    userInfo=_USER,
    dryRun=BOOL,
    options=DYN,
)
_CONDITION = _object("NamespaceCondition", status=STRING, type=STRING, lastTransitionTime=TIMESTAMP, message=STRING, reason=STRING)
_METADATA = _object(
    "NamespaceMetadata",
    name=STRING,
    generateName=STRING,
    namespace=STRING,
    labels=map_of(STRING, STRING),
    annotations=map_of(STRING, STRING),
    UID=STRING,
    creationTimestamp=TIMESTAMP,
    deletionGracePeriodSeconds=INT,
    deletionTimestamp=TIMESTAMP,
    generation=INT,
    resourceVersion=STRING,
    finalizers=list_of(STRING),
)
NAMESPACE = _object(
    "Namespace",
    metadata=_METADATA,
    spec=_object("NamespaceSpec", finalizers=list_of(STRING)),
    status=_object("NamespaceStatus", conditions=list_of(_CONDITION), phase=STRING),
)
OBJECTS = libraries.BASE.extended(
    {"object": DYN, "oldObject": DYN, "namespaceObject": NAMESPACE, "request": REQUEST},
    {held.name: held for held in (REQUEST, NAMESPACE, _KIND, _RESOURCE, _USER)},
)
"""The variables that are always there."""
_AUTHORIZER = {
    "authorizer": Type("kubernetes.authorization.Authorizer"),
    REQUEST_RESOURCE: Type("kubernetes.authorization.ResourceCheck"),
}
CONDITIONS = OBJECTS.extended(_AUTHORIZER)
"""What match conditions may speak of."""


def condition(text: str) -> Expression:
    """A match condition. CompileError, in upstream's words, for what is none."""
    found = compiled(text)
    if isinstance(found, str):
        raise CompileError(found)
    return found


@functools.lru_cache(4096)
def compiled(text: str) -> Expression | str:
    """A match condition, or why there is none. Remembered: what is checked when it is written is needed when it counts."""
    try:
        found = expressions.compile(text, CONDITIONS)
    except CompileError as error:
        return str(error)
    return found if found.type == types.BOOL else f"must evaluate to bool but got {found.type}"
