"""The one door through which objects come into the store, and leave it.

A create, and every kind of update (of a part, by a patch, by apply, by the server itself), goes through the same steps in this order:
the metadata that no client decides; managedFields; mutating admission; what the kind keeps or clears; numbers set aside; generation; the
kind's rules; validating admission; the store, against the revision that was read, and again from the start when somebody else was faster.
A deletion is admitted, decided (`deletion`) and stored the same way. An action (a Binding, an Eviction, a TokenRequest) is admitted as what
it is; what it does to the object is then stored by `replace`, as upstream has it.

Upstream counterparts: registry/generic/registry/store.go, registry/rest/{create,update}.go and storage's GuaranteedUpdate.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver import background, contention, managed_fields, watch_cache, writing
from navarch.apiserver.admission.attributes import Attributes, Options, WriteOptions
from navarch.apiserver.authn.users import AUTHENTICATED, User
from navarch.apiserver.call import Call
from navarch.apiserver.kinds.strategy import Allocate, Kept, Numbers, Obj
from navarch.apiserver.query import NONE, Query
from navarch.apiserver.served import Served
from navarch.apiserver.storage import Overtaken, Storage
from navarch.apiserver.verbs import deletion
from navarch.apiserver.verbs import get as getting
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import codec, errors, names
from navarch.machinery import field as fields

_GENERATED_TRIES = 8
_NUMBERED_TRIES = 4
"""How often another server may give out the same number first."""

SERVER = User("system:apiserver", (AUTHENTICATED, "system:masters"))
"""Who the server's own writes are by."""


class Admission(Protocol):
    """What may change or refuse a write."""

    async def mutate(self, attributes: Attributes) -> None: ...
    async def validate(self, attributes: Attributes) -> None: ...


@dataclass(slots=True)
class Author:
    """Who writes, and how."""

    user: User
    manager: str
    """Who is said to own the fields that are set."""

    dry_run: bool = False
    query: Query = NONE
    """What the options of the write are read from."""

    size: int = 0
    """Bytes of the request's body: what decides where work on it is done (`background`)."""

    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)

    def options(self, kind: str) -> WriteOptions:
        """CreateOptions or UpdateOptions."""
        query = self.query
        if not query:
            return WriteOptions(kind, "meta.k8s.io/v1", ["All"] if self.dry_run else None)
        dry = list(query.all("dryRun")) or None
        return WriteOptions(kind, "meta.k8s.io/v1", dry, query.get("fieldManager") or None, query.get("fieldValidation") or None)

    def attributes(
        self, served: Served, operation: str, name: str, namespace: str, obj: Obj, old: Obj, subresource: str, options: Options | None
    ) -> Attributes:
        """What admission is to know of a write."""
        return Attributes(
            self.user, served, operation, name, namespace, obj, old, subresource, self.dry_run, options, self.warnings, self.annotations
        )


def author_of(call: Call) -> Author:
    """Who writes by a request."""
    return Author(call.user, call.field_manager, call.dry_run, call.query, call.size, call.warnings, call.annotations)


def by_server(*, dry_run: bool = False) -> Author:
    """The server itself."""
    return Author(SERVER, "kube-apiserver", dry_run)


Make = Callable[[Obj], Awaitable[Obj]]
"""From the current object (which it must not change) to the new one."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to: the object's JSON, and whether it was created or deleted by it."""

    body: bytes
    created: bool = False
    deleted: bool = False


class View(Protocol):
    """Another object in place of the stored one: what the clients of a subresource see, and admission with them (a Scale)."""

    def of(self, served: Served, obj: Obj, version: str) -> Obj:
        """What is seen of an object."""

    def put(self, served: Served, seen: Obj, obj: Obj) -> None:
        """Does to an object what was done to what is seen of it."""


class Writer:
    """The door."""

    def __init__(self, storage: Storage, admission: Admission, numbers: Numbers, kept: Kept) -> None:
        self._storage = storage
        self._admission = admission
        self._numbers = numbers
        self._kept = kept

    # ---- new objects ----

    async def create(self, author: Author, served: Served, namespace: str, obj: Obj, *, applied: bool = False) -> bytes:
        """Stores a new object in a namespace ("" for a cluster-scoped one) and returns its JSON. AlreadyExists, Invalid, what admission raises."""
        now = writing.now()
        writing.begin_create(served, namespace, obj)
        reset_status(served, obj)
        if not applied:
            await background.run(author.size, managed_fields.on_create, author.manager, served, obj)
        options = author.options("CreateOptions")
        attributes = Attributes(
            author.user,
            served,
            "CREATE",
            obj.metadata.name or "",
            namespace,
            obj,
            None,
            "",
            author.dry_run,
            options,
            author.warnings,
            author.annotations,
        )
        await self._admission.mutate(attributes)
        obj = attributes.obj
        if attributes.patched:
            writing.check_namespace(served, namespace, obj.metadata)
            reset_status(served, obj)
        writing.fill_create(served, obj, now)
        served.strategy.prepare_create(obj, now)
        if served.strategy.allocate is not None:
            return await self._numbered(author, served, attributes, served.strategy.allocate)
        return await self._checked(author, served, attributes)

    async def _numbered(self, author: Author, served: Served, attributes: Attributes, allocate: Allocate) -> bytes:
        """Stores an object that numbers are given to; with other numbers when another server gave out the same meanwhile."""
        text = codec.encode(attributes.obj)
        tries = _NUMBERED_TRIES
        while True:
            finish = allocate(self._numbers, attributes.obj, None, author.dry_run)
            try:
                return await self._checked(author, served, attributes)
            except Overtaken:
                tries -= 1
                if not tries:
                    raise
            finally:
                finish()
            await self._storage.fresh()
            attributes.obj = served.decode(text)

    async def _checked(self, author: Author, served: Served, attributes: Attributes) -> bytes:
        await background.run(author.size * served.strategy.weight, writing.check_create, served, attributes.obj)
        await self._admission.validate(attributes)
        author.warnings.extend(served.strategy.warnings(attributes.obj, None))
        return await self._insert(author, served, attributes.obj)

    async def _insert(self, author: Author, served: Served, obj: Obj) -> bytes:
        """Writes the object, trying other names when a generated one is taken."""
        metadata = obj.metadata
        namespace = metadata.namespace or ""
        ttl = served.strategy.ttl(obj, self._kept) if served.strategy.ttl else None
        for _ in range(_GENERATED_TRIES if metadata.generateName else 1):
            name = metadata.name or ""
            value = codec.encode(obj)
            if author.dry_run:
                if served.cache.get(served.key(name, namespace)) is None:
                    return value
            else:
                revision = await self._storage.put(served, name, namespace, value, 0, ttl)
                if revision is not None:
                    return watch_cache.splice(value, revision)
            if metadata.generateName:
                metadata.name = names.generate(metadata.generateName, secrets.randbits(64))
        raise errors.already_exists(served.group, served.plural, metadata.name or "")

    # ---- changes ----

    async def change(
        self,
        author: Author,
        served: Served,
        name: str,
        namespace: str,
        make: Make,
        *,
        subresource: str = "",
        patch: bool = False,
        applied: bool = False,
        view: View | None = None,
    ) -> Changed:
        """Changes an existing object. NotFound, Conflict, Invalid, and what admission raises."""

        async def once() -> Changed | None:
            entry = getting.entry_of(served, name, namespace)
            old = current(served, entry)
            new = await make(old)
            insisted = check_version(served, new, entry, patch=patch)
            done = await self._attempt(author, served, entry, new, old, subresource, applied=applied, view=view)
            if done is None and insisted:
                raise errors.conflict(served.group, served.plural, name, errors.MODIFIED)
            return done

        # A PUT nearly always insists on a revision: waiting could only make it fail later.
        return await contention.until_written(self._storage.mutex, served.store_key(name, namespace), once, patient=patch)

    async def _attempt(
        self, author: Author, served: Served, entry: Entry, new: Obj, old: Obj, subresource: str, *, applied: bool, view: View | None
    ) -> Changed | None:
        """One try to write; None when the object changed meanwhile."""
        size = max(author.size, len(entry.body))
        writing.begin_update(served, new, old)
        keep_rest(served, new, old, subresource)
        if not applied:
            await background.run(size, managed_fields.on_update, author.manager, served, new, old, subresource)
        seen, before = new, old
        if view is not None:
            version = str(entry.version)
            seen, before = view.of(served, new, version), view.of(served, old, version)
        options = author.options("UpdateOptions")
        attributes = author.attributes(served, "UPDATE", entry.name, entry.namespace, seen, before, subresource, options)
        await self._admission.mutate(attributes)
        if view is None:
            new = attributes.obj
        elif attributes.patched:
            view.put(served, attributes.obj, new)
        if attributes.patched:
            writing.begin_update(served, new, old)
            keep_rest(served, new, old, subresource)
        allocate = served.strategy.allocate if not subresource else None
        finish = allocate(self._numbers, new, old, author.dry_run) if allocate else None
        try:
            if subresource != "status":
                writing.count_generation(served, new, old)
            await background.run(size * served.strategy.weight, writing.check_update, served, new, old, subresource)
            await self._admission.validate(attributes)
            if not subresource:
                author.warnings.extend(served.strategy.warnings(new, old))
            return await self._write(author, served, entry, new, old)
        except Overtaken:
            await self._storage.fresh()
            return None
        finally:
            if finish is not None:
                finish()

    async def _write(self, author: Author, served: Served, entry: Entry, new: Obj, old: Obj) -> Changed | None:
        """Stores the changed object; removes it when its last finalizer went; writes nothing when nothing changed."""
        value = codec.encode(new)
        if deletion.removable(served, new) and not deletion.removable(served, old):
            return await self._remove(author, served, entry, value)
        if value == codec.encode(old) or managed_fields.only_times_differ(new, old):
            return Changed(entry.body)
        if author.dry_run:
            return Changed(watch_cache.splice(value, entry.version))
        ttl = served.strategy.ttl(new, self._kept) if served.strategy.ttl else None
        revision = await self._storage.put(served, entry.name, entry.namespace, value, entry.version, ttl)
        return None if revision is None else Changed(watch_cache.splice(value, revision))

    async def _remove(self, author: Author, served: Served, entry: Entry, value: bytes) -> Changed | None:
        if author.dry_run:
            return Changed(watch_cache.splice(value, entry.version), deleted=True)
        revision = await self._storage.delete(served, entry.name, entry.namespace, entry.version)
        return None if revision is None else Changed(watch_cache.splice(value, revision), deleted=True)

    async def replace(self, author: Author, served: Served, name: str, namespace: str, make: Callable[[Entry, Obj], Obj | None]) -> int:
        """Stores what an admitted action makes of an object, and returns the object's version. `make` may change the object it is given; when
        it has nothing to change it answers None. NotFound, and what it raises.
        """

        async def once() -> int | None:
            entry = getting.entry_of(served, name, namespace)
            new = make(entry, current(served, entry))
            if new is None or author.dry_run:
                return entry.version
            return await self._storage.put(served, name, namespace, codec.encode(new), entry.version)

        return await contention.until_written(self._storage.mutex, served.store_key(name, namespace), once, patient=True)

    # ---- actions, connections ----

    async def admit(
        self,
        author: Author,
        served: Served,
        operation: str,
        name: str,
        namespace: str,
        obj: Obj,
        subresource: str,
        check: Callable[[Obj], None] | None = None,
    ) -> Obj:
        """Admits what is not stored: an action (CREATE of a Binding, an Eviction, a TokenRequest) or a connection (CONNECT). The object as
        admission left it. `check` raises what the object's own rules say, between the two halves.
        """
        options = author.options("CreateOptions") if operation == "CREATE" else None
        attributes = author.attributes(served, operation, name, namespace, obj, None, subresource, options)
        await self._admission.mutate(attributes)
        if check is not None:
            check(attributes.obj)
        await self._admission.validate(attributes)
        return attributes.obj

    # ---- deletions ----

    async def delete(
        self, author: Author, served: Served, name: str, namespace: str, options: meta_v1.DeleteOptions, *, admitted: bool = False
    ) -> Deleted:
        """Deletes or begins to delete an object. `admitted`: the request was, as the action it is (an Eviction). NotFound, Conflict, and what
        admission raises.
        """
        dry = author.dry_run or bool(options.dryRun)

        async def once() -> Deleted | None:
            entry = getting.entry_of(served, name, namespace)
            old = current(served, entry)
            deletion.check_preconditions(served, entry, old, options)
            if not admitted:
                attributes = author.attributes(served, "DELETE", name, namespace, None, old, "", options)
                attributes.dry_run = dry
                await self._admission.mutate(attributes)
                await self._admission.validate(attributes)
            return await self._delete(served, entry, current(served, entry), options, dry)

        return await contention.until_written(self._storage.mutex, served.store_key(name, namespace), once, patient=False)

    async def _delete(self, served: Served, entry: Entry, obj: Obj, options: meta_v1.DeleteOptions, dry: bool) -> Deleted | None:
        """One try; None when somebody else changed the object meanwhile."""
        before = codec.encode(obj)
        gone = deletion.begin(served, obj, options, writing.now())
        if gone:
            if dry:
                return Deleted(entry, entry.body, gone=True)
            revision = await self._storage.delete(served, entry.name, entry.namespace, entry.version)
            return None if revision is None else Deleted(entry, watch_cache.respliced(entry, revision), gone=True)
        value = codec.encode(obj)
        if gone is None or value == before:
            return Deleted(entry, entry.body)
        if dry:
            return Deleted(entry, watch_cache.splice(value, entry.version))
        revision = await self._storage.put(served, entry.name, entry.namespace, value, entry.version)
        return None if revision is None else Deleted(entry, watch_cache.splice(value, revision))

    async def delete_damaged(self, served: Served, name: str, namespace: str) -> None:
        """Removes an object that cannot be read: without finalizers, preconditions and admission, which would have to read it."""
        await self._storage.delete_damaged(served, name, namespace)


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion came to: the object as it was found, its JSON afterwards, and whether it is gone."""

    entry: Entry
    body: bytes
    gone: bool = False


def reset_status(served: Served, obj: Obj) -> None:
    """A client does not set the status of what it creates, where status is a subresource."""
    if served.has_status and not served.strategy.status_on_create:
        served.shape.keep_status(obj, None)


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
            problem = fields.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise fields.invalid_error(served.group, served.plural, entry.name, [problem])
        return False
    if writing.version_number(asked) != entry.version:
        raise errors.conflict(served.group, served.plural, entry.name, errors.MODIFIED)
    return True


def _uid_message(uid: str, entry: Entry) -> str:
    held = codec.tree(entry.body)["metadata"].get("uid", "")
    return f"Precondition failed: UID in precondition: {uid}, UID in object meta: {held}"


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
