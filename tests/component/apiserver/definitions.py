"""CustomResourceDefinitions as tests make them."""

from __future__ import annotations

from typing import Any

from navarch.testing import waiting

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-validations": [
                {"rule": "self.replicas <= 10", "message": "too many"},
                {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "message": "color is kept", "fieldPath": ".color"},
            ],
            "properties": {
                "replicas": {"type": "integer", "default": 1, "minimum": 0},
                "color": {"type": "string", "enum": ["red", "blue"]},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}},
                },
                "template": {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}


def version(name: str = "v1", schema: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema or WIDGET}, **more}


def definition(group: str, *versions: dict[str, Any], kind: str = "Widget", scope: str = "Namespaced", **spec: Any) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    names = {"plural": plural, "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": list(versions) or [version()], **spec},
    }


def condition(tree: dict[str, Any], kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty for none."""
    held = tree.get("status", {}).get("conditions", ())
    return next(((c["status"], c["reason"]) for c in held if c["type"] == kind), ("", ""))


async def define(http: Any, tree: dict[str, Any]) -> None:
    """Creates a definition, and waits until it is established."""
    made = await http("POST", DEFINITIONS, tree)
    assert made.status == 201, made.body
    name = tree["metadata"]["name"]

    async def established() -> bool:
        return condition((await http("GET", f"{DEFINITIONS}/{name}")).json, "Established")[0] == "True"

    await waiting.until(established, 5, f"{name} to be established")


async def redefine(http: Any, name: str, change: Any) -> None:
    """Changes a definition by a JSON patch of its spec."""
    changed = await http("PATCH", f"{DEFINITIONS}/{name}", change, media="application/json-patch+json")
    assert changed.status == 200, changed.body
