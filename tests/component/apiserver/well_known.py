"""CustomResourceDefinitions in the style of those most clusters have: Prometheus-operator's and cert-manager's.

The first has what makes operators' definitions large: a whole pod specification inside, made from the server's own documents the
way controller-gen makes one from Go types. The second has what makes them old: several versions without conversion.
"""

from __future__ import annotations

from typing import Any

QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
KEPT = ("type", "format", "description", "required", "enum", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type")


def structural(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A type of an OpenAPI document as a structural schema: references written out, unions by their extension."""
    return _expanded(document["components"]["schemas"], {"$ref": f"#/components/schemas/{name}"})


def _expanded(types: dict[str, Any], tree: dict[str, Any]) -> dict[str, Any]:
    own = {key: tree[key] for key in ("description", "default") if tree.get(key) or (tree.get(key) == "" and "enum" not in tree)}
    (wrapped,) = tree.get("allOf", [tree])
    if "$ref" in wrapped:
        name = wrapped["$ref"].rpartition("/")[2]
        if name.endswith("resource.Quantity"):
            return {**INT_OR_STRING, "pattern": QUANTITY}
        if name.endswith("IntOrString"):
            return INT_OR_STRING
        return {**_expanded(types, types[name]), **own}
    made = {key: tree[key] for key in KEPT if key in tree}
    if "default" in own and tree.get("type") in ("string", "integer", "boolean"):
        made["default"] = own["default"]
    if "properties" in tree:
        made["properties"] = {key: _expanded(types, value) for key, value in tree["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in tree:
            made[key] = _expanded(types, tree[key])
    return made


CONDITION = {
    "type": "object",
    "required": ["lastTransitionTime", "status", "type"],
    "properties": {
        "type": {"type": "string", "minLength": 1},
        "status": {"type": "string", "minLength": 1},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64"},
    },
}
CONDITIONS = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"], "items": CONDITION}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _root(spec: dict[str, Any], status: dict[str, Any], description: str) -> dict[str, Any]:
    names = _object(apiVersion={"type": "string"}, kind={"type": "string"}, metadata={"type": "object"}, spec=spec, status=status)
    return {**names, "required": ["spec"], "description": description}


def _definition(group: str, names: dict[str, Any], versions: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names['plural']}.{group}",
            "annotations": {"controller-gen.kubebuilder.io/version": "v0.19.0"},
            "labels": {"app.kubernetes.io/part-of": names["singular"]},
        },
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": versions, **spec},
    }


def _column(name: str, path: str, kind: str = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "jsonPath": path, "type": kind, **more}


READY = ".status.conditions[?(@.type == 'Ready')].status"
AGE = _column("Age", ".metadata.creationTimestamp", "date")


def prometheus(group: str, pod: dict[str, Any]) -> dict[str, Any]:
    """`pod`: the structural schema of a pod specification."""
    spec = _object(
        version={"type": "string", "description": "Version of the monitor which is deployed."},
        replicas={"type": "integer", "format": "int32", "description": "Number of replicas of each shard."},
        paused={"type": "boolean"},
        retention={"type": "string", "default": "24h", "pattern": "^(0|([0-9]+(ms|[smhdwy]))+)$"},
        retentionSize={**INT_OR_STRING, "pattern": QUANTITY},
        port={**INT_OR_STRING, "description": "A port by its number or name."},
        containers=pod["properties"]["containers"],
        initContainers=pod["properties"]["initContainers"],
        volumes=pod["properties"]["volumes"],
        affinity=pod["properties"]["affinity"],
        tolerations=pod["properties"]["tolerations"],
        thanos=pod,
        alerting=pod,
        podMetadata=_object(labels={"type": "object", "additionalProperties": {"type": "string"}}),
        resources=pod["properties"]["resources"],
        additionalArgs={
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "value": {"type": "string"}}},
        },
        web={"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"pageTitle": {"type": "string"}}},
    )
    spec["x-kubernetes-validations"] = [
        {"rule": "!has(self.replicas) || self.replicas <= 100", "message": "at most 100 replicas", "fieldPath": ".replicas"}
    ]
    status = _object(
        paused={"type": "boolean"},
        availableReplicas={"type": "integer"},
        replicas={"type": "integer"},
        selector={"type": "string"},
        conditions=CONDITIONS,
    )
    columns = [
        _column("Version", ".spec.version", description="The version"),
        _column("Desired", ".spec.replicas", "integer"),
        _column("Ready", ".status.availableReplicas", "integer"),
        _column("Reconciled", ".status.conditions[?(@.type == 'Reconciled')].status"),
        _column("Available", ".status.conditions[?(@.type == 'Available')].status"),
        AGE,
        _column("Paused", ".status.paused", "boolean", priority=1),
    ]
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(spec, status, "A monitor and what it watches.")},
        "additionalPrinterColumns": columns,
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"},
        },
    }
    names = {"plural": "prometheuses", "singular": "prometheus", "kind": "Prometheus", "listKind": "PrometheusList"}
    names_of = {**names, "categories": ["prometheus-operator"], "shortNames": ["prom"]}
    return _definition(group, names_of, [version])


def certificate(group: str) -> dict[str, Any]:
    """Three versions: one no longer served, one served and deprecated, one stored."""
    usages = {"type": "array", "items": {"type": "string", "enum": ["signing", "server auth", "client auth"]}, "x-kubernetes-list-type": "set"}
    issuer = {**_object(name={"type": "string"}, kind={"type": "string"}, group={"type": "string"}), "required": ["name"]}
    issuer["x-kubernetes-map-type"] = "atomic"
    key = _object(algorithm={"type": "string", "enum": ["RSA", "ECDSA"], "default": "RSA"}, size={"type": "integer", "minimum": 256})
    spec = _object(
        secretName={"type": "string", "description": "Name of the Secret which holds the certificate."},
        dnsNames={"type": "array", "items": {"type": "string"}},
        issuerRef=issuer,
        usages=usages,
        privateKey=key,
        duration={"type": "string"},
        revisionHistoryLimit={"type": "integer", "format": "int32", "minimum": 1},
    )
    spec["required"] = ["issuerRef", "secretName"]
    status = _object(conditions=CONDITIONS, revision={"type": "integer"}, notAfter={"type": "string", "format": "date-time"})
    root = _root(spec, status, "A certificate that is kept up to date in a Secret.")
    columns = [
        _column("Ready", READY),
        _column("Secret", ".spec.secretName"),
        _column("Issuer", ".spec.issuerRef.name", priority=1),
        AGE,
    ]

    def version(name: str, served: bool, storage: bool, **more: Any) -> dict[str, Any]:
        held = {"name": name, "served": served, "storage": storage, "schema": {"openAPIV3Schema": root}, "subresources": {"status": {}}}
        return {**held, "additionalPrinterColumns": columns, **more}

    old = {"deprecated": True, "deprecationWarning": f"{group}/v1beta1 Certificate is deprecated; use {group}/v1 Certificate"}
    versions = [version("v1alpha2", False, False), version("v1beta1", True, False, **old), version("v1", True, True)]
    names = {"plural": "certificates", "singular": "certificate", "kind": "Certificate", "listKind": "CertificateList"}
    names_of = {**names, "categories": ["cert-manager"], "shortNames": ["cert", "certs"]}
    return _definition(group, names_of, versions, conversion={"strategy": "None"})
