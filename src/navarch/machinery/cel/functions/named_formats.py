"""Formats by name: `format.dns1123Label().validate(x)` tells what is wrong with x, if anything is.

Upstream counterpart: apiserver's pkg/cel/library/format.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from navarch.machinery import names
from navarch.machinery.cel.environment import Library, Overload
from navarch.machinery.cel.functions import urls
from navarch.machinery.cel.values import NONE, Optional
from navarch.machinery.structural import formats


class NamedFormat:
    """`max_regex_size`: by which checking is charged."""

    __slots__ = ("max_regex_size", "name", "problems")
    type_name = "kubernetes.NamedFormat"

    def __init__(self, name: str, problems: Callable[[str], Sequence[str]], max_regex_size: int) -> None:
        self.name = name
        self.problems = problems
        self.max_regex_size = max_regex_size

    def size(self) -> int:
        return len(self.name)


def _prefix(check: Callable[[str], Sequence[str]]) -> Callable[[str], Sequence[str]]:
    """For what a name starts with: a dash at its end is no problem."""
    return lambda text: check(f"{text[:-1]}a" if text.endswith("-") else text)


def _known(name: str, told: str) -> Callable[[str], Sequence[str]]:
    test = formats.KNOWN[name]
    return lambda text: () if test(text) else (told,)


def _uri(text: str) -> Sequence[str]:
    told = urls.problem(text)
    return (told,) if told else ()


FORMATS = {
    "dns1123Label": NamedFormat("DNS1123Label", names.dns_label, 30),
    "dns1123Subdomain": NamedFormat("DNS1123Subdomain", names.dns_subdomain, 60),
    "dns1035Label": NamedFormat("DNS1035Label", names.dns_label_1035, 30),
    "qualifiedName": NamedFormat("QualifiedName", names.qualified_name, 60),
    "dns1123LabelPrefix": NamedFormat("DNS1123LabelPrefix", _prefix(names.dns_label), 30),
    "dns1123SubdomainPrefix": NamedFormat("DNS1123SubdomainPrefix", _prefix(names.dns_subdomain), 60),
    "dns1035LabelPrefix": NamedFormat("DNS1035LabelPrefix", _prefix(names.dns_label_1035), 30),
    "labelValue": NamedFormat("LabelValue", names.label_value, 40),
    "uri": NamedFormat("URI", _uri, 1103),
    "uuid": NamedFormat("uuid", _known("uuid", "does not match the UUID format"), 70),
    "byte": NamedFormat("byte", _known("byte", "invalid base64"), 84),
    "date": NamedFormat("date", _known("date", "invalid date"), 71),
    "datetime": NamedFormat("datetime", _known("datetime", "invalid datetime"), 71),
}


def _validate(held: NamedFormat, text: str) -> Optional:
    found = held.problems(text)
    return Optional(list(found)) if found else NONE


def _constant(held: NamedFormat) -> Callable[[], NamedFormat]:
    return lambda: held


_TYPE = NamedFormat.type_name
LIBRARY: Library = {
    "validate": (Overload("format-validate", f"{_TYPE}.(string) -> optional_type(list(string))", _validate),),
    "format.named": (
        Overload("format-named", f"(string) -> optional_type({_TYPE})", lambda name: Optional(FORMATS[name]) if name in FORMATS else NONE),
    ),
    **{f"format.{name}": (Overload(f"format.{name}", f"() -> {_TYPE}", _constant(held)),) for name, held in FORMATS.items()},
}
