"""The environments of Kubernetes 1.36.

Upstream counterpart: apiserver's pkg/cel/environment/base.go.
"""

from __future__ import annotations

from navarch.machinery.cel import environment
from navarch.machinery.cel.functions import (
    addresses,
    authorization,
    comprehensions,
    lists,
    named_formats,
    optional,
    quantities,
    regex,
    standard,
    strings,
    urls,
)

ALL = (
    standard.LIBRARY,
    optional.LIBRARY,
    comprehensions.LIBRARY,
    strings.LIBRARY,
    lists.LIBRARY,
    regex.LIBRARY,
    urls.LIBRARY,
    addresses.LIBRARY,
    quantities.LIBRARY,
    named_formats.LIBRARY,
    authorization.LIBRARY,
)
BASE = environment.of(ALL)
"""For rules of custom resources, policies and match conditions."""
JSON_PATCH = environment.of((*ALL, urls.JSON_PATCH))
"""For policies that make JSON patches."""
