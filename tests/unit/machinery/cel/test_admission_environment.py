"""What expressions of admission may speak of."""

from __future__ import annotations

import pytest

from navarch.lib.patience import Impatient
from navarch.machinery.cel import admission
from navarch.machinery.cel.admission import Compiler
from navarch.machinery.cel.expressions import LOOP_COST, Expression
from navarch.machinery.cel.functions import authorization
from navarch.machinery.cel.functions.authorization import Decision, Question

ASKED: list[Question] = []


def ask(question: Question) -> Decision:
    ASKED.append(question)
    return Decision(question.verb == "get")


VARIABLES = {
    "object": {"metadata": {"name": "x"}},
    "oldObject": None,
    "namespaceObject": None,
    "request": {"operation": "CREATE", "userInfo": {"username": "system:a", "groups": ["g"]}, "dryRun": False},
    "authorizer": authorization.authorizer(ask),
    "authorizer.requestResource": authorization.request_resource(ask, "", "pods", "exec", "n", "x"),
}


def expression(text: str) -> Expression:
    made = Compiler(params=False, composed=False).condition(text).expression
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("object.metadata.name == 'x'", True),
        ("oldObject == null && namespaceObject == null", True),
        ("'g' in request.userInfo.groups && !has(request.subResource)", True),
        ("authorizer.group('apps').resource('deployments').check('get').allowed()", True),
        ("authorizer.requestResource.check('get').allowed()", True),
        ("authorizer.requestResource.check('delete').allowed()", False),
    ],
)
def test_conditions(text: str, value: bool) -> None:
    assert expression(text).evaluate(VARIABLES)[0] is value


def test_a_variable_whose_name_has_a_dot_is_told_by_its_whole_name() -> None:
    compiled = expression("authorizer.requestResource.check('get').allowed()")
    assert compiled.names == {admission.REQUEST_RESOURCE}
    ASKED.clear()
    compiled.evaluate(VARIABLES)
    assert [Question("get", group="", resource="pods", subresource="exec", namespace="n", name="x")] == ASKED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1", "must evaluate to bool but got int"),
        ("request.nope", "compilation failed: ERROR: <input>:1:8: undefined field 'nope'\n | request.nope\n | .......^"),
        ("params.x", "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x\n | ^"),
    ],
)
def test_what_is_no_condition(text: str, why: str) -> None:
    assert Compiler(params=False, composed=False).condition(text).error == why


def test_the_patience_is_for_all_expressions_of_a_list() -> None:
    """Each of them alone would be done in time; what is asked of the authorizer takes none."""
    compiler = Compiler(params=False, composed=False)
    slow = compiler.condition("object.all(a, object.all(b, a + b >= 0))")
    asking = compiler.condition("authorizer.requestResource.check('get').allowed()")
    inputs = admission.Inputs({}, object=list(range(40)), **{admission.REQUEST_RESOURCE: VARIABLES[admission.REQUEST_RESOURCE]})
    one = admission.Evaluation(inputs, {}, 10_000_000, LOOP_COST)
    assert one.one(slow).value is True
    with pytest.raises(Impatient):
        admission.Evaluation(inputs, {}, 10_000_000, LOOP_COST).all([slow] * 20)
    assert [r.value for r in admission.Evaluation(inputs, {}, 10_000_000, LOOP_COST).all([asking, asking, slow])] == [True] * 3
