"""The front: a request becomes a call, the chain answers it, and the answer is written.

What goes wrong before the answer's first byte becomes an answer itself. Afterwards it would stand inside the body: the connection is cut,
which tells that the answer is not whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol, cast

from aiohttp import web

from navarch.apiserver import answers, routes
from navarch.apiserver.answers import Answer, Document, Forward, Later, LogSocket, Pieces, Stream, Tunnel
from navarch.apiserver.call import Call
from navarch.apiserver.http import log_socket, responses, tunnel
from navarch.apiserver.http.forwarding import Sessions
from navarch.apiserver.http.request import Request
from navarch.apiserver.streams import PIECE
from navarch.machinery import errors

_log = logging.getLogger(__name__)


class Chain(Protocol):
    """What answers calls."""

    async def answer(self, call: Call) -> Answer:
        """The answer; what goes wrong is one, too."""

    def done(self, call: Call, status: int) -> None:
        """Told when an answer was written, or (0) could not be."""


class Front:
    """The handler of all requests."""

    def __init__(self, chain: Chain, sessions: Sessions) -> None:
        self._chain = chain
        self._sessions = sessions

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request, from bytes to answer."""
        assert isinstance(request, Request)
        info, query = routes.parse(request.method, request.target)
        call = Call(request.method, info, query, request.headers, request, time.perf_counter())
        status = 0
        try:
            answer = await self._chain.answer(call)
            if type(answer) is Document and len(answer.body) <= PIECE:
                made = responses.at_once(request, call, answer)
                status = answer.status
                if request.protocol._paused:
                    await self._taken(request)
            else:
                made, status = await self._write(request, call, answer)
        finally:
            self._chain.done(call, status)
        return made

    async def _taken(self, request: Request) -> None:
        """Waits until a client that lags has taken most of its answer."""
        try:
            async with asyncio.timeout(responses.WRITE_SECONDS):
                await responses.flushed(request)
        except TimeoutError:
            _abort(request)
            raise ConnectionResetError("the client did not take the answer in time") from None

    async def _write(self, request: Request, call: Call, answer: Answer) -> tuple[web.StreamResponse, int]:
        """Writes an answer that takes a while, or is somebody else's. The response, and its status."""
        try:
            return await self._written(request, call, answer)
        except (asyncio.CancelledError, ConnectionResetError):
            raise  # the client is gone: there is nobody to answer
        except TimeoutError:
            _abort(request)
            raise ConnectionResetError("the client did not take the answer in time") from None
        except Exception as error:
            if request.begun or request.writer.output_size:
                _log.exception("%s %s", request.method, request.path[:1000])
                _abort(request)
                raise ConnectionResetError("the answer failed after it had begun") from error
            if not isinstance(error, errors.ApiError):
                _log.exception("%s %s", request.method, request.path[:1000])
                error = answers.panicked()
            failed = answers.failure(error)
            return await responses.document(request, call, failed), failed.status

    async def _written(self, request: Request, call: Call, answer: Answer) -> tuple[web.StreamResponse, int]:
        match answer:
            case Document():
                return await responses.document(request, call, answer), answer.status
            case Later():
                made = Document(await answer.make(), answer.status, answer.media)
                return await responses.document(request, call, made), made.status
            case Pieces():
                return await responses.pieces(request, call, answer), 200
            case Stream():
                return await responses.stream(request, call, answer), 200
            case Forward():
                response = await self._sessions.forward(request, answer)
                return response, response.status
            case Tunnel():
                refused = await tunnel.tunnel(request, answer)
                if refused is None:
                    return cast(web.StreamResponse, responses.CLOSED), 101
                return await responses.document(request, call, refused), refused.status
            case LogSocket():
                return await log_socket.handle(request, self._sessions, answer), 101


def _abort(request: Request) -> None:
    if request.transport is not None:
        request.transport.abort()
