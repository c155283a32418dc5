"""The chain: stages in their order, the first answer ends it, errors are answers, and the end is told backwards."""

from __future__ import annotations

from typing import Any, cast

import pytest

from navarch.apiserver import routes
from navarch.apiserver.answers import Answer, Document
from navarch.apiserver.call import Call
from navarch.apiserver.chain import Chain, Stage
from navarch.machinery import codec, errors


def call(method: str = "GET", target: str = "/x") -> Call:
    info, query = routes.parse(method, target)
    return Call(method, info, query, cast(Any, {}), cast(Any, None))


def noted(order: list[str], name: str, answer: Answer | None = None, *, waits: bool = False) -> Stage:
    def enter(_: Call) -> Any:
        order.append(name)
        return later() if waits else answer

    async def later() -> Answer | None:
        return answer

    return Stage(name, enter, lambda _, status: order.append(f"{name} {status}"))


@pytest.mark.parametrize("waits", [False, True])
async def test_the_first_answer_ends_it_and_all_are_told(waits: bool) -> None:
    order: list[str] = []
    answer = Document(b"b")
    chain = Chain([noted(order, "a", waits=waits), noted(order, "b", answer, waits=waits), noted(order, "c", Document(b"c"))])
    made = call()
    assert await chain.answer(made) is answer
    chain.done(made, 200)
    assert order == ["a", "b", "c 200", "b 200", "a 200"]


@pytest.mark.parametrize(
    ("error", "code"), [(errors.not_found("", "pods", "p"), 404), (errors.TooManyRequests("later", retry_after=3), 429), (KeyError("x"), 500)]
)
async def test_errors_are_answers(error: Exception, code: int) -> None:
    def enter(_: Call) -> None:
        raise error

    answer = await Chain([Stage("fails", enter)]).answer(call())
    assert isinstance(answer, Document) and answer.status == code and codec.tree(answer.body)["code"] == code
    assert (answer.headers or {}).get("Retry-After") == ("3" if code == 429 else None)
    assert b"KeyError" not in answer.body


async def test_nobody_is_answered_who_is_gone() -> None:
    def enter(_: Call) -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await Chain([Stage("gone", enter)]).answer(call())
