"""What becomes of an object that somebody deletes: whether it goes at once, or is marked and waits for finalizers or its time of grace.

Nothing is read or written here: objects and options in, objects and verdicts out.

Upstream counterpart: registry/rest/delete.go (BeforeDelete) and the decisions of registry/generic/registry/store.go (Delete).
"""

from __future__ import annotations

from collections.abc import Sequence

from navarch.api.meta import v1 as meta_v1
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Served
from navarch.apiserver.watch_cache import Entry
from navarch.machinery import errors, timestamps

_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"


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


def begin(served: Served, obj: Obj, options: meta_v1.DeleteOptions, now: float) -> bool | None:
    """Marks an object as being deleted. True when it goes at once, False when it waits, None when it is marked and stays as it is."""
    _finalizers(served, obj, options)
    graceful, pending = _graceful(served, obj, options, now)
    if pending and not obj.metadata.finalizers:
        return None
    if not graceful and not obj.metadata.finalizers:
        return True
    if not graceful and not pending and obj.metadata.deletionTimestamp is None:
        _mark(obj, now, 0)
    elif not graceful and not pending and obj.metadata.finalizers:
        obj.metadata.deletionGracePeriodSeconds = 0
    served.strategy.terminate(obj)
    return False


def removable(served: Served, obj: Obj) -> bool:
    """Whether a deleted object has nothing left to wait for."""
    metadata = obj.metadata
    if metadata.deletionTimestamp is None or metadata.finalizers or metadata.deletionGracePeriodSeconds:
        return False
    return served.strategy.finalizers is None or not served.strategy.finalizers(obj)


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
