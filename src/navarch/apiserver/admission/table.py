"""The literal lists of admission plugins, in upstream's order."""

from __future__ import annotations

from navarch.apiserver.admission import Plugin, namespaces

MUTATING: tuple[Plugin, ...] = (namespaces.lifecycle,)
VALIDATING: tuple[Plugin, ...] = ()
