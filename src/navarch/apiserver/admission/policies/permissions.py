"""Who may say what policies are handed: one must be able to read the objects that a paramKind or paramRef names.

A policy shows what it is handed in its messages: whoever writes one could read by it what he may not.

Upstream counterpart: pkg/registry/admissionregistration/*/authz.go.
"""

from __future__ import annotations

from typing import Any

from navarch.api.admissionregistration import v1 as admission_v1
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.served import Catalog, Served
from navarch.machinery import errors, field

_GROUP = "admissionregistration.k8s.io"
_POLICIES = ("validatingadmissionpolicies", "mutatingadmissionpolicies")
_BINDINGS = {f"{name.removesuffix('policies')}policybindings": name for name in _POLICIES}


def check(attributes: Attributes, catalog: Catalog, authorizer: Authorizer) -> None:
    """Invalid unless the user may read what the policy or binding refers to."""
    group, plural = attributes.key
    if group != _GROUP or attributes.subresource or "system:masters" in attributes.user.groups:
        return
    if plural in _POLICIES:
        _policy(attributes, catalog, authorizer)
    elif plural in _BINDINGS:
        _binding(attributes, catalog, authorizer, _BINDINGS[plural])


def _policy(attributes: Attributes, catalog: Catalog, authorizer: Authorizer) -> None:
    kind = attributes.obj.spec.paramKind
    if kind is None or (attributes.old is not None and attributes.old.spec.paramKind == kind):
        return
    group, _, version = (kind.apiVersion or "").rpartition("/")
    served = catalog.by_kind(group, version, kind.kind or "")
    question = Question("get", group, served.plural if served else "*", "", "*", "*", "", version)
    if not authorizer.decide(attributes.user, question).allowed:
        why = f'must have "get" permission on all objects of the referenced paramKind (kind={kind.kind}, apiVersion={kind.apiVersion})'
        raise _refusal(attributes, "spec.paramKind", f"user {attributes.user.name} {why}")


def _binding(attributes: Attributes, catalog: Catalog, authorizer: Authorizer, policies: str) -> None:
    ref = attributes.obj.spec.paramRef
    old = attributes.old
    if ref is None or (old is not None and old.spec.paramRef == ref and old.spec.policyName == attributes.obj.spec.policyName):
        return
    verb = "get" if ref.name else "list"
    group, version, plural, why = _referred(catalog, catalog.of(_GROUP, policies), attributes.obj.spec.policyName or "")
    question = Question(verb, group, plural, "", ref.namespace or "", ref.name or "", "", version)
    if authorizer.decide(attributes.user, question).allowed:
        return
    user = attributes.user.name
    if why:
        lacking = f'user {user} does not have "{verb}" permission for all groups, versions and resources'
        text = f"{why} to determine minimum required permissions and {lacking}"
    else:
        text = f'user {user} does not have "{verb}" permission on the object referenced by paramRef'
    raise _refusal(attributes, "spec.paramRef", text)


def _referred(catalog: Catalog, policies: Served, name: str) -> tuple[str, str, str, str]:
    """Group, version and resource of what a policy is handed; where that is not known, everything, and why."""
    entry = policies.cache.get(name)
    if entry is None:
        return "*", "*", "*", f"unable to get policy {name}"
    kind: admission_v1.ParamKind | None = policies.decode(entry.body).spec.paramKind
    if kind is None:
        return "*", "*", "*", ""
    group, _, version = (kind.apiVersion or "").rpartition("/")
    served = catalog.by_kind(group, version, kind.kind or "")
    if served is None:
        return group, version, "*", f"unable to resolve paramKind {kind.apiVersion}, Kind={kind.kind}"
    return group, version, served.plural, ""


def _refusal(attributes: Attributes, path: str, why: str) -> errors.ApiError:
    resource: Any = attributes.served.resource
    return field.invalid_error(resource.group, resource.kind, attributes.name, [field.forbidden(path, why)])
