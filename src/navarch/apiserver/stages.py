"""The stages of the chain that are a few lines each: who asks, for what, and whether they may.

Upstream counterparts: apiserver's endpoints/filters/{authentication,authorization}.go.
"""

from __future__ import annotations

from navarch.apiserver import discovery, routes
from navarch.apiserver.aggregation.registry import Registry
from navarch.apiserver.authn.authenticator import Authenticator
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question, field_requirements, refusal
from navarch.apiserver.call import Call
from navarch.apiserver.routes import RequestInfo
from navarch.apiserver.served import Catalog
from navarch.machinery import errors

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
"""What anybody may read (the role system:public-info-viewer): answered without asking RBAC, which may not be loaded yet."""


def authenticate(authenticator: Authenticator, call: Call) -> None:
    """Finds out who asks. Unauthorized when what they bring is not good."""
    call.user = authenticator.authenticate(call)


def find(catalog: Catalog, remotes: Registry, call: Call) -> None:
    """Finds what is served at a path. NotFound where a resource's scope does not allow the path; what is not stored, or served by another server, is
    found later.
    """
    info = call.info
    if not info.is_resource or remotes.remote_of(info) is not None:
        return
    served = call.served = catalog.get(info.group, info.version, info.plural)
    resource = served.resource if served is not None else catalog.virtual(info.group, info.version, info.plural)
    if resource is not None and not routes.exists(info, resource):
        raise discovery.not_found()


def authorize(authorizer: Authorizer, call: Call) -> None:
    """Forbidden unless the user may do that."""
    info = call.info
    if not info.is_resource and info.path in OPEN_PATHS:
        return
    question = question_of(info)
    verdict = authorizer.decide(call.user, question)
    if not verdict.allowed:
        raise errors.forbidden(info.group, info.plural, info.name, refusal(call.user, question, verdict.reason))


def question_of(info: RequestInfo) -> Question:
    """What a request must be allowed to do."""
    if not info.is_resource:
        return Question(info.verb, path=info.path)
    fields = field_requirements(info.field_selector) if info.field_selector else ()
    return Question(info.verb, info.group, info.plural, info.subresource, info.namespace, info.name, "", info.version, fields)
