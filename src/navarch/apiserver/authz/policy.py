"""The default cluster roles and bindings.

Upstream counterpart: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
"""

from __future__ import annotations

from navarch.api.meta import v1 as meta_v1
from navarch.api.rbac import v1 as rbac_v1
from navarch.api.scalars import Object


def objects() -> list[Object]:
    """Every default role and binding."""
    labels = {"kubernetes.io/bootstrapping": "rbac-defaults"}
    metadata = meta_v1.ObjectMeta(name="cluster-admin", labels=labels)
    rule = rbac_v1.PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"])
    paths = rbac_v1.PolicyRule(verbs=["*"], nonResourceURLs=["*"])
    return [rbac_v1.ClusterRole(metadata=metadata, rules=[rule, paths])]
