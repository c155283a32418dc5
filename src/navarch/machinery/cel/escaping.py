"""Names of fields as expressions write them: `x-y` is `x__dash__y`, `namespace` is `__namespace__`.

Upstream counterpart: apiserver's pkg/cel/escaping.go.
"""

from __future__ import annotations

import re

RESERVED = frozenset(
    "true false null in as break const continue else for function if import let loop package namespace return var void while".split()  # noqa: SIM905
)
_SIGNS = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def escape(name: str) -> str | None:
    """The name in expressions; None when there is none, and the field cannot be used."""
    if name in RESERVED:
        return f"__{name}__"
    if re.match(r"[a-zA-Z_./-][a-zA-Z0-9_./-]*\Z", name) is None:
        return None
    return re.sub(r"__|[-./]", lambda match: _SIGNS[match[0]], name)
