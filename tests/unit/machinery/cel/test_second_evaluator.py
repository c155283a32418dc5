"""Expressions made at random, evaluated here and by Google's C++ implementation: both give the same value, or both none.

Numbers are compared across types only here (C++ refuses at checking), so expressions are made typed.
"""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from navarch.machinery.cel import expressions, libraries, types
from navarch.machinery.cel.values import EvaluationError

cel = pytest.importorskip("cel_expr_python.cel")
DATA: dict[str, Any] = {"i": 7, "s": "häuser", "b": True, "d": 2.5, "l": [3, 1, 2], "m": {"a": 1, "b": 2}}
HERE = libraries.BASE.extended(
    {
        "i": types.INT,
        "s": types.STRING,
        "b": types.BOOL,
        "d": types.DOUBLE,
        "l": types.read("list(int)"),
        "m": types.read("map(string, int)"),
    }
)
THERE = cel.NewEnv(
    variables={
        "i": cel.Type.INT,
        "s": cel.Type.STRING,
        "b": cel.Type.BOOL,
        "d": cel.Type.DOUBLE,
        "l": cel.Type.List(cel.Type.INT),
        "m": cel.Type.Map(cel.Type.STRING, cel.Type.INT),
    }
)


def form(text: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda given: text.format(*given))


def grown(depth: int) -> dict[str, st.SearchStrategy[str]]:
    """Expressions of each type."""
    simple = {
        "int": st.sampled_from(["i", "0", "1", "-3", "9223372036854775807"]),
        "string": st.sampled_from(["s", "''", "'a'", "'äb'", "'x.y'", r"'\u00fc\n'"]),
        "bool": st.sampled_from(["b", "true", "false"]),
        "double": st.sampled_from(["d", "0.0", "-1.5", "1e10"]),
        "list": st.sampled_from(["l", "[1, 2, 3]", "[4]"]),
        "map": st.sampled_from(["m", "{'a': 3}", "{'x': 1, 'y': 2}"]),
    }
    if depth == 0:
        return simple
    one = grown(depth - 1)
    n, s, b, d, items, m = (one[name] for name in ("int", "string", "bool", "double", "list", "map"))
    operator, compared = st.sampled_from("+-*/%"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return {
        "int": st.one_of(
            simple["int"],
            form("({} {} {})", n, operator, n),
            form("size({})", st.one_of(s, items, m)),
            form("{}[{}]", items, n),
            form("{}[{}]", m, s),
            form("({} ? {} : {})", b, n, n),
            form("-({})", n),
            form("int({})", d),
            form("{}.a", m),
        ),
        "string": st.one_of(simple["string"], form("({} + {})", s, s), form("string({})", st.one_of(n, b)), form("({} ? {} : {})", b, s, s)),
        "bool": st.one_of(
            simple["bool"],
            form("({} {} {})", n, compared, n),
            form("({} {} {})", s, compared, s),
            form("({} {} {})", d, compared, d),
            form("({} == {})", items, items),
            form("({} != {})", m, m),
            form("({} && {})", b, b),
            form("({} || {})", b, b),
            form("!{}", b),
            form("{}.{}({})", s, st.sampled_from(["startsWith", "endsWith", "contains"]), s),
            form("({} in {})", n, items),
            form("({} in {})", s, m),
            form("has({}.a)", m),
            form("{}.{}(x, x {} {})", items, st.sampled_from(["all", "exists", "exists_one"]), compared, n),
            form("{}.{}(k, k {} {})", m, st.sampled_from(["all", "exists"]), compared, s),
            form("{}.matches('^[a-zä]+.?$')", s),
        ),
        "double": st.one_of(simple["double"], form("({} {} {})", d, st.sampled_from("+-*/"), d), form("double({})", n)),
        "list": st.one_of(
            simple["list"],
            form("[{}, {}]", n, n),
            form("({} + {})", items, items),
            form("{}.map(x, x {} {})", items, operator, n),
            form("{}.filter(x, x {} {})", items, compared, n),
            form("{}.map(x, x > {}, x)", items, n),
        ),
        "map": st.one_of(simple["map"], form("{{{}: {}}}", s, n)),
    }


WRITTEN = grown(3)
ANY = st.one_of(*(WRITTEN[name] for name in ("int", "string", "bool", "double", "list")))


def here(text: str) -> Any:
    try:
        return expressions.compile(text, HERE).evaluate(DATA)[0]
    except EvaluationError as error:
        hypothesis.assume("NaN" not in str(error))  # for C++ they compare, as false
        return EvaluationError
    except expressions.CompileError as error:
        assert "program instantiation failed" in str(error)
        hypothesis.assume(False)  # conversions of literals are made before: C++ makes them when it needs them
        raise


def there(text: str) -> Any:
    result = THERE.compile(text).eval(data=DATA)
    kind = str(result.type()).upper()
    if "ERROR" in kind:
        return EvaluationError
    return result.plain_value()


@hypothesis.settings(max_examples=300, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(ANY)
def test_both_give_the_same(text: str) -> None:
    mine, other = here(text), there(text)
    assert mine == other or (mine != mine and other != other), text
