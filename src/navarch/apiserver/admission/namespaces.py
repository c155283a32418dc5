"""NamespaceLifecycle: nothing is created in a namespace that does not exist or is going away; three namespaces stay.

Upstream counterpart: apiserver's plugin/namespace/lifecycle.
"""

from __future__ import annotations

from navarch.api.core import v1 as core_v1
from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.served import Catalog
from navarch.machinery import codec, errors

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_REVIEWS = frozenset({"localsubjectaccessreviews"})


async def lifecycle(attributes: Attributes, catalog: Catalog) -> None:
    """Refuses creation in missing or terminating namespaces and deletion of the immortal ones."""
    resource = attributes.served.resource
    if attributes.operation == "DELETE" and attributes.key == ("", "namespaces") and attributes.name in _IMMORTAL:
        raise errors.forbidden("", "namespaces", attributes.name, "this namespace may not be deleted")
    if not resource.namespaced or attributes.operation != "CREATE" or resource.plural in _REVIEWS:
        return
    entry = catalog.of("", "namespaces").cache.get(attributes.namespace)
    if entry is None:
        raise errors.not_found("", "namespaces", attributes.namespace)
    if entry.fields.get("status.phase") != "Terminating":
        return
    namespace = codec.decode(core_v1.Namespace, entry.body)
    assert namespace.metadata is not None
    if namespace.metadata.deletionTimestamp is None:
        return
    name = attributes.name
    why = f"unable to create new content in namespace {attributes.namespace} because it is being terminated"
    cause = meta_v1.StatusCause(
        reason="NamespaceTerminating", message=f"namespace {attributes.namespace} is being terminated", field="metadata.namespace"
    )
    refusal = errors.forbidden(resource.group, resource.plural, name, why)
    assert refusal.status.details is not None
    refusal.status.details.causes = [cause]
    raise refusal
