"""PUT of an object, and the loop every change of an existing object goes through.

`change` reads the current object, lets the caller make the new one from it, checks, admits and writes it against the revision
it was read at; when somebody else was faster it starts again (see `contention`), unless the client insisted on a revision.

Upstream counterpart: registry/generic/registry/store.go (Update) and storage's GuaranteedUpdate.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from navarch.apiserver import answers, background, contention, managed_fields, storage, watch_cache, writing
from navarch.apiserver.admission.attributes import Attributes
from navarch.apiserver.context import Context
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.server import Server
from navarch.apiserver.verbs import create as creating
from navarch.apiserver.verbs import get as getting
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors, field

Make = Callable[[Obj], Awaitable[Obj]]
"""From the current object (which it must not change) to the new one."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to: the object's JSON, and whether it was created or deleted by it."""

    body: bytes
    created: bool = False
    deleted: bool = False


async def handle(context: Context, served: Served, server: Server) -> web.StreamResponse:
    writing.check_options(context, "UpdateOptions")
    info = context.info
    new = await writing.object_from(context, served, await writing.body(context))
    check_name(new, info.name, info.namespace)
    text = codec.encode(new)

    async def make(old: Obj) -> Obj:
        del old
        return served.decode(text)

    if served.cache.get(served.key(info.name, info.namespace)) is None and served.strategy.create_on_update:
        body = await creating.create(context, served, server, without_version(new))
        return answers.of_json(context, await served.outward(body), 201)
    changed = await change(context, served, server, make, subresource=info.subresource)
    return answers.of_json(context, await served.outward(changed.body), 200)


def without_version(obj: Obj) -> Obj:
    obj.metadata.resourceVersion = None
    obj.metadata.uid = None
    return obj


def check_name(obj: Obj, name: str, namespace: str) -> None:
    """The object's name and namespace must be the URL's; left out, they are."""
    metadata = obj.metadata
    if not metadata.name:
        metadata.name = name
    if metadata.name != name:
        raise errors.BadRequest(f"the name of the object ({metadata.name}) does not match the name on the URL ({name})")
    if namespace and metadata.namespace and metadata.namespace != namespace:
        raise errors.BadRequest(f"the namespace of the object ({metadata.namespace}) does not match the namespace on the request ({namespace})")


async def change(
    context: Context, served: Served, server: Server, make: Make, *, subresource: str = "", patch: bool = False, applied: bool = False
) -> Changed:
    """Changes an existing object. NotFound, Conflict, Invalid, and what admission raises."""
    info = context.info

    async def once() -> Changed | None:
        entry = getting.entry_of(served, info.name, info.namespace)
        old = current(served, entry)
        new = await make(old)
        insisted = check_version(served, new, entry, patch=patch)
        done = await attempt(context, served, server, entry, new, old, subresource, applied)
        if done is None and insisted:
            raise errors.conflict(served.group, served.plural, info.name, errors.MODIFIED)
        return done

    # A PUT nearly always insists on a revision: waiting could only make it fail later.
    return await contention.until_written(server.storage.mutex, served.store_key(info.name, info.namespace), once, patient=patch)


def current(served: Served, entry: Entry) -> Obj:
    """The typed object of an entry, without its resourceVersion (it is kept outside the object)."""
    obj = served.decode(entry.body)
    obj.metadata.resourceVersion = None
    return obj


def check_version(served: Served, new: Obj, entry: Entry, *, patch: bool) -> bool:
    """Takes the resourceVersion off the new object. Whether the client insists on it; Conflict when it is another."""
    metadata = new.metadata
    asked, metadata.resourceVersion = metadata.resourceVersion, None
    if metadata.uid and not patch and f'"uid":"{metadata.uid}"'.encode() not in entry.body:
        raise errors.conflict(served.group, served.plural, entry.name, _uid_message(metadata.uid, entry))
    if not asked or asked == "0":
        if served.strategy.conditional_update and not patch:
            problem = field.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise field.invalid_error(served.group, served.plural, entry.name, [problem])
        return False
    if writing.version_number(asked) != entry.version:
        raise errors.conflict(served.group, served.plural, entry.name, errors.MODIFIED)
    return True


def _uid_message(uid: str, entry: Entry) -> str:
    held = codec.tree(entry.body)["metadata"].get("uid", "")
    return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {held}"


async def attempt(
    context: Context, served: Served, server: Server, entry: Entry, new: Obj, old: Obj, subresource: str, applied: bool = False
) -> Changed | None:
    """One try to write; None when the object changed meanwhile."""
    writing.begin_update(served, new, old)
    status = subresource == "status"
    keep_rest(served, new, old, subresource)
    if not applied:
        await background.run(max(context.size, len(entry.body)), managed_fields.on_update, context, served, new, old, subresource)
    attributes = Attributes(context, served, "UPDATE", entry.name, entry.namespace, new, old, subresource=subresource, dry_run=context.dry_run)
    await server.admission.mutate(attributes)
    new = attributes.obj
    allocate = served.strategy.allocate if not subresource else None
    finish = allocate(server.numbers, new, old, context.dry_run) if allocate else None
    try:
        if not status:
            writing.count_generation(served, new, old)
        await background.run(max(context.size, len(entry.body)), writing.check_update, served, new, old, subresource)
        await server.admission.validate(attributes)
        return await write(context, served, server, entry, new, old)
    except storage.Overtaken:
        await server.storage.fresh()
        return None
    finally:
        if finish is not None:
            finish()


def keep_rest(served: Served, new: Obj, old: Obj, subresource: str) -> None:
    """A status update changes status (and metadata) alone, other subresources what they say; any other update leaves status alone."""
    part = served.strategy.subresources.get(subresource)
    if part is not None:
        part.prepare(new, old, writing.now())
        return
    if subresource == "status":
        served.shape.keep_all_but_status(new, old)
        new.metadata.generation = old.metadata.generation
        new.metadata.deletionTimestamp = old.metadata.deletionTimestamp
        served.strategy.prepare_status(new, old, writing.now())
        return
    if served.has_status:
        served.shape.keep_status(new, old)
    served.strategy.prepare_update(new, old, writing.now())


async def write(context: Context, served: Served, server: Server, entry: Entry, new: Obj, old: Obj) -> Changed | None:
    """Stores the changed object; removes it when its last finalizer went; writes nothing when nothing changed."""
    value = codec.encode(new)
    if removable(served, new) and not removable(served, old):
        return await remove(context, served, server, entry, value)
    if value == codec.encode(old) or managed_fields.only_times_differ(new, old):
        return Changed(entry.body)
    if context.dry_run:
        return Changed(watch_cache.splice(value, entry.version))
    ttl = served.strategy.ttl(new, server.kept) if served.strategy.ttl else None
    revision = await server.storage.put(served, entry.name, entry.namespace, value, entry.version, ttl)
    return None if revision is None else Changed(watch_cache.splice(value, revision))


def removable(served: Served, obj: Obj) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    metadata = obj.metadata
    if metadata.deletionTimestamp is None or metadata.finalizers or metadata.deletionGracePeriodSeconds:
        return False
    return served.strategy.finalizers is None or not served.strategy.finalizers(obj)


async def remove(context: Context, served: Served, server: Server, entry: Entry, value: bytes) -> Changed | None:
    if context.dry_run:
        return Changed(watch_cache.splice(value, entry.version), deleted=True)
    revision = await server.storage.delete(served, entry.name, entry.namespace, entry.version)
    return None if revision is None else Changed(watch_cache.splice(value, revision), deleted=True)
