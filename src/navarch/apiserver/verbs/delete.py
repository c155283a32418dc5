"""DELETE of one object or of a collection: gracefully, by finalizers, or at once.

Upstream counterparts: endpoints/handlers/delete.go and registry/generic/registry/store.go (DeleteCollection).
"""

from __future__ import annotations

import copy
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, documents, writing
from navarch.apiserver.answers import Answer
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.call import Call
from navarch.apiserver.served import Served
from navarch.apiserver.storage import Storage
from navarch.apiserver.streams import Turns
from navarch.apiserver.verbs import get as getting
from navarch.apiserver.verbs import list as listing
from navarch.apiserver.verbs.write import Writer, author_of
from navarch.apiserver.watch_cache import Entry
from navarch.lib import integers
from navarch.machinery import codec, errors, field

_UNSAFE = "unsafe-delete-ignore-read-errors"
_IGNORE = "ignoreStoreReadErrorWithClusterBreakingPotential"


async def handle(writer: Writer, authorizer: Authorizer, call: Call, served: Served) -> Answer:
    options = await options_of(call)
    info = call.info
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        return await _delete_damaged(writer, authorizer, call, served)
    getting.entry_of(served, info.name, info.namespace)
    done = await writer.delete(author_of(call), served, info.name, info.namespace, options)
    if done.gone and not served.strategy.returns_deleted:
        return answers.of_object(call, _success(served, done.entry))
    return answers.of_json(call, served.outward(done.body))


async def _delete_damaged(writer: Writer, authorizer: Authorizer, call: Call, served: Served) -> Answer:
    """Removes an object that cannot be read: without finalizers, preconditions and admission, which would have to read it.

    Upstream counterpart: registry/generic/registry/corrupt_obj_deleter.go.
    """
    info = call.info
    question = Question(_UNSAFE, served.group, served.plural, "", info.namespace, info.name, version=served.resource.version)
    verdict = authorizer.decide(call.user, question)
    if not verdict.allowed:
        why = f'not permitted to do "{_UNSAFE}", reason: {verdict.reason}'
        raise errors.forbidden(served.group, served.plural, info.name, why)
    if served.key(info.name, info.namespace) not in served.cache.damaged:
        why = "is exclusively used to delete corrupt object(s), try again by removing this option"
        raise field.invalid_error(served.group, served.plural, info.name, [field.invalid(_IGNORE, True, why)])
    await writer.delete_damaged(served, info.name, info.namespace)
    return answers.of_object(call, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})


async def collection(writer: Writer, storage: Storage, turns: Turns, call: Call, served: Served) -> Answer:
    """Deletes everything a query selects, and answers with the list of it."""
    options = await options_of(call)
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        why = "is not allowed with DELETECOLLECTION, try again after removing the option"
        raise field.invalid_error("meta.k8s.io", "DeleteOptions", "", [field.invalid(_IGNORE, True, why)])
    scope = listing.scope_of(call, served)
    entries = served.cache.select(scope)
    author = author_of(call)
    for entry in entries:
        try:
            await writer.delete(author, served, entry.name, entry.namespace, copy.copy(options))
        except errors.NotFound:
            continue
    resource = served.resource
    bodies = [e.body for e in await served.entries(entries, turns)]
    return answers.of_json(call, documents.join_list(resource.group_version, resource.list_kind, storage.revision, bodies))


async def options_of(call: Call) -> meta_v1.DeleteOptions:
    """DeleteOptions from the body, or else from the query. BadRequest, Invalid."""
    data = await writing.body(call)
    if data:
        try:
            options = await writing.decode(call, meta_v1.DeleteOptions, data)
        except codec.DecodeError as error:
            raise errors.BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
        if options.kind and options.kind != "DeleteOptions":
            raise errors.BadRequest("decoded object cannot be converted to DeleteOptions")
    else:
        options = _from_query(call)
    options.kind, options.apiVersion = "DeleteOptions", "meta.k8s.io/v1"
    problems = _problems(options)
    if problems:
        raise field.invalid_error("meta.k8s.io", "DeleteOptions", "", problems)
    return options


def _from_query(call: Call) -> meta_v1.DeleteOptions:
    query = call.query
    made = meta_v1.DeleteOptions()
    if text := query.get("gracePeriodSeconds"):
        try:
            made.gracePeriodSeconds = integers.required(text)
        except ValueError as error:
            raise errors.BadRequest(str(error)) from None
    made.propagationPolicy = query.get("propagationPolicy") or None
    if "orphanDependents" in query:
        made.orphanDependents = call.query.flag("orphanDependents")
    made.dryRun = list(query.all("dryRun")) or None
    return made


def _problems(options: meta_v1.DeleteOptions) -> list[field.Problem]:
    found: list[field.Problem] = []
    policy = options.propagationPolicy
    if policy is not None and options.orphanDependents is not None:
        found.append(field.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set"))
    if policy is not None and policy not in ("Foreground", "Background", "Orphan"):
        found.append(field.not_supported("propagationPolicy", policy, ("Background", "Foreground", "Orphan")))
    if any(d != "All" for d in options.dryRun or ()):
        found.append(field.not_supported("dryRun", options.dryRun, ("All",)))
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        for name in ("dryRun", "propagationPolicy", "orphanDependents", "gracePeriodSeconds", "preconditions"):
            if getattr(options, name) not in (None, []):
                found.append(field.invalid(_IGNORE, True, f"cannot be set together with .{name}"))
    return found


def _success(served: Served, entry: Entry) -> dict[str, Any]:
    details: dict[str, Any] = {"name": entry.name, "kind": served.plural, "uid": codec.tree(entry.body)["metadata"].get("uid")}
    if served.group:
        details["group"] = served.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
