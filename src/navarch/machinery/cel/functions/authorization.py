"""Asking the authorizer: `authorizer.group('apps').resource('deployments').check('get').allowed()`.

Who asks gives the `Authorizer` of an expression something to ask (`Ask`): the attributes of the question, as a value. The answer comes at once:
rules and their indexes are in memory.

Upstream counterpart: apiserver's pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from navarch.machinery import names
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError


@dataclass(frozen=True, slots=True)
class Question:
    """May someone do something? Of a path, or of a resource. `service_account`: (namespace, name) of who, if not who made the request."""

    verb: str
    path: str | None = None
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""
    service_account: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    reason: str = ""
    error: str = ""
    type_name: str = field(default="kubernetes.authorization.Decision", init=False)


Ask = Callable[[Question], Decision]


@dataclass(frozen=True, slots=True)
class _Check:
    """A question on its way: what has been said of it so far."""

    ask: Ask
    type_name: str
    question: Question = Question("")

    def with_(self, type_name: str, **said: object) -> _Check:
        return _Check(self.ask, type_name, replace(self.question, **said))  # type: ignore[arg-type]


_AUTHORIZER = "kubernetes.authorization.Authorizer"
_PATH, _GROUP, _RESOURCE = (f"kubernetes.authorization.{name}Check" for name in ("Path", "Group", "Resource"))
_DECISION = "kubernetes.authorization.Decision"


def authorizer(ask: Ask) -> _Check:
    """The variable `authorizer`."""
    return _Check(ask, _AUTHORIZER)


def request_resource(ask: Ask, group: str, resource: str, subresource: str, namespace: str, name: str) -> _Check:
    """The variable `authorizer.requestResource`."""
    question = Question("", group=group, resource=resource, subresource=subresource, namespace=namespace, name=name)
    return _Check(ask, _RESOURCE, question)


def _path(held: _Check, path: str) -> _Check:
    if not path.strip():
        raise EvaluationError("path must not be empty")
    return held.with_(_PATH, path=path)


def _resource(held: _Check, resource: str) -> _Check:
    if not resource.strip():
        raise EvaluationError("resource must not be empty")
    return held.with_(_RESOURCE, resource=resource)


def _service_account(held: _Check, namespace: str, name: str) -> _Check:
    if names.dns_subdomain(name):
        raise EvaluationError("Invalid service account name")
    if names.dns_label(namespace):
        raise EvaluationError("Invalid service account namespace")
    return held.with_(_AUTHORIZER, service_account=(namespace, name))


def _say(key: str) -> Callable[[_Check, str], _Check]:
    return lambda held, value: held.with_(_RESOURCE, **{key: value})


def _check(held: _Check, verb: str) -> Decision:
    return held.ask(replace(held.question, verb=verb))


LIBRARY: Library = {
    "path": (Overload("authorizer_path", f"{_AUTHORIZER}.(string) -> {_PATH}", _path),),
    "group": (Overload("authorizer_group", f"{_AUTHORIZER}.(string) -> {_GROUP}", lambda held, group: held.with_(_GROUP, group=group)),),
    "serviceAccount": (Overload("authorizer_serviceaccount", f"{_AUTHORIZER}.(string, string) -> {_AUTHORIZER}", _service_account),),
    "resource": (Overload("groupcheck_resource", f"{_GROUP}.(string) -> {_RESOURCE}", _resource),),
    "subresource": (Overload("resourcecheck_subresource", f"{_RESOURCE}.(string) -> {_RESOURCE}", _say("subresource")),),
    "namespace": (Overload("resourcecheck_namespace", f"{_RESOURCE}.(string) -> {_RESOURCE}", _say("namespace")),),
    "name": (Overload("resourcecheck_name", f"{_RESOURCE}.(string) -> {_RESOURCE}", _say("name")),),
    "fieldSelector": (Overload("authorizer_fieldselector", f"{_RESOURCE}.(string) -> {_RESOURCE}", _say("field_selector")),),
    "labelSelector": (Overload("authorizer_labelselector", f"{_RESOURCE}.(string) -> {_RESOURCE}", _say("label_selector")),),
    "check": (
        Overload("pathcheck_check", f"{_PATH}.(string) -> {_DECISION}", _check),
        Overload("resourcecheck_check", f"{_RESOURCE}.(string) -> {_DECISION}", _check),
    ),
    "errored": (Overload("decision_errored", f"{_DECISION}.() -> bool", lambda held: bool(held.error)),),
    "error": (Overload("decision_error", f"{_DECISION}.() -> string", lambda held: held.error),),
    "allowed": (Overload("decision_allowed", f"{_DECISION}.() -> bool", lambda held: held.allowed),),
    "reason": (Overload("decision_reason", f"{_DECISION}.() -> string", lambda held: held.reason),),
}
