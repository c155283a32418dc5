"""Links in what a proxied server answers: absolute paths get the proxy's own path in front, so that a browser stays inside.

In: an HTML page or a Location header of a pod, service or node. Out: the same with its links rewritten. Links to other hosts
and relative ones stay as they are.

Upstream counterpart: apimachinery's util/proxy/transport.go.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

_ATTRIBUTES = frozenset(
    {
        "action", "background", "cite", "classid", "codebase", "data", "formaction", "href", "icon", "longdesc", "manifest",
        "poster", "profile", "src", "usemap",
    }
)  # fmt: skip
_TAG = re.compile(r"<[a-zA-Z][^<>]*>")
_ATTRIBUTE = re.compile(r"""(\s)([a-zA-Z-]+)(\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")

Rewrite = Callable[[str], str]


def rewriter(prefix: str, hosts: frozenset[str]) -> Rewrite:
    """A function that puts `prefix` before absolute paths of these hosts (or of none)."""

    def rewrite(url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            return url
        if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
            return url
        path = parts.path if parts.path.startswith(prefix) else prefix.rstrip("/") + parts.path
        return urlunsplit(("", "", path, parts.query, parts.fragment))

    return rewrite


def page(text: str, rewrite: Rewrite) -> str:
    """An HTML page with its links rewritten."""

    def attribute(match: re.Match[str]) -> str:
        if match[2].lower() not in _ATTRIBUTES:
            return match[0]
        value = html.unescape(next(v for v in match.group(4, 5, 6) if v is not None))
        return f'{match[1]}{match[2]}{match[3]}"{html.escape(rewrite(value))}"'

    return _TAG.sub(lambda tag: _ATTRIBUTE.sub(attribute, tag[0]), text)
