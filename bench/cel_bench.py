"""Figures of custom resources: structural schemas and CEL. `python -m bench.cel_bench`

Prints microseconds, the best of several rounds: the machine may do other things.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import msgspec

from navarch.machinery.cel import expressions, libraries, rules, types
from navarch.machinery.structural import check, coerce, default, definition, lists, prune, schema, validate
from navarch.machinery.structural.ratcheting import Correlated

STRING = {"type": "string", "maxLength": 253}
NAME = {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}
DURATION = {"type": "string", "pattern": "^([0-9]+(ns|us|ms|s|m|h))+$", "default": "30s"}
CONDITION = {
    "type": "object",
    "required": ["type", "status"],
    "properties": {
        "type": NAME | {"pattern": "^[A-Za-z]+$"},
        "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": STRING,
        "message": {"type": "string", "maxLength": 32768},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
        "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
    },
}
ENDPOINT = {
    "type": "object",
    "required": ["port"],
    "properties": {
        "port": {"x-kubernetes-int-or-string": True},
        "path": STRING | {"default": "/"},
        "scheme": {"type": "string", "enum": ["http", "https"], "default": "http"},
        "interval": DURATION,
        "timeout": DURATION,
        "weight": {"type": "integer", "minimum": 0, "maximum": 1000000, "default": 1},
        "headers": {"type": "object", "additionalProperties": STRING, "maxProperties": 32},
        "insecure": {"type": "boolean"},
    },
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["selector", "endpoints"],
            "properties": {
                "replicas": {"type": "integer", "minimum": 0, "maximum": 100, "default": 1},
                "paused": {"type": "boolean", "default": False},
                "mode": {"type": "string", "enum": ["Active", "Passive"], "default": "Active"},
                "selector": {"type": "object", "additionalProperties": NAME, "maxProperties": 64},
                "endpoints": {
                    "type": "array",
                    "maxItems": 64,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port"],
                    "items": ENDPOINT,
                },
                "namespaces": {"type": "array", "items": NAME, "x-kubernetes-list-type": "set", "maxItems": 64},
                "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {
            "type": "object",
            "properties": {
                "observedGeneration": {"type": "integer"},
                "conditions": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["type"],
                    "items": CONDITION,
                },
            },
        },
    },
}


def custom_object() -> dict[str, Any]:
    """A custom resource of 3 KB."""
    return {
        "apiVersion": "example.com/v1",
        "kind": "Monitor",
        "metadata": {"name": "front", "namespace": "shop", "labels": {"app": "front"}, "generation": 3},
        "spec": {
            "selector": {"app": "front", "tier": "web"},
            "namespaces": ["shop", "shop-canary", "shop-test"],
            "endpoints": [
                {
                    "port": 8000 + i,
                    "path": f"/metrics/{i}",
                    "interval": "15s",
                    "headers": {"x-team": "front", "x-purpose": "a header that says something"},
                    "insecure": bool(i % 2),
                }
                for i in range(10)
            ],
            "template": {"spec": {"containers": [{"name": "c", "image": "registry/thing:1", "args": ["--a", "--b"]}]}},
        },
        "status": {
            "observedGeneration": 3,
            "conditions": [
                {
                    "type": kind,
                    "status": "True",
                    "reason": "AsExpected",
                    "message": "everything is as it should be here",
                    "lastTransitionTime": "2026-11-26T05:45:05Z",
                    "observedGeneration": 3,
                }
                for kind in ("Available", "Progressing", "Degraded", "Upgradeable", "Ready", "Synced")
            ],
        },
    }


def best(run: Callable[[], Any], times: int = 300, rounds: int = 15) -> float:
    """Microseconds of CPU of one run."""
    found = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(times):
            run()
        found = min(found, (time.thread_time() - start) / times)
    return found * 1e6


def show(what: str, microseconds: float) -> None:
    print(f"{what:<58}{microseconds:>10.1f} µs")


def structural_figures() -> None:
    tree = schema.parse(SCHEMA)
    valid = check.compiled(tree)
    obj = custom_object()
    default.default(obj, tree)
    assert valid(obj) and not prune.prune(obj, tree), validate.problems(obj, tree)
    print(f"structural schema; an object of {len(msgspec.json.encode(obj))} bytes")

    def write() -> None:
        default.default(obj, tree)
        prune.prune(obj, tree, nulls=True)
        coerce.coerce(obj, tree)
        lists.problems(obj, tree)
        assert valid(obj)

    wrong = copy.deepcopy(obj)
    wrong["spec"]["replicas"] = "three"
    show("  default", best(lambda: default.default(obj, tree)))
    show("  prune", best(lambda: prune.prune(obj, tree, nulls=True)))
    show("  lists", best(lambda: lists.problems(obj, tree)))
    show("  valid?", best(lambda: valid(obj)))
    show("  all of a write", best(write))
    show("  what is wrong with it (one thing)", best(lambda: validate.problems(wrong, tree), 50))
    show("  schema parsed", best(lambda: schema.parse(SCHEMA), 50))
    show("  schema parsed and compiled", best(lambda: check.compiled(schema.parse(SCHEMA)), 50))
    show("  schema checked", best(lambda: definition.problems(SCHEMA, "p", lambda metadata, path: []), 50))


EXPRESSIONS = [
    "object.spec.replicas <= 5",
    "object.metadata.name.startsWith('x') && object.spec.mode in ['Active', 'Passive']",
    "object.spec.endpoints.all(e, e.port > 0 && e.path.startsWith('/'))",
    "object.spec.endpoints.exists(e, e.path.matches('^/metrics/9$'))",
    "!has(object.spec.paused) || !object.spec.paused",
    "quantity('500m').isLessThan(quantity('1'))",
]
RULES = {
    "replicas": [{"rule": "self >= oldSelf || self == 0", "message": "may not shrink"}],
    "endpoints": [{"rule": "self.all(e, e.port != 22)"}, {"rule": "self.exists(e, e.scheme == 'http')"}],
    "mode": [{"rule": "self == oldSelf"}],
}


def ruled() -> dict[str, Any]:
    """The schema with four rules and one over the whole."""
    made = copy.deepcopy(SCHEMA)
    spec = made["properties"]["spec"]
    spec["x-kubernetes-validations"] = [{"rule": "!self.paused || self.replicas > 0", "messageExpression": "'paused, and wants ' + self.mode"}]
    for name, held in RULES.items():
        spec["properties"][name]["x-kubernetes-validations"] = held
    return made


def expression_figures() -> None:
    environment = libraries.BASE.extended({"object": types.DYN, "oldObject": types.DYN})
    given = {"object": custom_object()}
    default.default(given["object"], schema.parse(SCHEMA))
    print("expressions, over the same object, its types not known")
    for text in EXPRESSIONS:
        made = expressions.compile(text, environment)
        show(f"  evaluate {text[:46]}", best(lambda made=made: made.evaluate(given)))  # type: ignore[misc]
    show("  compile the third, with its cost", best(lambda: expressions.compile(EXPRESSIONS[2], environment), 20))


def rule_figures() -> None:
    tree = schema.parse(ruled())
    validator = rules.Validator(tree)
    new, old = custom_object(), custom_object()
    for obj in (new, old):
        default.default(obj, tree)
    new["spec"]["replicas"] += 1
    assert not validator.validate(new, old).problems
    print("rules: five of x-kubernetes-validations, two of them loops over ten endpoints")
    show("  an update, held to them", best(lambda: validator.validate(new, old), 100))
    show("  the same, with what did not change known", best(lambda: validator.validate(new, old, pair=Correlated(new, old, tree)), 100))

    def checked() -> None:
        assert not definition.problems(ruled(), "p", lambda metadata, path: [], rules=rules.DefinitionRules())

    show("  the definition checked, rules compiled and costed", best(checked, 10))


if __name__ == "__main__":
    structural_figures()
    expression_figures()
    rule_figures()
