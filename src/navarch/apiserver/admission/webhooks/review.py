"""AdmissionReview: what a webhook is asked, and what it answers.

Upstream counterpart: apiserver's pkg/admission/plugin/webhook/request/admissionreview.go, errors/statuserror.go.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from navarch.api.meta import v1 as meta_v1
from navarch.api.scalars import Object
from navarch.machinery import codec, errors, goform

GROUP = "admission.k8s.io"
_UID = b'"uid":""'
_MOST_CODE = 599


class Invalid(Exception):
    """An answer that is no answer; the message is upstream's."""


class Template(NamedTuple):
    """A review in two halves: the request's uid goes between them."""

    head: bytes
    tail: bytes

    def with_uid(self, uid: str) -> bytes:
        return b"".join((self.head, uid.encode(), self.tail))


def template(version: str, request: dict[str, Any], new: msgspec.Raw, old: msgspec.Raw) -> Template:
    """The review of a request, in a version of AdmissionReview."""
    held = {"uid": "", **request, "object": new, "oldObject": old}
    made = codec.encode({"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": held})
    at = made.index(_UID) + len(_UID) - 1
    return Template(made[:at], made[at:])


class AdmissionResponse(Object):
    uid: str | None = None
    allowed: bool | None = None
    status: meta_v1.Status | None = None
    patch: str | None = None
    patchType: str | None = None
    auditAnnotations: dict[str, str] | None = None
    warnings: list[str] | None = None


class AdmissionReview(Object):
    apiVersion: str | None = None
    kind: str | None = None
    response: AdmissionResponse | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What a webhook said. `patch`: the JSON patch as it came, empty for none."""

    allowed: bool
    result: meta_v1.Status | None = None
    patch: bytes = b""
    annotations: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def decoded(tree: dict[str, Any], version: str) -> AdmissionReview:
    """The review an answer brings. Invalid when it is none, or one of another version."""
    kind, api_version = tree.get("kind") or "", tree.get("apiVersion") or ""
    if kind and api_version and (kind, api_version) != ("AdmissionReview", f"{GROUP}/{version}"):
        other = api_version.rpartition("/")[2] if isinstance(api_version, str) else ""
        if kind == "AdmissionReview" and api_version in (f"{GROUP}/v1", f"{GROUP}/v1beta1"):
            raise Invalid(f"converting ({other}.AdmissionReview) to ({version}.AdmissionReview): unknown conversion")
        raise Invalid(f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:110"')
    try:
        return codec.decode(AdmissionReview, codec.encode(tree))
    except codec.DecodeError as error:
        raise Invalid(str(error)) from None


def checked(review: AdmissionReview, version: str, uid: str, *, mutating: bool) -> Response:
    """What a review says, if it may say that. Invalid."""
    response = review.response
    if response is None:
        raise Invalid("webhook response was absent")
    if version == "v1":
        _check(review, response, uid, mutating)
    annotations, warnings = response.auditAnnotations or {}, tuple(response.warnings or ())
    return Response(bool(response.allowed), response.status, _patch(response) if mutating else b"", annotations, warnings)


def _check(review: AdmissionReview, response: AdmissionResponse, uid: str, mutating: bool) -> None:
    """What v1 asks for, and v1beta1 did not."""
    if response.uid != uid:
        raise Invalid(f"expected response.uid={goform.quoted(uid)}, got {goform.quoted(response.uid or '')}")
    if (review.apiVersion, review.kind) != (f"{GROUP}/v1", "AdmissionReview"):
        got = f"{review.apiVersion or '/'}, Kind={review.kind or ''}"
        raise Invalid(f"expected webhook response of {GROUP}/v1, Kind=AdmissionReview, got {got}")
    patch, kind = response.patch, response.patchType
    if not mutating:
        if patch:
            raise Invalid("validating webhook may not return response.patch")
        if kind is not None:
            raise Invalid("validating webhook may not return response.patchType")
    elif patch and kind is None:
        raise Invalid("webhook returned response.patch but not response.patchType")
    elif not patch and kind is not None:
        raise Invalid("webhook returned response.patchType but not response.patch")
    elif kind == "":
        raise Invalid('webhook returned invalid response.patchType of ""')
    elif kind not in (None, "JSONPatch"):
        raise Invalid(f"unsupported patch type {goform.quoted(kind or '')}")


def _patch(response: AdmissionResponse) -> bytes:
    try:
        return base64.b64decode(response.patch or "", validate=True)
    except binascii.Error:
        raise Invalid("illegal base64 data") from None


def denial(webhook: str, result: meta_v1.Status | None) -> errors.ApiError:
    """The refusal a webhook answered with: its own Status, which says who refused."""
    status = result or meta_v1.Status()
    by = f"admission webhook {goform.quoted(webhook)} denied the request"
    if (status.code or 0) < 400:
        status.code = 400
    elif (status.code or 0) > _MOST_CODE:
        status.code = 500
    if status.status in (None, "", "Success"):
        status.status = "Failure"
    said = status.message or status.reason
    status.message = f"{by}: {said}" if said else f"{by} without explanation"
    status.apiVersion, status.kind = "v1", "Status"
    status.metadata = status.metadata or meta_v1.ListMeta()
    return errors.from_status(status)


def no_dry_run(webhook: str) -> errors.BadRequest:
    return errors.BadRequest(f"admission webhook {goform.quoted(webhook)} does not support dry run")
