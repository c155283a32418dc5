"""The resource table: what the API serves, by group and version.

In: `facts/resources.json` (group/version/plural[/subresource] → kind, scope, actions). Out: one `Resource` per plural, with
its verbs, subresources, short names and generated type. Types are imported when first asked for.

Upstream counterparts: the REST storage maps of pkg/registry and the RESTMapper.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from navarch.api.scalars import Object

FACTS = pathlib.Path(__file__).parent / "facts"
_VERBS = {
    "get": ("get",),
    "list": ("list", "watch"),
    "post": ("create",),
    "put": ("update",),
    "patch": ("patch",),
    "delete": ("delete",),
    "deletecollection": ("deletecollection",),
    "connect": ("create", "get"),
}
_PACKAGES = {
    "": "core",
    "internal.apiserver.k8s.io": "apiserverinternal",
    "flowcontrol.apiserver.k8s.io": "flowcontrol",
    "rbac.authorization.k8s.io": "rbac",
}
SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "componentstatuses": ("cs",), "configmaps": ("cm",), "endpoints": ("ep",), "events": ("ev",), "limitranges": ("limits",),
    "namespaces": ("ns",), "nodes": ("no",), "persistentvolumeclaims": ("pvc",), "persistentvolumes": ("pv",), "pods": ("po",),
    "replicationcontrollers": ("rc",), "resourcequotas": ("quota",), "serviceaccounts": ("sa",), "services": ("svc",),
    "customresourcedefinitions": ("crd", "crds"), "daemonsets": ("ds",), "deployments": ("deploy",), "replicasets": ("rs",),
    "statefulsets": ("sts",), "horizontalpodautoscalers": ("hpa",), "cronjobs": ("cj",), "certificatesigningrequests": ("csr",),
    "ingresses": ("ing",), "networkpolicies": ("netpol",), "poddisruptionbudgets": ("pdb",), "priorityclasses": ("pc",),
    "storageclasses": ("sc",), "volumeattributesclasses": ("vac",), "ipaddresses": ("ip",),
}  # fmt: skip
_WORKLOADS = "daemonsets deployments replicasets statefulsets horizontalpodautoscalers cronjobs jobs"
_ALL = frozenset(f"pods replicationcontrollers services {_WORKLOADS}".split())
_CATEGORIES = {
    "customresourcedefinitions": ("api-extensions",),
    "apiservices": ("api-extensions",),
    "mutatingwebhookconfigurations": ("api-extensions",),
    "validatingwebhookconfigurations": ("api-extensions",),
    "validatingadmissionpolicies": ("api-extensions",),
    "validatingadmissionpolicybindings": ("api-extensions",),
    "mutatingadmissionpolicies": ("api-extensions",),
    "mutatingadmissionpolicybindings": ("api-extensions",),
}
_SINGULAR = {"endpoints": "endpoints"}


@dataclass(frozen=True, slots=True)
class Subresource:
    """`pods/log`, `deployments/scale`: its own kind and verbs."""

    name: str
    kind: str
    group: str
    version: str
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource. `verbs` are the request verbs (get, list, watch, create, ...)."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: tuple[str, ...]
    subresources: Mapping[str, Subresource] = field(default_factory=dict)

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return _SINGULAR.get(self.plural, self.kind.lower())

    @property
    def short_names(self) -> tuple[str, ...]:
        return SHORT_NAMES.get(self.plural, ())

    @property
    def categories(self) -> tuple[str, ...]:
        if self.plural in _ALL and self.group in ("", "apps", "autoscaling", "batch"):
            return ("all",)
        return _CATEGORIES.get(self.plural, ())

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def storage_version(self) -> str:
        """The version that discovery names as that which objects are stored in."""
        return self.version

    @property
    def advertised(self) -> tuple[str, ...]:
        """The verbs that discovery tells of."""
        return self.verbs

    @property
    def prefix(self) -> str:
        """The URL path up to the version: "/api/v1", "/apis/apps/v1"."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, name: str = "", namespace: str = "", subresource: str = "") -> str:
        """The URL path of the collection or of one object."""
        parts = [self.prefix]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)

    @property
    def object_type(self) -> type[Object]:
        """The generated type of its objects."""
        return kind_type(self.group, self.version, self.kind)

    @property
    def list_type(self) -> type[Object]:
        return kind_type(self.group, self.version, self.kind + "List")


def package(group: str) -> str:
    """The package below `navarch.api` that holds a group's types."""
    return _PACKAGES.get(group, group.split(".", 1)[0])


@functools.cache
def kind_type(group: str, version: str, kind: str) -> type[Object]:
    """The generated type of a kind. KeyError when the API has none."""
    try:
        module = importlib.import_module(f"navarch.api.{package(group)}.{version}")
        found: type[Object] = getattr(module, kind)
    except (ModuleNotFoundError, AttributeError):
        raise KeyError(f"{group}/{version} {kind}") from None
    return found


def _verbs(actions: list[str]) -> tuple[str, ...]:
    return tuple(v for a in sorted(actions) for v in _VERBS[a])


def _facts() -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = msgspec.json.decode((FACTS / "resources.json").read_bytes())
    return facts


@functools.cache
def table() -> Mapping[tuple[str, str, str], Resource]:
    """Every built-in resource: (group, version, plural) → Resource."""
    facts = _facts()
    subresources: dict[tuple[str, str, str], dict[str, Subresource]] = {}
    heads: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path, fact in facts.items():
        group, version, plural, *rest = path.split("/")
        key = (group, version, plural)
        if not rest:
            heads[key] = fact
            continue
        kind_group, kind_version = fact["kindGroup"], fact["kindVersion"]
        entry = Subresource(rest[0], fact["kind"], kind_group, kind_version, _verbs(fact["actions"]))
        subresources.setdefault(key, {})[rest[0]] = entry
    return {key: Resource(*key, fact["kind"], fact["namespaced"], _verbs(fact["actions"]), subresources.get(key, {})) for key, fact in heads.items()}


@functools.cache
def _by_type() -> Mapping[tuple[str, str], Resource]:
    found: dict[tuple[str, str], Resource] = {}
    for (group, version, _), resource in table().items():
        found.setdefault((f"navarch.api.{package(group)}.{version}", resource.kind), resource)
    return found


def of(kind: type[Object]) -> Resource:
    """The resource whose objects have this generated type. KeyError when it is not one."""
    return _by_type()[kind.__module__, kind.__name__]


def group_version_kind(kind: type[Object]) -> tuple[str, str]:
    """apiVersion and kind of a resource's type, as its objects carry them."""
    resource = of(kind)
    return resource.group_version, resource.kind


_TYPE_ROOTS = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}


def type_name(kind: type[Object]) -> str:
    """A generated type's full name in the fact tables: `io.k8s.api.core.v1.Pod`."""
    group, version = kind.__module__.split(".")[-2:]
    return f"{_TYPE_ROOTS.get(group, f'io.k8s.api.{group}')}.{version}.{kind.__name__}"
