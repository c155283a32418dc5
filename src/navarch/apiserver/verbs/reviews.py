"""Resources that are asked and answered but not stored: token and access reviews, bindings, component statuses.

Upstream counterparts: pkg/registry/{authentication,authorization}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from navarch.api.authentication import v1 as authentication_v1
from navarch.api.authorization import v1 as authorization_v1
from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.apiserver import answers, discovery, negotiation, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.authn.authenticator import Authenticator
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question, field_requirements
from navarch.apiserver.call import Call
from navarch.apiserver.served import Catalog
from navarch.apiserver.storage import Storage
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.machinery import codec, errors, field, selectors

T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Reviews:
    """What questions are answered by, and the way to what an old Binding binds."""

    authenticator: Authenticator
    authorizer: Authorizer
    catalog: Catalog
    storage: Storage
    writer: Writer


Review = Callable[[Reviews, Call], Awaitable[Object]]


async def _read(call: Call, kind: type[T]) -> T:
    data = await writing.body(call)
    name = kind.__name__
    try:
        return await writing.decode(call, kind, data)
    except codec.DecodeError as error:
        raise errors.BadRequest(f'{name} in version "{call.info.version}" cannot be handled as a {name}: {error}') from None


def _user(user: User) -> authentication_v1.UserInfo:
    extra = {k: list(v) for k, v in user.extra.items()}
    return authentication_v1.UserInfo(username=user.name, groups=list(user.groups) or None, uid=user.uid or None, extra=extra or None)


async def self_subject_review(reviews: Reviews, call: Call) -> Object:
    """Who am I."""
    review = await _read(call, authentication_v1.SelfSubjectReview)
    review.status = authentication_v1.SelfSubjectReviewStatus(userInfo=_user(call.user))
    return review


async def token_review(reviews: Reviews, call: Call) -> Object:
    """Whose token is this, and for which audiences."""
    review = await _read(call, authentication_v1.TokenReview)
    spec = review.spec or authentication_v1.TokenReviewSpec()
    if not spec.token:
        raise errors.BadRequest("token is required for TokenReview in authentication")
    wanted = tuple(spec.audiences or ()) or reviews.authenticator.verifier.audiences
    status = authentication_v1.TokenReviewStatus()
    known = reviews.authenticator.by_token(spec.token, wanted)
    if known is None:
        status.error = "[invalid bearer token, token lookup failed]"
        status.authenticated = False
    else:
        status.authenticated, status.user, status.audiences = True, _user(known[0]), list(known[1])
    review.status = status
    return review


def _question(spec: authorization_v1.SubjectAccessReviewSpec | authorization_v1.SelfSubjectAccessReviewSpec) -> Question:
    if spec.resourceAttributes is not None:
        a = spec.resourceAttributes
        return Question(
            a.verb or "", a.group or "", a.resource or "", a.subresource or "", a.namespace or "", a.name or "", "", a.version or "", _fields(a)
        )
    n = spec.nonResourceAttributes or authorization_v1.NonResourceAttributes()
    return Question(n.verb or "", path=n.path or "")


def _fields(attributes: authorization_v1.ResourceAttributes) -> tuple[selectors.FieldRequirement, ...]:
    """What a list that is asked about confines itself to."""
    selector = attributes.fieldSelector
    if selector is None:
        return ()
    if selector.rawSelector:
        return field_requirements(selector.rawSelector)
    return tuple(
        selectors.FieldRequirement(r.key or "", r.operator == "In", (r.values or [""])[0])
        for r in selector.requirements or ()
        if r.operator in ("In", "NotIn") and len(r.values or ()) == 1
    )


def _decide(reviews: Reviews, user: User, question: Question) -> authorization_v1.SubjectAccessReviewStatus:
    verdict = reviews.authorizer.decide(user, question)
    return authorization_v1.SubjectAccessReviewStatus(allowed=verdict.allowed, reason=verdict.reason or None)


def _check_spec(kind: str, spec: authorization_v1.SubjectAccessReviewSpec | authorization_v1.SelfSubjectAccessReviewSpec | None) -> None:
    problems: list[field.Problem] = []
    if spec is None or (spec.resourceAttributes is None) == (spec.nonResourceAttributes is None):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        problems.append(field.invalid("spec.resourceAttributes", None, detail))
    if isinstance(spec, authorization_v1.SubjectAccessReviewSpec) and not spec.user and not spec.groups:
        problems.append(field.invalid("spec.user", "", "at least one of user or group must be specified"))
    if problems:
        raise field.invalid_error("authorization.k8s.io", kind, "", problems)


async def self_access(reviews: Reviews, call: Call) -> Object:
    """May I."""
    review = await _read(call, authorization_v1.SelfSubjectAccessReview)
    _check_spec("SelfSubjectAccessReview", review.spec)
    assert review.spec is not None
    review.status = _decide(reviews, call.user, _question(review.spec))
    return review


def _subject(spec: authorization_v1.SubjectAccessReviewSpec) -> User:
    extra: Mapping[str, tuple[str, ...]] = {k: tuple(v) for k, v in (spec.extra or {}).items()}
    return User(spec.user or "", tuple(spec.groups or ()), spec.uid or "", extra)


async def access(reviews: Reviews, call: Call) -> Object:
    """May they."""
    review = await _read(call, authorization_v1.SubjectAccessReview)
    _check_spec("SubjectAccessReview", review.spec)
    assert review.spec is not None
    review.status = _decide(reviews, _subject(review.spec), _question(review.spec))
    return review


async def local_access(reviews: Reviews, call: Call) -> Object:
    """May they, in this namespace."""
    review = await _read(call, authorization_v1.LocalSubjectAccessReview)
    _check_spec("LocalSubjectAccessReview", review.spec)
    assert review.spec is not None
    attributes = review.spec.resourceAttributes
    if attributes is not None:
        if attributes.namespace not in (None, "", call.info.namespace):
            raise errors.BadRequest("spec.resourceAttributes.namespace must match namespace")
        attributes.namespace = call.info.namespace
    review.status = _decide(reviews, _subject(review.spec), _question(review.spec))
    return review


async def self_rules(reviews: Reviews, call: Call) -> Object:
    """What may I do in a namespace."""
    review = await _read(call, authorization_v1.SelfSubjectRulesReview)
    namespace = (review.spec.namespace if review.spec else None) or ""
    if not namespace:
        raise errors.BadRequest("no namespace on request")
    modes = reviews.authorizer.modes
    rules = reviews.authorizer.rbac.rules(call.user, namespace) if "RBAC" in modes else []
    resource_rules = [
        authorization_v1.ResourceRule(verbs=r.verbs, apiGroups=r.apiGroups, resources=r.resources, resourceNames=r.resourceNames)
        for r in rules
        if r.resources
    ]
    path_rules = [authorization_v1.NonResourceRule(verbs=r.verbs, nonResourceURLs=r.nonResourceURLs) for r in rules if r.nonResourceURLs]
    if "system:masters" in call.user.groups or "AlwaysAllow" in modes:
        resource_rules.append(authorization_v1.ResourceRule(verbs=["*"], apiGroups=["*"], resources=["*"]))
        path_rules.append(authorization_v1.NonResourceRule(verbs=["*"], nonResourceURLs=["*"]))
    status = authorization_v1.SubjectRulesReviewStatus(resourceRules=resource_rules, nonResourceRules=path_rules, incomplete=False)
    if "Node" in modes and call.user.node is not None:
        status.incomplete, status.evaluationError = True, "node authorizer does not support user rule resolution"
    review.status = status
    return review


REVIEWS: Mapping[tuple[str, str], Review] = {
    ("authentication.k8s.io", "selfsubjectreviews"): self_subject_review,
    ("authentication.k8s.io", "tokenreviews"): token_review,
    ("authorization.k8s.io", "selfsubjectaccessreviews"): self_access,
    ("authorization.k8s.io", "subjectaccessreviews"): access,
    ("authorization.k8s.io", "localsubjectaccessreviews"): local_access,
    ("authorization.k8s.io", "selfsubjectrulesreviews"): self_rules,
}


async def handle(reviews: Reviews, call: Call) -> Answer:
    """Answers a review. NotFound when the path names no resource at all."""
    info = call.info
    if info.version != "v1":
        raise discovery.not_found()
    if (info.group, info.plural) == ("", "bindings") and info.verb == "create":
        return await _binding(reviews, call)
    if (info.group, info.plural) == ("", "componentstatuses"):
        return _component_statuses(reviews, call)
    review = REVIEWS.get((info.group, info.plural))
    if review is None:
        raise discovery.not_found()
    if info.verb != "create":
        raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
    negotiation.accepted(call)
    return answers.of_object(call, await review(reviews, call), 201)


async def _binding(reviews: Reviews, call: Call) -> Answer:
    """The old way to bind: a Binding in the namespace, named like the pod."""
    from navarch.apiserver.subresource import binding

    wanted = await _read(call, core_v1.Binding)
    name = (wanted.metadata.name if wanted.metadata else None) or ""
    await binding.bind(author_of(call), reviews.catalog.of("", "pods"), reviews.writer, name, call.info.namespace, wanted)
    return answers.of_object(call, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)


def _component_statuses(reviews: Reviews, call: Call) -> Answer:
    """Deprecated upstream; of what it tells, the store is in this process."""
    failed, damaged = reviews.storage.failed, reviews.storage.damaged
    message = failed.result() if failed.done() else f"damaged and set aside: {', '.join(damaged)}" if damaged else "ok"
    condition = core_v1.ComponentCondition(type="Healthy", status="False" if failed.done() else "True", message=message)
    items = [core_v1.ComponentStatus(metadata=meta_v1.ObjectMeta(name="store"), conditions=[condition])]
    if call.info.name:
        found = next((i for i in items if i.metadata and i.metadata.name == call.info.name), None)
        if found is None:
            raise errors.not_found("", "componentstatuses", call.info.name)
        found.apiVersion, found.kind = "v1", "ComponentStatus"
        return answers.of_object(call, found)
    return answers.of_object(call, core_v1.ComponentStatusList(apiVersion="v1", kind="ComponentStatusList", items=items))
