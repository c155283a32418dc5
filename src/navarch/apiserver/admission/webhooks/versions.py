"""The objects of a write as webhooks are shown them: JSON in the version a webhook knows, and what its conditions may speak of.

Each is made once for all webhooks of a write, until one of them changes the object.
"""

from __future__ import annotations

from typing import Any

import msgspec

from navarch.apiserver.admission.attributes import Attributes, Kind
from navarch.apiserver.admission.webhooks import review
from navarch.apiserver.authn.users import User, authenticated
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.machinery import codec
from navarch.machinery.cel import admission
from navarch.machinery.cel.functions import authorization
from navarch.machinery.cel.functions.authorization import Ask, Decision

_NULL = b"null"


class Versions:
    """The objects of one write, in all versions that are asked for."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        kind, resource = attributes.kind, attributes.served.resource
        self.whole = (kind.group, kind.kind) == (resource.group, resource.kind)
        """The request is about the resource's own objects, not about something a subresource takes."""

        self._new: dict[Served, bytes] = {}
        self._old: dict[Served, bytes] = {}
        self._reviews: dict[tuple[Served, str], review.Template] = {}

    def new(self, served: Served) -> bytes:
        """The object, `null` when there is none."""
        found = self._new.get(served)
        if found is None:
            found = self._new[served] = self._encoded(served, self.attributes.obj)
        return found

    def old(self, served: Served) -> bytes:
        found = self._old.get(served)
        if found is None:
            found = self._old[served] = self._encoded(served, self.attributes.old)
        return found

    def review(self, served: Served, kind: Kind, version: str) -> review.Template:
        """What a webhook is asked about it, but for the request's uid."""
        found = self._reviews.get((served, version))
        if found is None:
            new, old = msgspec.Raw(self.new(served)), msgspec.Raw(self.old(served))
            found = self._reviews[served, version] = review.template(version, request_of(self.attributes, served, kind), new, old)
        return found

    def changed(self) -> None:
        """The object is another now."""
        self._new.clear()
        self._reviews.clear()

    def _encoded(self, served: Served, obj: Obj | None) -> bytes:
        if obj is None:
            return _NULL
        return codec.encode(served.external(obj) if self.whole else obj)


def namespace_of(attributes: Attributes) -> str:
    """A namespace is in itself, as far as admission is concerned."""
    return attributes.namespace or (attributes.name if attributes.key == ("", "namespaces") else "")


def request_of(attributes: Attributes, served: Served, kind: Kind) -> dict[str, Any]:
    """The AdmissionRequest, without its uid and objects. What is empty is left out where upstream does."""
    resource, asked, user = served.resource, attributes.served.resource, attributes.user
    of_user: dict[str, Any] = {"username": user.name}
    if user.uid:
        of_user["uid"] = user.uid
    if user.groups:
        of_user["groups"] = list(user.groups)
    if user.extra:
        of_user["extra"] = {key: list(values) for key, values in user.extra.items()}
    made: dict[str, Any] = {
        "kind": kind._asdict(),
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "requestKind": attributes.kind._asdict(),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "operation": attributes.operation,
        "userInfo": of_user,
        "dryRun": attributes.dry_run,
        "options": _options(attributes),
    }
    if attributes.subresource:
        made["subResource"] = made["requestSubResource"] = attributes.subresource
    if attributes.name:
        made["name"] = attributes.name
    if namespace := namespace_of(attributes):
        made["namespace"] = namespace
    return made


def _options(attributes: Attributes) -> dict[str, Any] | None:
    if attributes.options is None:
        return None
    made = codec.to_tree(attributes.options)
    if not made.get("kind"):
        made |= {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    return made


class Variables(dict[str, Any]):
    """What conditions may speak of, each made when first asked for."""

    def __init__(self, versions: Versions, served: Served, kind: Kind, authorizer: Authorizer) -> None:
        super().__init__(namespaceObject=None)
        self._versions, self._served, self._kind = versions, served, kind
        self._authorizer = authorizer

    def __missing__(self, name: str) -> Any:
        self[name] = found = self._make(name)
        return found

    def _make(self, name: str) -> Any:
        attributes = self._versions.attributes
        match name:
            case "object":
                return codec.tree(self._versions.new(self._served))
            case "oldObject":
                return codec.tree(self._versions.old(self._served))
            case "request":
                return request_of(attributes, self._served, self._kind)
            case "authorizer":
                return authorization.authorizer(asking(self._authorizer, attributes.user))
            case admission.REQUEST_RESOURCE:
                ask = asking(self._authorizer, attributes.user)
                namespace = namespace_of(attributes)
                group, plural = attributes.key
                return authorization.request_resource(ask, group, plural, attributes.subresource, namespace, attributes.name)
        raise KeyError(name)


def asking(authorizer: Authorizer, user: User) -> Ask:
    """What answers expressions that ask whether somebody may do something."""

    def ask(question: authorization.Question) -> Decision:
        who = user
        if question.service_account is not None:
            namespace, name = question.service_account
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
            name = f"system:serviceaccount:{namespace}:{name}"
            who = User(name, authenticated(name, groups))
        if question.path is not None:
            verdict = authorizer.decide(who, Question(question.verb, path=question.path))
        else:
            about = (question.group, question.resource, question.subresource, question.namespace, question.name)
            verdict = authorizer.decide(who, Question(question.verb, *about, version="*"))
        return Decision(verdict.allowed, verdict.reason)

    return ask
