"""The errors of the API: one class per reason, each of which is a `Status` on the wire.

    ApiError
    ├── BadRequest 400            ├── Conflict 409              ├── TooManyRequests 429
    ├── Unauthorized 401          ├── AlreadyExists 409         ├── InternalError 500
    ├── Forbidden 403             ├── Gone 410                  ├── ServerTimeout 500
    ├── NotFound 404              ├── Expired 410               ├── ServiceUnavailable 503
    ├── MethodNotAllowed 405      ├── RequestEntityTooLarge 413 ├── Timeout 504
    ├── NotAcceptable 406         ├── UnsupportedMediaType 415  └── Unknown (any other code)
    └── Invalid 422

The server raises them and writes `error.status`; the client reads a Status and raises the same class again. The words are
upstream's, since clients and tests read them (k8s.io/apimachinery/pkg/api/errors).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import ClassVar

from navarch.api.meta import v1 as meta_v1


class ApiError(Exception):
    """A request that failed; `status` is what the client reads."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        *,
        group: str = "",
        kind: str = "",
        name: str = "",
        uid: str = "",
        causes: Iterable[meta_v1.StatusCause] = (),
        retry_after: int = 0,
        code: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        causes = list(causes)
        details = None
        if group or kind or name or uid or causes or retry_after:
            details = meta_v1.StatusDetails(
                group=group or None,
                kind=kind or None,
                name=name or None,
                uid=uid or None,
                causes=causes or None,
                retryAfterSeconds=retry_after or None,
            )
        self.status = meta_v1.Status(
            apiVersion="v1",
            kind="Status",
            metadata=meta_v1.ListMeta(),
            status="Failure",
            message=message,
            reason=self.reason or None,
            details=details,
            code=code or self.code,
        )

    @property
    def retry_after(self) -> int:
        """Seconds the server asks the client to wait, 0 when it does not."""
        details = self.status.details
        return (details.retryAfterSeconds or 0) if details else 0


class BadRequest(ApiError):
    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    code, reason = 405, "MethodNotAllowed"


class NotAcceptable(ApiError):
    code, reason = 406, "NotAcceptable"


class Conflict(ApiError):
    code, reason = 409, "Conflict"


class AlreadyExists(ApiError):
    code, reason = 409, "AlreadyExists"


class Gone(ApiError):
    code, reason = 410, "Gone"


class Expired(ApiError):
    code, reason = 410, "Expired"


class RequestEntityTooLarge(ApiError):
    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    code, reason = 500, "InternalError"


class ServerTimeout(ApiError):
    code, reason = 500, "ServerTimeout"


class ServiceUnavailable(ApiError):
    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    code, reason = 504, "Timeout"


class Unknown(ApiError):
    """A failure whose reason is none of the above: `status.code` says which code it had."""

    code, reason = 500, "Unknown"


_CLASSES: dict[str, type[ApiError]] = {
    c.reason: c
    for c in (
        BadRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, NotAcceptable, Conflict, AlreadyExists, Gone, Expired,
        RequestEntityTooLarge, UnsupportedMediaType, Invalid, TooManyRequests, InternalError, ServerTimeout, ServiceUnavailable, Timeout,
    )
}  # fmt: skip


def from_status(status: meta_v1.Status) -> ApiError:
    """The error a Status stands for, with that Status kept whole."""
    kind = _CLASSES.get(status.reason or "")
    if kind is None:
        kind = next((c for c in _CLASSES.values() if c.code == status.code and not status.reason), Unknown)
    error = kind(status.message or status.reason or "unknown error")
    error.status = status
    return error


def qualified(group: str, resource: str) -> str:
    """Upstream's name of a resource or kind in messages: "pods", "deployments.apps"."""
    return f"{resource}.{group}" if group else resource


def not_found(group: str, resource: str, name: str) -> NotFound:
    return NotFound(f'{qualified(group, resource)} "{name}" not found', group=group, kind=resource, name=name)


def already_exists(group: str, resource: str, name: str) -> AlreadyExists:
    return AlreadyExists(f'{qualified(group, resource)} "{name}" already exists', group=group, kind=resource, name=name)


def conflict(group: str, resource: str, name: str, why: str) -> Conflict:
    message = f'Operation cannot be fulfilled on {qualified(group, resource)} "{name}": {why}'
    return Conflict(message, group=group, kind=resource, name=name)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def forbidden(group: str, resource: str, name: str, why: str) -> Forbidden:
    full = qualified(group, resource)
    if not full:
        message = f"forbidden: {why}"
    elif not name:
        message = f"{full} is forbidden: {why}"
    else:
        message = f'{full} "{name}" is forbidden: {why}'
    return Forbidden(message, group=group, kind=resource, name=name)


def internal(why: str) -> InternalError:
    return InternalError(f"Internal error occurred: {why}", causes=[meta_v1.StatusCause(message=why)])


def answered(code: int, resource: str, name: str, text: str) -> ApiError:
    """What a server behind ours answered in plain words, as a Status: `text` is the body of its answer with this code."""
    if code == 500:
        return internal(text)
    if code == 400:
        return BadRequest(text)
    kind = next((c for c in _CLASSES.values() if c.code == code), InternalError if code > 500 else Unknown)
    words = _ANSWERED.get(code, f"the server responded with the status code {code} but did not return more information")
    if code in (403, 415) or (code == 406 and text not in ("", "unknown")):
        words = text
    elif code > 500 and code not in _ANSWERED:
        words = f"an error on the server ({json.dumps(text)}) has prevented the request from succeeding"
    # The blank is where upstream has a verb, if it knows one.
    return kind(f"{words} ( {resource} {name})", kind=resource, name=name, code=code)


_ANSWERED = {
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def method_not_supported(group: str, resource: str, action: str) -> MethodNotAllowed:
    full = qualified(group, resource)
    return MethodNotAllowed(f'{action} is not supported on resources of kind "{full}"', group=group, kind=resource)
