"""Expressions of policies against the types of what the policies match."""

from __future__ import annotations

from typing import Any

import pytest

from navarch.api import resources
from navarch.api.admissionregistration import v1 as admission_v1
from navarch.controllers.core import type_checking
from navarch.controllers.core.type_checking import Kind
from navarch.machinery import codec
from navarch.machinery.structural import builtin

DEPLOYMENTS = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}


def kinds(group: str, version: str, plural: str) -> list[str]:
    found = resources.table().get((group, version, plural))
    return [] if found is None else [found.kind]


def told(*rules: Any, **spec: Any) -> dict[str, str]:
    policy = codec.from_tree(admission_v1.ValidatingAdmissionPolicy, {"spec": {"matchConstraints": {"resourceRules": list(rules)}, **spec}})
    found = type_checking.check(policy, kinds, lambda kind: builtin.kind(*kind))
    return {warning.fieldRef or "": warning.warning or "" for warning in found}


def test_what_does_not_fit_is_told_with_its_kind() -> None:
    validation = {"expression": "object.spec.replicas > '1'", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"}
    found = told(DEPLOYMENTS, validations=[validation])
    assert list(found) == ["spec.validations[0].expression", "spec.validations[0].messageExpression"]
    one, other = found.values()
    assert one.startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'")
    assert "found no matching overload for '_+_' applied to '(string, int)'" in other


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas > 1",
        "object.spec.template.spec.containers.all(c, c.image != '' && c.ports.all(p, p.containerPort < 1024))",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '1'",
        "quantity(object.spec.template.spec.containers[0].resources.limits['cpu']).isLessThan(quantity('1'))",
        "object.metadata.labels['a'] == oldObject.metadata.labels['a'] && object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z')",
        "variables.all.exists(c, c == 'x') && params.data.x == 'y'",
        "request.operation == 'CREATE' && authorizer.group('').resource('pods').check('get').allowed()",
    ],
)
def test_what_fits(expression: str) -> None:
    variables = [{"name": "all", "expression": "object.spec.template.spec.containers.map(c, c.name)"}]
    params = {"apiVersion": "v1", "kind": "ConfigMap"}
    assert told(DEPLOYMENTS, validations=[{"expression": expression}], variables=variables, paramKind=params) == {}


def test_each_kind_is_told_of() -> None:
    rule = {**DEPLOYMENTS, "resources": ["deployments", "daemonsets", "deployments/scale"]}
    (found,) = told(rule, validations=[{"expression": "object.spec.replicas == 1"}]).values()
    assert found.startswith("apps/v1, Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'")
    assert "Deployment" not in found


def test_rules_that_name_no_resource_outright_are_let_be() -> None:
    assert told({**DEPLOYMENTS, "apiGroups": ["*"]}, {**DEPLOYMENTS, "resources": ["*"]}, validations=[{"expression": "object.nope"}]) == {}


def test_ten_kinds_are_looked_at() -> None:
    rules = [{**DEPLOYMENTS, "apiGroups": [r.group], "apiVersions": [r.version], "resources": [r.plural]} for r in resources.table().values()]
    policy = codec.from_tree(admission_v1.ValidatingAdmissionPolicySpec, {"matchConstraints": {"resourceRules": rules}})
    assert len(type_checking.matched(policy, kinds)) == type_checking.MOST_KINDS


def test_a_type_that_refers_to_itself_has_an_end() -> None:
    held = builtin.kind("apiextensions.k8s.io", "v1", "CustomResourceDefinition")
    assert held is not None
    assert builtin.kind("x.io", "v1", "Nothing") is None
    assert str(Kind("", "v1", "Pod")) == "/v1, Kind=Pod"
