"""rbac.authorization.k8s.io: Roles and bindings, of a namespace and of the cluster.

Their names may be anything a URL path segment can be ("system:node"), and a PUT creates what is not there.

Upstream counterparts: pkg/apis/rbac/{v1/defaults.go,validation}, pkg/registry/rbac.
"""

from __future__ import annotations

from typing import Any

from navarch.api.rbac import v1 as rbac_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import CREATED, Tree, age_of, name_of, sheet
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import codec, field, names


def default_binding(obj: rbac_v1.RoleBinding | rbac_v1.ClusterRoleBinding) -> None:
    obj.roleRef = obj.roleRef or rbac_v1.RoleRef()
    obj.roleRef.apiGroup = obj.roleRef.apiGroup or GROUP
    for subject in obj.subjects or ():
        if not subject.apiGroup and subject.kind in ("User", "Group"):
            subject.apiGroup = GROUP


def validate_binding(obj: rbac_v1.RoleBinding | rbac_v1.ClusterRoleBinding) -> Found:
    found: Found = []
    namespaced = isinstance(obj, rbac_v1.RoleBinding)
    ref = obj.roleRef
    assert ref is not None
    if ref.apiGroup != GROUP:
        found.append(field.not_supported("roleRef.apiGroup", ref.apiGroup or "", (GROUP,)))
    kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
    if ref.kind not in kinds:
        found.append(field.not_supported("roleRef.kind", ref.kind or "", kinds))
    if not ref.name:
        found.append(field.required("roleRef.name"))
    else:
        found += (field.invalid("roleRef.name", ref.name, p) for p in names.path_segment(ref.name))
    for i, subject in enumerate(obj.subjects or ()):
        _subject(found, f"subjects[{i}]", subject, namespaced=namespaced)
    return found


def _subject(found: Found, at: str, subject: rbac_v1.Subject, *, namespaced: bool) -> None:
    if not subject.name:
        found.append(field.required(f"{at}.name"))
    if subject.kind == "ServiceAccount":
        if subject.name:
            checks.subdomain(found, f"{at}.name", subject.name)
        if subject.apiGroup:
            found.append(field.not_supported(f"{at}.apiGroup", subject.apiGroup, ("",)))
        if not namespaced and not subject.namespace:
            found.append(field.required(f"{at}.namespace"))
    elif subject.kind in ("User", "Group"):
        if subject.apiGroup != GROUP:
            found.append(field.not_supported(f"{at}.apiGroup", subject.apiGroup or "", (GROUP,)))
    else:
        found.append(field.not_supported(f"{at}.kind", subject.kind or "", ("ServiceAccount", "User", "Group")))


def validate_binding_update(new: Any, old: Any) -> Found:
    found = validate_binding(new)
    if new.roleRef != old.roleRef:
        found.append(field.invalid("roleRef", codec.to_tree(new.roleRef), "cannot change roleRef"))
    return found


def binding_row(t: Tree, now: float) -> list[Any]:
    role = t.get("roleRef") or {}
    who: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for s in t.get("subjects") or ():
        full = f"{s.get('namespace', '')}/{s.get('name', '')}" if s.get("kind") == "ServiceAccount" else s.get("name", "")
        who.setdefault(s.get("kind", ""), []).append(full)
    lists = [", ".join(who[k]) for k in ("User", "Group", "ServiceAccount")]
    return [name_of(t, now), f"{role.get('kind', '')}/{role.get('name', '')}", age_of(t, now), *lists]


def validate_role(obj: rbac_v1.Role | rbac_v1.ClusterRole) -> Found:
    found: Found = []
    namespaced = isinstance(obj, rbac_v1.Role)
    for i, rule in enumerate(obj.rules or ()):
        at = f"rules[{i}]"
        if not rule.verbs:
            found.append(field.required(f"{at}.verbs", "verbs must contain at least one value"))
        if rule.nonResourceURLs:
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                found.append(field.invalid(f"{at}.nonResourceURLs", rule.nonResourceURLs, why))
            if rule.apiGroups or rule.resources or rule.resourceNames:
                why = "rules cannot apply to both regular resources and non-resource URLs"
                found.append(field.invalid(f"{at}.nonResourceURLs", rule.nonResourceURLs, why))
            continue
        if not rule.apiGroups:
            found.append(field.required(f"{at}.apiGroups", "resource rules must supply at least one api group"))
        if not rule.resources:
            found.append(field.required(f"{at}.resources", "resource rules must supply at least one resource"))
    aggregation = getattr(obj, "aggregationRule", None)
    if aggregation is not None:
        chosen = aggregation.clusterRoleSelectors or []
        if not chosen:
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            found.append(field.required("aggregationRule.clusterRoleSelectors", why))
        for i, selector in enumerate(chosen):
            checks.selector(found, f"aggregationRule.clusterRoleSelectors[{i}]", selector)
    return found


GROUP = "rbac.authorization.k8s.io"


_ROLE = Strategy(validate=validate_role, validate_update=again(validate_role), name=names.path_segment, create_on_update=True, columns=CREATED)
_BINDING = Strategy(
    default=default_binding,
    validate=validate_binding,
    validate_update=validate_binding_update,
    name=names.path_segment,
    create_on_update=True,
    columns=sheet("Name|Role|Age|Users*|Groups*|ServiceAccounts*", binding_row),
)

KINDS: dict[Key, Strategy] = {
    (GROUP, "roles"): _ROLE,
    (GROUP, "clusterroles"): _ROLE,
    (GROUP, "rolebindings"): _BINDING,
    (GROUP, "clusterrolebindings"): _BINDING,
}
