"""Nobody grants what he does not hold: checks on writes of roles and bindings.

Allowed are those who hold all the rules they write, or may `escalate` the role, or `bind` it.

Upstream counterparts: pkg/registry/rbac/*/policybased and pkg/registry/rbac/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from navarch.api.rbac import v1 as rbac_v1
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authn.users import User
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.machinery import errors

_GROUP = "rbac.authorization.k8s.io"
_ROLES, _BINDINGS = ("roles", "clusterroles"), ("rolebindings", "clusterrolebindings")


async def check(attributes: Attributes, authorizer: Authorizer) -> None:
    """Forbidden unless the user holds what the write grants."""
    group, plural = attributes.key
    if group != _GROUP or attributes.operation not in ("CREATE", "UPDATE") or "system:masters" in attributes.user.groups:
        return
    if plural in _ROLES:
        _role(attributes, authorizer, plural)
    elif plural in _BINDINGS:
        _binding(attributes, authorizer)


def _role(attributes: Attributes, authorizer: Authorizer, plural: str) -> None:
    obj, old = attributes.obj, attributes.old
    same = old is not None and obj.rules == old.rules
    aggregation = getattr(obj, "aggregationRule", None)
    if same and (aggregation is None or aggregation == old.aggregationRule):
        return
    user = attributes.user
    name = obj.metadata.name or ""
    if authorizer.decide(user, Question("escalate", _GROUP, plural, "", attributes.namespace, name)).allowed:
        return
    _cover(authorizer, user, attributes, obj.rules or [])
    if aggregation is not None and (old is None or aggregation != old.aggregationRule):
        everything = [rbac_v1.PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"])]
        everything.append(rbac_v1.PolicyRule(verbs=["*"], nonResourceURLs=["*"]))
        why = "must have cluster-admin privileges to use the aggregationRule"
        _cover(authorizer, user, attributes, everything, why)


def _binding(attributes: Attributes, authorizer: Authorizer) -> None:
    obj, old = attributes.obj, attributes.old
    if old is not None and obj.roleRef == old.roleRef and obj.subjects == old.subjects:
        return
    reference = obj.roleRef
    plural = "clusterroles" if reference.kind == "ClusterRole" else "roles"
    user = attributes.user
    if authorizer.decide(user, Question("bind", _GROUP, plural, "", attributes.namespace, reference.name or "")).allowed:
        return
    where = "" if reference.kind == "ClusterRole" else attributes.namespace
    rules = authorizer.rbac.role_rules(where, reference.name or "")
    if rules is None:
        raise errors.not_found(_GROUP, plural.removesuffix("s"), reference.name or "")
    _cover(authorizer, user, attributes, rules)


def _cover(authorizer: Authorizer, user: User, attributes: Attributes, wanted: Iterable[rbac_v1.PolicyRule], why: str = "") -> None:
    held = authorizer.rbac.rules(user, attributes.namespace)
    missing = [part for rule in wanted for part in _parts(rule) if not any(_covers(h, part) for h in held)]
    if not missing:
        return
    resource = attributes.served.resource
    if not why:
        shown = "\n".join(_show(rule) for rule in _compact(missing))
        groups = " ".join(f'"{g}"' for g in user.groups)
        why = f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{shown}'
    raise errors.forbidden(resource.group, resource.plural, attributes.obj.metadata.name or "", why)


def _parts(rule: rbac_v1.PolicyRule) -> Iterator[rbac_v1.PolicyRule]:
    """A rule cut into rules of one verb, group, resource and name each."""
    for verb in rule.verbs or ():
        for group in rule.apiGroups or ():
            for resource in rule.resources or ():
                for name in rule.resourceNames or (None,):
                    names = [name] if name is not None else None
                    yield rbac_v1.PolicyRule(verbs=[verb], apiGroups=[group], resources=[resource], resourceNames=names)
        for path in rule.nonResourceURLs or ():
            yield rbac_v1.PolicyRule(verbs=[verb], nonResourceURLs=[path])


def _covers(held: rbac_v1.PolicyRule, part: rbac_v1.PolicyRule) -> bool:
    verbs, (verb,) = held.verbs or (), part.verbs or [""]
    if verb not in verbs and "*" not in verbs:
        return False
    if part.nonResourceURLs:
        path = part.nonResourceURLs[0]
        return any(p in ("*", path) or (p.endswith("*") and path.rstrip("*").startswith(p[:-1])) for p in held.nonResourceURLs or ())
    (group,), (resource,) = part.apiGroups or [""], part.resources or [""]
    groups, resources = held.apiGroups or (), held.resources or ()
    if group not in groups and "*" not in groups:
        return False
    _, slash, subresource = resource.partition("/")
    if "*" not in resources and resource not in resources and not (slash and f"*/{subresource}" in resources):
        return False
    return not held.resourceNames or (bool(part.resourceNames) and (part.resourceNames or [""])[0] in held.resourceNames)


def _compact(parts: Iterable[rbac_v1.PolicyRule]) -> list[rbac_v1.PolicyRule]:
    """Rules that differ in their verb alone become one."""
    made: dict[str, rbac_v1.PolicyRule] = {}
    for part in parts:
        key = repr((part.apiGroups, part.resources, part.resourceNames, part.nonResourceURLs))
        held = made.setdefault(key, part)
        if held is not part and (part.verbs or [""])[0] not in (held.verbs or ()):
            held.verbs = [*(held.verbs or ()), *(part.verbs or ())]
    return list(made.values())


def _show(rule: rbac_v1.PolicyRule) -> str:
    """A rule as Go prints it: {APIGroups:[""], Resources:["pods"], Verbs:["get"]}."""
    shown = []
    for title, values in (
        ("APIGroups", rule.apiGroups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.resourceNames),
        ("NonResourceURLs", rule.nonResourceURLs),
        ("Verbs", rule.verbs),
    ):
        if values:
            shown.append(f"{title}:[{' '.join(chr(34) + v + chr(34) for v in values)}]")
    return "{" + ", ".join(shown) + "}"
