"""Label and field selectors: text → predicate.

Label selectors know `=`, `==`, `!=`, `in`, `notin`, `exists`, `!exists`, `<`, `>`; field selectors `=`, `==`, `!=`. A
`LabelSelector` object (matchLabels, matchExpressions) compiles to the same form.

Upstream counterparts: k8s.io/apimachinery/pkg/labels and /fields, and metav1.LabelSelectorAsSelector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from navarch.api.meta import v1 as meta_v1
from navarch.lib import integers, texts
from navarch.machinery import names

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")
EQUALS, NOT_EQUALS, IN, NOT_IN, EXISTS, NOT_EXISTS, LESS, GREATER = "=", "!=", "in", "notin", "exists", "!", "lt", "gt"
MOST_REQUIREMENTS = 1000
"""Terms a selector from a request may have: each is asked of every object of a list."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one key."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        held = labels.get(self.key)
        match self.operator:
            case "in" | "=":
                return held is not None and held in self.values
            case "notin" | "!=":
                return held is None or held not in self.values
            case "exists":
                return held is not None
            case "!":
                return held is None
            case _:
                return held is not None and self._compares(held)

    def _compares(self, held: str) -> bool:
        try:
            number, bound = integers.required(held), integers.required(next(iter(self.values)))
        except ValueError:
            return False
        return number < bound if self.operator == LESS else number > bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case "lt" | "gt":
                return f"{self.key}{'<' if self.operator == LESS else '>'}{next(iter(self.values))}"
            case _:
                return f"{self.key}{self.operator}{next(iter(self.values))}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold. No requirement: everything matches; `nothing`: nothing does."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        held = labels or {}
        return all(r.matches(held) for r in self.requirements)

    @property
    def empty(self) -> bool:
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = Selector()
NOTHING = Selector(nothing=True)


class _Parser:
    """A reader of the label selector grammar; errors are upstream's."""

    def __init__(self, text: str) -> None:
        self.tokens = self._tokens(text)
        self.at = 0

    @staticmethod
    def _tokens(text: str) -> list[str]:
        return [m[1] for m in _TOKEN.finditer(text.rstrip())]  # trailing blanks are no token, and would be looked at once from each of them

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def selector(self) -> Selector:
        found: list[Requirement] = []
        while self.peek():
            found.append(self.requirement())
            if len(found) > MOST_REQUIREMENTS:
                raise ValueError(f"too many requirements: a selector may have {MOST_REQUIREMENTS}")
            separator = self.take()
            if separator not in ("", ","):
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            if separator == "," and not self.peek():
                raise ValueError("found '', expected: identifier after ','")
        return Selector(tuple(found))

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return Requirement(self.key(), NOT_EXISTS)
        key = self.key()
        operator = self.peek()
        if operator in ("", ","):
            return Requirement(key, EXISTS)
        self.take()
        if operator in ("=", "=="):
            return Requirement(key, EQUALS, self.values_of(key, {self.exact()}))
        if operator == "!=":
            return Requirement(key, NOT_EQUALS, self.values_of(key, {self.exact()}))
        if operator in ("<", ">"):
            return Requirement(key, LESS if operator == "<" else GREATER, frozenset({self.integer(self.exact())}))
        if operator in (IN, NOT_IN):
            return Requirement(key, operator, self.values_of(key, self.set_of_values()))
        raise ValueError(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def key(self) -> str:
        key = self.take()
        if problems := names.qualified_name(key):
            raise ValueError(f'key: Invalid value: "{key}": {"; ".join(problems)}')
        return key

    @staticmethod
    def values_of(key: str, values: set[str]) -> frozenset[str]:
        for value in values:
            if problems := names.label_value(value):
                raise ValueError(f'values[0][{key}]: Invalid value: "{value}": {"; ".join(problems)}')
        return frozenset(values)

    @staticmethod
    def integer(text: str) -> str:
        try:
            integers.required(text)
        except ValueError:
            raise ValueError(f"values[0]: Invalid value: \"{text}\": for 'Gt', 'Lt' operators, the value must be an integer") from None
        return text

    def exact(self) -> str:
        if self.peek() in ("", ","):
            return ""
        return self.take()

    def set_of_values(self) -> set[str]:
        if (opening := self.take()) != "(":
            raise ValueError(f"found '{opening}', expected: '('")
        values: set[str] = set()
        while True:
            token = self.take()
            if token == ")":
                values.add("")
                return values
            if token == ",":
                values.add("")
                continue
            if not token:
                raise ValueError("found '', expected: ',' or ')'")
            values.add(token)
            if (after := self.take()) == ")":
                return values
            if after != ",":
                raise ValueError(f"found '{after}', expected: ',' or ')'")


@texts.remembered(1024)
def parse_labels(text: str) -> Selector:
    """A label selector from its text. ValueError in upstream's words when it is none."""
    return _Parser(text).selector() if text.strip() else EVERYTHING


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    field: str
    equal: bool
    value: str


_FIELD = re.compile(r"((?:[^=!\\]|\\.)+)(==|!=|=)((?:[^,\\]|\\.)*)")


@texts.remembered(1024)
def parse_fields(text: str) -> tuple[FieldRequirement, ...]:
    """A field selector's terms. ValueError in upstream's words when it is none."""
    found: list[FieldRequirement] = []
    for term in re.split(r"(?<!\\),", text):
        if len(found) >= MOST_REQUIREMENTS:
            raise ValueError(f"invalid selector: too many requirements: a selector may have {MOST_REQUIREMENTS}")
        if not term.strip():
            continue
        match = _FIELD.fullmatch(term.strip())
        if match is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        value = re.sub(r"\\(.)", r"\1", match[3])
        found.append(FieldRequirement(match[1], match[2] != "!=", value))
    return tuple(found)


def match_fields(terms: tuple[FieldRequirement, ...], fields: Mapping[str, str]) -> bool:
    """Whether an object with these selectable fields matches."""
    return all((fields.get(t.field, "") == t.value) == t.equal for t in terms)


_OPERATORS = {"In": IN, "NotIn": NOT_IN, "Exists": EXISTS, "DoesNotExist": NOT_EXISTS, "Gt": GREATER, "Lt": LESS}


def from_object(selector: meta_v1.LabelSelector | None) -> Selector:
    """A LabelSelector object: absent matches nothing, empty matches everything."""
    if selector is None:
        return NOTHING
    found = [Requirement(k, EQUALS, frozenset({v})) for k, v in (selector.matchLabels or {}).items()]
    for e in selector.matchExpressions or ():
        operator = _OPERATORS.get(e.operator or "")
        if operator is None:
            raise ValueError(f'"{e.operator}" is not a valid label selector operator')
        found.append(Requirement(e.key or "", operator, frozenset(e.values or ())))
    return Selector(tuple(found))


def from_set(labels: Mapping[str, str] | None) -> Selector:
    """A map selector (Service, ReplicationController): absent or empty matches nothing."""
    if not labels:
        return NOTHING
    return Selector(tuple(Requirement(k, EQUALS, frozenset({v})) for k, v in labels.items()))


def expression(key: str, operator: str, values: Any) -> Requirement:
    """One term of a node selector or label selector, from its object form."""
    return Requirement(key, _OPERATORS[operator], frozenset(values or ()))
