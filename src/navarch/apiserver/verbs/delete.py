"""DELETE of one object or of a collection: gracefully, by finalizers, or at once.

Upstream counterpart: registry/rest/delete.go (BeforeDelete) and registry/generic/registry/store.go (Delete, DeleteCollection).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import answers, contention, watch_cache, writing
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.authz.questions import Question
from navarch.apiserver.context import Context
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import get as getting
from navarch.apiserver.verbs import list as listing
from navarch.apiserver.verbs import update as updating
from navarch.apiserver.watch_cache import Entry
from navarch.lib import integers
from navarch.machinery import codec, errors, field, timestamps

_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
_UNSAFE = "unsafe-delete-ignore-read-errors"
_IGNORE = "ignoreStoreReadErrorWithClusterBreakingPotential"


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    options = await options_of(context)
    info = context.info
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        return await _delete_damaged(context, served, server)
    getting.entry_of(served, info.name, info.namespace)
    entry, body, gone = await delete(context, served, server, info.name, info.namespace, options)
    if gone and not served.strategy.returns_deleted:
        return answers.of_object(context, _success(served, entry))
    return answers.of_json(context, await served.outward(body))


async def _delete_damaged(context: Context, served: Served, server: Server) -> web.StreamResponse:
    """Removes an object that cannot be read: without finalizers, preconditions and admission, which would have to read it.

    Upstream counterpart: registry/generic/registry/corrupt_obj_deleter.go.
    """
    info = context.info
    question = Question(_UNSAFE, served.group, served.plural, "", info.namespace, info.name, version=served.resource.version)
    verdict = server.authorizer.decide(context.user, question)
    if not verdict.allowed:
        why = f'not permitted to do "{_UNSAFE}", reason: {verdict.reason}'
        raise errors.forbidden(served.group, served.plural, info.name, why)
    if served.key(info.name, info.namespace) not in served.cache.damaged:
        why = "is exclusively used to delete corrupt object(s), try again by removing this option"
        raise field.invalid_error(served.group, served.plural, info.name, [field.invalid(_IGNORE, True, why)])
    await server.storage.delete_damaged(served, info.name, info.namespace)
    return answers.of_object(context, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})


async def collection(context: Context, served: Served, server: Server) -> web.StreamResponse:
    """Deletes everything a query selects, and answers with the list of it."""
    options = await options_of(context)
    if options.ignoreStoreReadErrorWithClusterBreakingPotential:
        why = "is not allowed with DELETECOLLECTION, try again after removing the option"
        raise field.invalid_error("meta.k8s.io", "DeleteOptions", "", [field.invalid(_IGNORE, True, why)])
    scope = listing.scope_of(context, served)
    entries = served.cache.select(scope)
    for entry in entries:
        try:
            await delete(context, served, server, entry.name, entry.namespace, copy.copy(options))
        except errors.NotFound:
            continue
    resource = served.resource
    bodies = [e.body for e in await served.entries(entries, server.turns)]
    return answers.of_json(context, answers.join_list(resource.group_version, resource.kind, server.storage.revision, bodies))


async def options_of(context: Context) -> meta_v1.DeleteOptions:
    """DeleteOptions from the body, or else from the query. BadRequest, Invalid."""
    data = await writing.body(context)
    if data:
        try:
            options = await writing.decode(context, meta_v1.DeleteOptions, data)
        except codec.DecodeError as error:
            raise errors.BadRequest(f"couldn't get version/kind; json parse error: {error}") from None
        if options.kind and options.kind != "DeleteOptions":
            raise errors.BadRequest("decoded object cannot be converted to DeleteOptions")
    else:
        options = _from_query(context)
    problems = _problems(options)
    if problems:
        raise field.invalid_error("meta.k8s.io", "DeleteOptions", "", problems)
    return options


def _from_query(context: Context) -> meta_v1.DeleteOptions:
    query = context.query
    made = meta_v1.DeleteOptions()
    if text := query.get("gracePeriodSeconds"):
        try:
            made.gracePeriodSeconds = integers.required(text)
        except ValueError as error:
            raise errors.BadRequest(str(error)) from None
    made.propagationPolicy = query.get("propagationPolicy") or None
    if "orphanDependents" in query:
        made.orphanDependents = context.flag("orphanDependents")
    made.dryRun = list(query.getall("dryRun", ())) or None
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


async def delete(
    context: Context, served: Served, server: Server, name: str, namespace: str, options: meta_v1.DeleteOptions
) -> tuple[Entry, bytes, bool]:
    """Deletes or begins to delete an object: its entry, its JSON afterwards, and whether it is gone."""
    dry = context.dry_run or bool(options.dryRun)

    async def once() -> tuple[Entry, bytes, bool] | None:
        entry = getting.entry_of(served, name, namespace)
        old = updating.current(served, entry)
        check_preconditions(served, entry, old, options)
        attributes = Attributes(context, served, "DELETE", name, namespace, None, old, dry_run=dry, options=options)
        await server.admission.mutate(attributes)
        await server.admission.validate(attributes)
        done = await _attempt(served, server, entry, updating.current(served, entry), options, dry)
        return None if done is None else (entry, *done)

    return await contention.until_written(server.storage.mutex, served.store_key(name, namespace), once, patient=False)


def check_preconditions(served: Served, entry: Entry, old: Obj, options: meta_v1.DeleteOptions) -> None:
    """Conflict when the object is not the one, or not in the version, that was asked for."""
    asked = options.preconditions
    if asked is None:
        return
    uid = old.metadata.uid
    if asked.uid is not None and asked.uid != uid:
        held = f"the UID in the precondition ({asked.uid}) does not match the UID in record ({uid})."
        why = f"{held} The object might have been deleted and then recreated"
        raise errors.conflict(served.group, served.plural, entry.name, why)
    if asked.resourceVersion is not None and asked.resourceVersion != str(entry.version):
        why = (
            f"the ResourceVersion in the precondition ({asked.resourceVersion}) does not match the ResourceVersion in record "
            f"({entry.version}). The object might have been modified"
        )
        raise errors.conflict(served.group, served.plural, entry.name, why)


async def _attempt(served: Served, server: Server, entry: Entry, obj: Obj, options: meta_v1.DeleteOptions, dry: bool) -> tuple[bytes, bool] | None:
    """One try: the object's JSON afterwards and whether it is gone; None when somebody else changed it meanwhile."""
    before = codec.encode(obj)
    now = writing.now()
    _finalizers(served, obj, options)
    graceful, pending = _graceful(served, obj, options, now)
    wait = graceful or bool(obj.metadata.finalizers)
    if pending and not obj.metadata.finalizers:
        return entry.body, False
    if not wait:
        return await _remove(server, served, entry, dry)
    if not graceful and not pending and obj.metadata.deletionTimestamp is None:
        _mark(obj, now, 0)
    elif not graceful and not pending and obj.metadata.finalizers:
        obj.metadata.deletionGracePeriodSeconds = 0
    served.strategy.terminate(obj)
    value = codec.encode(obj)
    if value == before:
        return entry.body, False
    if dry:
        return watch_cache.splice(value, entry.version), False
    revision = await server.storage.put(served, entry.name, entry.namespace, value, entry.version)
    return None if revision is None else (watch_cache.splice(value, revision), False)


async def _remove(server: Server, served: Served, entry: Entry, dry: bool) -> tuple[bytes, bool] | None:
    if dry:
        return entry.body, True
    revision = await server.storage.delete(served, entry.name, entry.namespace, entry.version)
    return None if revision is None else (watch_cache.respliced(entry, revision), True)


def _finalizers(served: Served, obj: Obj, options: meta_v1.DeleteOptions) -> None:
    """Adds or removes the garbage collector's finalizers as the propagation policy says."""
    held = list(obj.metadata.finalizers or ())
    orphan, foreground = _policy(served, held, options)
    kept = [f for f in held if f not in (_ORPHAN, _FOREGROUND)]
    if orphan:
        kept.append(_ORPHAN)
    if foreground:
        kept.append(_FOREGROUND)
    obj.metadata.finalizers = kept or None


def _policy(served: Served, held: list[str], options: meta_v1.DeleteOptions) -> tuple[bool, bool]:
    """Whether dependents are orphaned, and whether they are deleted first."""
    if not served.strategy.collected:
        return False, False
    if options.orphanDependents is not None:
        return options.orphanDependents, False
    if options.propagationPolicy is not None:
        return options.propagationPolicy == "Orphan", options.propagationPolicy == "Foreground"
    if _ORPHAN in held or _FOREGROUND in held:
        return _ORPHAN in held, _FOREGROUND in held
    return served.strategy.orphans, False


def _graceful(served: Served, obj: Obj, options: meta_v1.DeleteOptions, now: float) -> tuple[bool, bool]:
    """Whether deletion is now (more) graceful, and whether one is already under way that stays as it is."""
    asked = options.gracePeriodSeconds
    if asked is not None and asked < 0:
        asked = 1
    if served.strategy.finalizers is not None:
        return _until_finalized(obj, served.strategy.finalizers(obj), now)
    if served.strategy.grace is None:
        return False, False
    metadata = obj.metadata
    if metadata.deletionTimestamp is not None:
        return _shorten(metadata, asked, now)
    seconds = served.strategy.grace(obj, asked)
    if not seconds:
        return False, False
    _mark(obj, now, seconds)
    return True, False


def _until_finalized(obj: Obj, finalizers: Sequence[str], now: float) -> tuple[bool, bool]:
    """An object whose kind has finalizers of its own waits until they are gone, without a time."""
    if not finalizers:
        return False, False
    if obj.metadata.deletionTimestamp is not None:
        return False, True
    _mark(obj, now, 0)
    obj.metadata.deletionGracePeriodSeconds = None
    return True, False


def _shorten(metadata: meta_v1.ObjectMeta, asked: int | None, now: float) -> tuple[bool, bool]:
    """A deletion under way can only be made faster."""
    left = metadata.deletionGracePeriodSeconds
    if not left:
        return False, False
    if asked is None or asked >= left:
        return False, True
    if asked == 0 and not metadata.finalizers:
        return False, False
    assert metadata.deletionTimestamp is not None
    end = timestamps.parse(metadata.deletionTimestamp) - left + asked
    if end < now:
        end, asked = now, 1 if asked else 0
    metadata.deletionTimestamp, metadata.deletionGracePeriodSeconds = timestamps.seconds(end), asked
    return True, False


def _mark(obj: Obj, now: float, seconds: int) -> None:
    obj.metadata.deletionTimestamp = timestamps.seconds(now + seconds)
    obj.metadata.deletionGracePeriodSeconds = seconds
    if obj.metadata.generation:
        obj.metadata.generation += 1


def _success(served: Served, entry: Entry) -> dict[str, Any]:
    details: dict[str, Any] = {"name": entry.name, "kind": served.plural, "uid": codec.tree(entry.body)["metadata"].get("uid")}
    if served.group:
        details["group"] = served.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
