"""What the answer of an extension means: what it should have brought, or why it did not, in the words of upstream's client.

A failure that is told as a Status is that failure. Any other has words of its own for its code, and the text of the answer where that is text.

Upstream counterpart: client-go's rest.Request (transformResponse) and rest.Result.
"""

from __future__ import annotations

from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.extensions.clients import Answer
from navarch.machinery import codec, errors, goform

_MOST_TEXT = 2048
"""Bytes of an answer that a message shows."""
_WORDS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
_CLASSES: dict[int, type[errors.ApiError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.MethodNotAllowed,
    406: errors.NotAcceptable,
    409: errors.AlreadyExists,
    415: errors.UnsupportedMediaType,
    422: errors.Invalid,
    429: errors.TooManyRequests,
    503: errors.ServiceUnavailable,
    504: errors.Timeout,
}


class Undecodable(Exception):
    """An answer that is not what it should be; the message is upstream's."""


def tree_of(answer: Answer) -> dict[str, Any]:
    """The object an answer brings. ApiError when it tells of a failure, Undecodable when it is no object."""
    if not 200 <= answer.status <= 206:
        raise failure(answer)
    if not answer.body:
        kind = answer.headers.get("content-type", "")
        raise Undecodable(f"0-length response with status code: {answer.status} and content type: {kind}")
    try:
        tree = codec.tree(codec.well_formed(answer.body))
    except (codec.DecodeError, ValueError, RecursionError) as error:
        why = "exceeded max depth" if isinstance(error, RecursionError) else str(error)
        raise Undecodable(f"couldn't get version/kind; json parse error: {why}") from None
    if not isinstance(tree, dict):
        raise Undecodable(f"couldn't get version/kind; json parse error: json: cannot unmarshal {_kind(tree)} into Go value of type runtime.TypeMeta")
    status = _status(tree)
    if status is not None and status.status != "Success":
        raise errors.from_status(status)
    return tree


def failure(answer: Answer) -> errors.ApiError:
    """Why a call failed, from an answer that is none of success."""
    try:
        tree = codec.tree(codec.well_formed(answer.body)) if answer.body else None
    except (codec.DecodeError, ValueError, RecursionError):
        tree = None
    status = _status(tree)
    if status is not None and status.status != "Success":
        return errors.from_status(status)
    text = _text(answer)
    code = answer.status
    kind = _CLASSES.get(code, errors.InternalError if code >= 500 else errors.Unknown)
    cause = meta_v1.StatusCause(reason="UnexpectedServerResponse", message=text)
    return kind(_words(code, text), causes=[cause], code=code)


def _words(code: int, text: str) -> str:
    if code in (403, 415):
        return text
    if code == 406:
        return text if text != "unknown" else "the server was unable to respond with a content type that the client supports"
    if code in _WORDS:
        return _WORDS[code]
    if code >= 500:
        return f"an error on the server ({goform.quoted(text)}) has prevented the request from succeeding"
    return f"the server responded with the status code {code} but did not return more information"


def _text(answer: Answer) -> str:
    """The words of an answer that is text, "unknown" for any other."""
    kind = answer.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind and not kind.startswith("text/"):
        return "unknown"
    try:
        said = answer.body[:_MOST_TEXT].decode()
    except UnicodeDecodeError:
        return "unknown"
    return said.strip() or "unknown"


def _status(tree: Any) -> meta_v1.Status | None:
    if not isinstance(tree, dict) or (tree.get("apiVersion"), tree.get("kind")) != ("v1", "Status"):
        return None
    try:
        return codec.decode(meta_v1.Status, codec.encode(tree))
    except codec.DecodeError:
        return None


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number" if value is not None else "null"
