"""Impersonation: a request that asks to be taken for somebody else's.

Each thing that is claimed (user or service account, groups, uid, extras) is a permission of its own that the real user needs.

Upstream counterpart: apiserver's endpoints/filters/impersonation, in its `impersonate` mode.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from navarch.apiserver.authn import certificates
from navarch.apiserver.authn.users import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question, refusal
from navarch.apiserver.call import Call, Headers
from navarch.machinery import errors, names

_PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_GROUP = "authentication.k8s.io"


def impersonate(authorizer: Authorizer, call: Call) -> None:
    """Lets a call go on as whom its headers claim. Forbidden when the real user may not be taken for them."""
    if (claimed := wanted(call.headers)) is not None:
        call.impersonator, call.user = call.user, become(authorizer, call.user, claimed)


def wanted(headers: Headers) -> User | None:
    """Whom the headers claim, as they claim it; None when they claim nobody. BadRequest when they claim more but no user."""
    for header in headers:
        if header[0] in "Ii" and header[:12].lower() == _PREFIX:
            break
    else:
        return None
    name, uid = headers.get("Impersonate-User", ""), headers.get("Impersonate-Uid", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    extra = certificates.extra_of(headers, _EXTRA)
    if name:
        return User(name, groups, uid, extra)
    if uid or groups or extra:
        raise errors.BadRequest(f"requested {_shown(uid, groups, extra)} without impersonating a user name")
    return None


def _shown(uid: str, groups: tuple[str, ...], extra: Mapping[str, tuple[str, ...]]) -> str:
    """A user as Go's %#v shows it."""
    listed = ", ".join(map(json.dumps, groups))
    held = ", ".join(f"{json.dumps(k)}:[]string{{{', '.join(map(json.dumps, v))}}}" for k, v in extra.items())
    shown_groups = f"[]string{{{listed}}}" if groups else "[]string(nil)"
    shown_extra = f"map[string][]string{{{held}}}" if extra else "map[string][]string(nil)"
    return f'&user.DefaultInfo{{Name:"", UID:{json.dumps(uid)}, Groups:{shown_groups}, Extra:{shown_extra}}}'


def become(authorizer: Authorizer, user: User, claimed: User) -> User:
    """The user that a request goes on as. Forbidden when the real one may not be taken for them."""
    groups = claimed.groups
    account = _account(claimed.name)
    if account is not None:
        _may(authorizer, user, Question("impersonate", "", "serviceaccounts", "", *account))
        groups = groups or ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    else:
        _may(authorizer, user, Question("impersonate", "", "users", name=claimed.name))
    if claimed.uid:
        _may(authorizer, user, Question("impersonate", _GROUP, "uids", name=claimed.uid))
    for group in claimed.groups:
        _may(authorizer, user, Question("impersonate", "", "groups", name=group))
    for key, values in claimed.extra.items():
        for value in values:
            _may(authorizer, user, Question("impersonate", _GROUP, "userextras", key, name=value))
    if claimed.name == ANONYMOUS.name:
        implied = UNAUTHENTICATED
    else:
        implied = AUTHENTICATED if UNAUTHENTICATED not in groups else ""
    if implied and implied not in groups:
        groups = (*groups, implied)
    return User(claimed.name, groups, claimed.uid, claimed.extra)


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account's user name."""
    if not name.startswith(_ACCOUNT):
        return None
    parts = name.removeprefix(_ACCOUNT).split(":")
    if len(parts) != 2 or names.dns_label(parts[0]) or names.dns_subdomain(parts[1]):
        return None
    return parts[0], parts[1]


def _may(authorizer: Authorizer, user: User, question: Question) -> None:
    verdict = authorizer.decide(user, question)
    if not verdict.allowed:
        raise errors.forbidden(question.group, question.resource, question.name, refusal(user, question, verdict.reason))
