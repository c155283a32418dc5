"""managedFields on writes: who set which field.

The bookkeeping is `machinery.patch.managed`; here it meets a request: the manager's name, the time, the subresource.
"""

from __future__ import annotations

from navarch.apiserver.context import Context
from navarch.apiserver.registry.strategy import Obj
from navarch.apiserver.served import Served


def on_create(context: Context, served: Served, obj: Obj) -> None:
    """Notes the creator as the manager of everything the object has."""


def on_update(context: Context, served: Served, new: Obj, old: Obj, subresource: str) -> None:
    """Notes the updater as the manager of what it changed."""


def only_times_differ(new: Obj, old: Obj) -> bool:
    """Whether two objects are equal but for the times in managedFields."""
    return False
