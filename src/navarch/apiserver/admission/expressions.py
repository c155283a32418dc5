"""A request as the expressions of policies and match conditions see it.

Each part is made when the first expression asks for it, and once for all policies that look at the request: the object as JSON has it, in
the version that a policy names; who asks; the namespace. What the user may do is asked of the authorizer.

Expressions are evaluated where the request is served, as long as they cost little; else in the thread for large work, from where the
authorizer is asked on the loop.

Upstream counterpart: apiserver's admission/plugin/cel (activation.go, condition.go).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from typing import Any, TypeVar

from navarch.apiserver import background
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.admission.matching import Matched
from navarch.apiserver.authn.users import User, authenticated
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question, field_requirements
from navarch.apiserver.served import Catalog
from navarch.lib.patience import Impatient
from navarch.machinery import codec, errors
from navarch.machinery.cel import admission
from navarch.machinery.cel.admission import Inputs
from navarch.machinery.cel.expressions import LOOP_COST
from navarch.machinery.cel.functions import authorization
from navarch.machinery.cel.functions.authorization import Ask, Decision

T = TypeVar("T")
Tree = dict[str, Any]
_NAMESPACES = ("", "namespaces")
_TURN_SECONDS = 0.01
"""How long one request evaluates before others get their turn."""


class Request:
    """One request, for as long as its object stays as it is."""

    def __init__(self, attributes: Attributes, catalog: Catalog, authorizer: Authorizer) -> None:
        self.attributes = attributes
        self._catalog = catalog
        self._authorizer = authorizer
        self._trees: dict[tuple[int, bool], Tree | None] = {}
        self._namespace: Tree | None = None
        self._turn = time.perf_counter()

    def inputs(self, matched: Matched, params: Tree | None = None, ask: Ask | None = None) -> Inputs:
        """The variables, for whoever names the resource as `matched` has it."""
        attributes = self.attributes
        asking = ask or self.ask
        resource = attributes.served.resource
        makers: dict[str, Callable[[], Any]] = {
            "object": lambda: self.tree(matched, old=False),
            "oldObject": lambda: self.tree(matched, old=True),
            "request": lambda: request_of(attributes, matched),
            "namespaceObject": self.namespace_object,
            "authorizer": lambda: authorization.authorizer(asking),
            "authorizer.requestResource": lambda: authorization.request_resource(
                asking, resource.group, resource.plural, attributes.subresource, namespace_of(attributes), attributes.name
            ),
        }
        return Inputs(makers, params=params)

    def of_conditions(self, matched: Matched, params: Tree | None, ask: Ask) -> Inputs:
        """The variables of match conditions: these see no namespace."""
        made = self.inputs(matched, params, ask)
        made["namespaceObject"] = None
        return made

    def tree(self, matched: Matched, *, old: bool) -> Tree | None:
        """The object in the version of `matched`, with its kind; None where there is none."""
        key = (id(matched.served), old)
        if key not in self._trees:
            self._trees[key] = tree_of(self.attributes, matched, self.attributes.old if old else self.attributes.obj)
        return self._trees[key]

    def namespace_object(self) -> Tree | None:
        name = self._in_namespace()
        if name and self._namespace is None:
            self._namespace = admission.namespace_object(codec.tree(self._namespace_entry(name)))
        return self._namespace

    def check_namespace(self) -> None:
        """NotFound when the namespace that expressions could ask for is not there."""
        if name := self._in_namespace():
            self._namespace_entry(name)

    def _in_namespace(self) -> str:
        return "" if self.attributes.key == _NAMESPACES else self.attributes.namespace

    def _namespace_entry(self, name: str) -> bytes:
        entry = self._catalog.of(*_NAMESPACES).cache.get(name)
        if entry is None:
            raise errors.not_found(*_NAMESPACES, name)
        return entry.body

    def ask(self, asked: authorization.Question) -> Decision:
        """What the authorizer says; of the request's user, or of the service account that the expression names."""
        user = self.attributes.user if asked.service_account is None else _service_account(*asked.service_account)
        if asked.path is not None:
            question = Question(asked.verb, path=asked.path)
        else:
            fields = field_requirements(asked.field_selector) if asked.field_selector else ()
            question = Question(asked.verb, asked.group, asked.resource, asked.subresource, asked.namespace, asked.name, "", "*", fields)
        verdict = self._authorizer.decide(user, question)
        return Decision(verdict.allowed, verdict.reason)

    async def evaluated(self, work: Callable[[Ask, int | None], T]) -> T:
        """What `work` gives: called here with little patience, and when that is not enough again in the thread.

        Others get their turn between one and the next: a binding may hand a thousand objects to its policy.
        """
        if time.perf_counter() - self._turn > _TURN_SECONDS:
            await asyncio.sleep(0)
            self._turn = time.perf_counter()
        try:
            return work(self.ask, LOOP_COST)
        except Impatient:
            return await background.aside(work, self._from_thread(), None)

    def _from_thread(self) -> Ask:
        """The authorizer's indexes belong to the loop."""
        loop = asyncio.get_running_loop()

        def ask(asked: authorization.Question) -> Decision:
            answer: concurrent.futures.Future[Decision] = concurrent.futures.Future()

            def answering() -> None:
                try:
                    answer.set_result(self.ask(asked))
                except Exception as error:
                    answer.set_exception(error)

            loop.call_soon_threadsafe(answering)
            return answer.result()

        return ask


def _service_account(namespace: str, name: str) -> User:
    full = f"system:serviceaccount:{namespace}:{name}"
    return User(full, authenticated(full, ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")))


def tree_of(attributes: Attributes, matched: Matched, obj: Any) -> Tree | None:
    """An object of the request as JSON has it, in the version of `matched`."""
    if obj is None:
        return None
    resource = matched.served.resource
    own = matched.kind == (resource.group, resource.version, resource.kind)
    shown = matched.served.external(obj) if own else obj
    tree: Tree = dict(shown) if isinstance(shown, dict) else codec.to_tree(shown)
    group, version, kind = matched.kind
    return tree | {"apiVersion": f"{group}/{version}" if group else version, "kind": kind}


def request_of(attributes: Attributes, matched: Matched) -> Tree:
    """`request`: as AdmissionRequest has it, without the objects; what is empty is left out."""
    resource, asked, user = matched.served.resource, attributes.served.resource, attributes.user
    made: Tree = {
        "kind": matched.kind._asdict(),
        "resource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
        "requestKind": attributes.kind._asdict(),
        "requestResource": {"group": asked.group, "version": asked.version, "resource": asked.plural},
        "operation": attributes.operation,
        "userInfo": user_of(user),
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


def namespace_of(attributes: Attributes) -> str:
    """A namespace is in itself, as far as admission is concerned."""
    return attributes.namespace or (attributes.name if attributes.key == _NAMESPACES else "")


def _options(attributes: Attributes) -> Tree | None:
    if attributes.options is None:
        return None
    made = codec.to_tree(attributes.options)
    if not made.get("kind"):
        made |= {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    return made


def user_of(user: User) -> Tree:
    made: Tree = {}
    if user.name:
        made["username"] = user.name
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made
