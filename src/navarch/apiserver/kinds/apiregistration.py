"""apiregistration.k8s.io: APIServices.

Upstream counterpart: kube-aggregator's pkg/apis/apiregistration and pkg/registry/apiservice.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from navarch.api.apiregistration import v1 as registration_v1
from navarch.apiserver.kinds import checks
from navarch.apiserver.kinds.checks import Found
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy, again
from navarch.machinery import field, names, timestamps

AVAILABLE = "Available"
MOST_GROUP_PRIORITY, MOST_VERSION_PRIORITY = 20000, 1000


def default_api_service(obj: registration_v1.APIService) -> None:
    service = obj.spec.service if obj.spec else None
    if service is not None and service.port is None:
        service.port = 443
    bundle = obj.spec.caBundle if obj.spec else None
    try:
        base64.b64decode(bundle or "", validate=True)
    except binascii.Error:
        raise ValueError("illegal base64 data in spec.caBundle") from None


def local_condition(now: float) -> registration_v1.APIServiceCondition:
    """What is said of an APIService that this server serves itself."""
    return registration_v1.APIServiceCondition(
        type=AVAILABLE,
        status="True",
        lastTransitionTime=timestamps.seconds(now),
        reason="Local",
        message="Local APIServices are always available",
    )


def prepare_api_service(obj: registration_v1.APIService, now: float) -> None:
    """An APIService without a Service is available from the first moment; what any other is has to be found out."""
    local = obj.spec is None or obj.spec.service is None
    obj.status = registration_v1.APIServiceStatus(conditions=[local_condition(now)] if local else None)


def prepare_status(new: registration_v1.APIService, old: registration_v1.APIService, now: float) -> None:
    """A change of the status touches no metadata that says something."""
    del now
    assert new.metadata is not None and old.metadata is not None
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        setattr(new.metadata, name, getattr(old.metadata, name))


def validate_api_service(obj: registration_v1.APIService) -> Found:
    found: Found = []
    spec = obj.spec or registration_v1.APIServiceSpec()
    group, version = spec.group or "", spec.version or ""
    _name(found, (obj.metadata.name if obj.metadata else None) or "", f"{version}.{group}")
    if not group and version != "v1":
        found.append(field.required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    if group:
        checks.subdomain(found, "spec.group", group)
    found += (field.invalid("spec.version", version, p) for p in names.dns_label_1035(version))
    group_priority, version_priority = spec.groupPriorityMinimum or 0, spec.versionPriority or 0
    if not 0 < group_priority <= MOST_GROUP_PRIORITY:
        found.append(field.invalid("spec.groupPriorityMinimum", group_priority, "must be positive and less than 20000"))
    if not 0 < version_priority <= MOST_VERSION_PRIORITY:
        found.append(field.invalid("spec.versionPriority", version_priority, "must be positive and less than 1000"))
    if spec.service is None:
        _local(found, spec)
    else:
        _remote(found, spec, spec.service)
    return found


def _name(found: Found, name: str, wanted: str) -> None:
    problems = names.path_segment(name)
    found += (field.invalid("metadata.name", name, p) for p in problems)
    if not problems and name and name != wanted:
        found.append(field.invalid("metadata.name", name, f'must be `spec.version+"."+spec.group`: "{wanted}"'))


def _local(found: Found, spec: registration_v1.APIServiceSpec) -> None:
    if spec.caBundle:
        size = len(base64.b64decode(spec.caBundle))
        found.append(field.invalid("spec.caBundle", f"{size} bytes", "local APIServices may not have a caBundle"))
    if spec.insecureSkipTLSVerify:
        found.append(field.invalid("spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"))


def _remote(found: Found, spec: registration_v1.APIServiceSpec, service: registration_v1.ServiceReference) -> None:
    if not service.namespace:
        found.append(field.required("spec.service.namespace"))
    if not service.name:
        found.append(field.required("spec.service.name"))
    problems = names.port_number(service.port or 0)
    if problems:
        found.append(field.invalid("spec.service.port", service.port or 0, "port is not valid: " + ", ".join(problems)))
    if spec.insecureSkipTLSVerify and spec.caBundle:
        found.append(field.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present"))


def validate_status(new: registration_v1.APIService, old: registration_v1.APIService) -> Found:
    del old
    found: Found = []
    for i, condition in enumerate((new.status.conditions if new.status else None) or ()):
        if condition.status not in ("True", "False", "Unknown"):
            found.append(field.not_supported(f"status.conditions[{i}].status", condition.status or "", ("True", "False", "Unknown")))
    return found


def api_service_row(t: Tree, now: float) -> list[Any]:
    ref = spec_of(t).get("service")
    where = f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "Local"
    held = next((c for c in status_of(t).get("conditions") or () if c.get("type") == AVAILABLE), None)
    shown = "Unknown"
    if held is not None:
        word, reason = held.get("status", ""), held.get("reason")
        shown = word if word == "True" or not reason else f"{word} ({reason})"
    return [name_of(t, now), where, shown, age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("apiregistration.k8s.io", "apiservices"): Strategy(
        default=default_api_service,
        prepare_create=prepare_api_service,
        prepare_status=prepare_status,
        validate=validate_api_service,
        validate_update=again(validate_api_service),
        validate_status=validate_status,
        name=names.path_segment,
        conditional_update=True,
        columns=sheet("Name|Service|Available|Age", api_service_row),
    )
}
