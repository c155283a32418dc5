"""The objects of a write as webhooks are shown them: JSON in the version a webhook knows, and what its conditions may speak of.

Each is made once for all webhooks of a write, until one of them changes the object.
"""

from __future__ import annotations

import msgspec

from navarch.apiserver.admission import expressions
from navarch.apiserver.admission.attributes import Attributes, Kind
from navarch.apiserver.admission.matching import Matched
from navarch.apiserver.admission.webhooks import review
from navarch.apiserver.authz.authorizer import Authorizer
from navarch.apiserver.kinds.strategy import Obj
from navarch.apiserver.served import Catalog, Served
from navarch.machinery import codec

_NULL = b"null"


class Versions:
    """The objects of one write, in all versions that are asked for."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        kind, resource = attributes.kind, attributes.served.resource
        self.whole = (kind.group, kind.kind) == (resource.group, resource.kind)
        """The request is about the resource's own objects, not about something a subresource takes."""

        self._new: dict[Served, bytes] = {}
        self._old: dict[Served, bytes] = {}
        self._reviews: dict[tuple[Served, str], review.Template] = {}
        self._seen: expressions.Request | None = None

    def new(self, served: Served) -> bytes:
        """The object, `null` when there is none."""
        found = self._new.get(served)
        if found is None:
            found = self._new[served] = self._encoded(served, self.attributes.obj)
        return found

    def old(self, served: Served) -> bytes:
        found = self._old.get(served)
        if found is None:
            found = self._old[served] = self._encoded(served, self.attributes.old)
        return found

    def review(self, served: Served, kind: Kind, version: str) -> review.Template:
        """What a webhook is asked about it, but for the request's uid."""
        found = self._reviews.get((served, version))
        if found is None:
            new, old = msgspec.Raw(self.new(served)), msgspec.Raw(self.old(served))
            found = self._reviews[served, version] = review.template(
                version, expressions.request_of(self.attributes, Matched(served, kind)), new, old
            )
        return found

    def seen(self, catalog: Catalog, authorizer: Authorizer) -> expressions.Request:
        """The write as match conditions see it."""
        if self._seen is None:
            self._seen = expressions.Request(self.attributes, catalog, authorizer)
        return self._seen

    def changed(self) -> None:
        """The object is another now."""
        self._seen = None
        self._new.clear()
        self._reviews.clear()

    def _encoded(self, served: Served, obj: Obj | None) -> bytes:
        if obj is None:
            return _NULL
        return codec.encode(served.external(obj) if self.whole else obj)
