"""apiregistration.k8s.io: APIServices.

Upstream counterpart: kube-aggregator's pkg/apis/apiregistration and pkg/registry/apiservice.
"""

from __future__ import annotations

from typing import Any

from navarch.api.apiregistration import v1 as registration_v1
from navarch.apiserver.kinds.columns import Tree, age_of, name_of, sheet, spec_of, status_of
from navarch.apiserver.kinds.strategy import Key, Strategy


def default_api_service(obj: registration_v1.APIService) -> None:
    service = obj.spec.service if obj.spec else None
    if service is not None and service.port is None:
        service.port = 443


def prepare_api_service(obj: registration_v1.APIService, now: float) -> None:
    obj.status = registration_v1.APIServiceStatus()


def api_service_row(t: Tree, now: float) -> list[Any]:
    ref = spec_of(t).get("service")
    where = f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "Local"
    held = next((c for c in status_of(t).get("conditions") or () if c.get("type") == "Available"), None)
    shown = "Unknown"
    if held is not None:
        word, reason = held.get("status", ""), held.get("reason")
        shown = word if word == "True" or not reason else f"{word} ({reason})"
    return [name_of(t, now), where, shown, age_of(t, now)]


KINDS: dict[Key, Strategy] = {
    ("apiregistration.k8s.io", "apiservices"): Strategy(
        default=default_api_service,
        prepare_create=prepare_api_service,
        conditional_update=True,
        status_on_create=True,
        columns=sheet("Name|Service|Available|Age", api_service_row),
    )
}
