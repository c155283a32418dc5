"""URLs, and the keys of JSON pointers.

Upstream counterparts: apiserver's pkg/cel/library (urls.go, jsonpatch.go), Go's net/url, whose words these are.
"""

from __future__ import annotations

import re
import urllib.parse

from navarch.machinery import goform
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.values import EvaluationError
from navarch.machinery.structural import formats

_is_uri = formats.KNOWN["uri"]
_UNESCAPED = re.compile(r"[^A-Za-z0-9\-_.~!$&'()*+,;=:@/%\[\]]")


class URL:
    __slots__ = ("_parts", "text")
    type_name = "kubernetes.URL"

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = urllib.parse.urlsplit(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URL) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def scheme(self) -> str:
        return self._parts.scheme

    @property
    def host(self) -> str:
        return self._parts.netloc.rpartition("@")[2]

    @property
    def hostname(self) -> str:
        host = self.host
        if host.startswith("["):
            return host[1:].partition("]")[0]
        return host.partition(":")[0]

    @property
    def port(self) -> str:
        host = self.host
        return host.rpartition("]")[2].partition(":")[2]

    @property
    def escaped_path(self) -> str:
        return _UNESCAPED.sub(lambda match: urllib.parse.quote(match[0]), self._parts.path)

    @property
    def query(self) -> dict[str, list[str]]:
        made: dict[str, list[str]] = {}
        for name, value in urllib.parse.parse_qsl(self._parts.query, keep_blank_values=True):
            made.setdefault(name, []).append(value)
        return made


def problem(text: str) -> str:
    """What is wrong with a URL, in Go's words; "" for a good one."""
    if _is_uri(text):
        return ""
    if not text:
        return 'parse "": empty url'
    told = "invalid URI for request"
    if bad := re.search(r"%(?![0-9A-Fa-f]{2}).{0,2}", text):
        told = f"invalid URL escape {goform.quoted(bad[0])}"
    return f"parse {goform.quoted(text)}: {told}"


def _url(text: str) -> URL:
    if told := problem(text):
        raise EvaluationError(f"URL parse error during conversion from string: {told}")
    return URL(text)


LIBRARY: Library = {
    "url": (Overload("string_to_url", "(string) -> kubernetes.URL", _url),),
    "getScheme": (Overload("url_get_scheme", "kubernetes.URL.() -> string", lambda url: url.scheme),),
    "getHost": (Overload("url_get_host", "kubernetes.URL.() -> string", lambda url: url.host),),
    "getHostname": (Overload("url_get_hostname", "kubernetes.URL.() -> string", lambda url: url.hostname),),
    "getPort": (Overload("url_get_port", "kubernetes.URL.() -> string", lambda url: url.port),),
    "getEscapedPath": (Overload("url_get_escaped_path", "kubernetes.URL.() -> string", lambda url: url.escaped_path),),
    "getQuery": (Overload("url_get_query", "kubernetes.URL.() -> map(string, list(string))", lambda url: url.query),),
    "isURL": (Overload("is_url_string", "(string) -> bool", lambda text: not problem(text)),),
}
JSON_PATCH: Library = {
    "jsonpatch.escapeKey": (
        Overload("string_jsonpatch_escapeKey_string", "(string) -> string", lambda key: key.replace("~", "~0").replace("/", "~1")),
    ),
}
"""Only for policies that make JSON patches."""
