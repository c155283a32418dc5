"""YAML from anybody, as the values JSON has: read event by event, within bounds.

In: the bytes of one document (what follows a second `---` is not looked at). Out: builtin values, and which keys a mapping says
twice. Nothing here recurses, whatever the text nests, and nothing is expanded without being counted:

- Aliases are charged as go-yaml charges them: each node of what an alias stands for is a decoding step, and the share of steps that
  come from aliases is bounded by how many there are. Characters are counted too: go-yaml shares the text of an alias, JSON cannot.
- Depth is bounded by what the walks over the values can do (`codec.MOST_DEPTH`); go-yaml says the same sentence at 10,000.

Scalars mean what go-yaml makes of them (YAML 1.1 without base 60; a time is a string; no key but text, numbers and booleans). What
JSON cannot hold, infinity, is refused.

Measured: 1 µs a node where PyYAML's own loader takes 5.

Upstream counterparts: sigs.k8s.io/yaml and go.yaml.in/yaml/v2.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml import cyaml

MOST_ALIASED_BYTES = 3 * 1024 * 1024
"""Characters that aliases may add to a document: as many as a request may have."""
_FREE_STEPS, _FREE_ALIASED = 1000, 100
_RATIO_LOW, _RATIO_HIGH = 400_000, 4_000_000
_MOST_DIRECTIVES = 1000
_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_FIRST = frozenset("0123456789+-.yYnNtTfFoO~")
"""What a plain scalar that is no text begins with."""
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_LONGEST_NUMBER = 4000


class YamlError(ValueError):
    """The text is no such document; the message is upstream's, beginning with `yaml: ` where go-yaml says it."""


@dataclass(slots=True)
class Document:
    """What was read. `shared` tells that parts of the value stand in several places: encode it before it is changed."""

    value: Any = None
    repeated: list[str] = field(default_factory=list)
    """`line 4: key "a" already set in map`, at most `MOST_REPEATED` of them."""
    shared: bool = False


MOST_REPEATED = 100


class _Node:
    """A collection that is being read, or an anchor's value: with what decoding it costs."""

    __slots__ = ("anchor", "bytes", "key", "line", "merging", "steps", "value")

    def __init__(self, value: Any, anchor: str | None) -> None:
        self.value = value
        self.anchor = anchor
        self.steps = 1
        self.bytes = 0
        self.line = 0
        self.key: Any = _NO_KEY
        self.merging = False


_NO_KEY: Any = object()


def load(data: bytes | str, most_depth: int, most_containers: int) -> Document:
    """One document. YamlError when it is none, or costs more than it may."""
    source = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if source.count(b"%TAG") + source.count(b"%\0T") > _MOST_DIRECTIVES:
        # libyaml compares each with all others, in C: 150,000 of them take a minute that nothing interrupts.
        raise YamlError("yaml: too many %TAG directives")
    reader = _Reader(most_depth, most_containers)
    try:
        parser = cyaml.CParser(source)  # type: ignore[attr-defined]
        try:
            reader.read(parser)
        finally:
            parser.dispose()
    except yaml.YAMLError as error:
        raise YamlError(_go_words(error)) from None
    return reader.document


class _Reader:
    """Builds the value of a document from its events, with a stack of its own."""

    def __init__(self, most_depth: int, most_containers: int) -> None:
        self.document = Document()
        self._most_depth = most_depth
        self._containers_left = most_containers
        self._stack: list[_Node] = []
        self._anchors: dict[str, _Node] = {}
        self._steps = self._aliased = self._aliased_bytes = 0

    def read(self, parser: Any) -> None:
        get_event = parser.get_event
        stack = self._stack
        scalar, mapping, sequence = yaml.ScalarEvent, yaml.MappingStartEvent, yaml.SequenceStartEvent
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        while True:
            event = get_event()
            kind = type(event)
            if kind is scalar:
                text = event.value
                value = text if event.tag is None and not event.implicit[0] else _resolved(event.tag, text)
                self._steps += 1
                if event.anchor is not None:
                    node = _Node(value, event.anchor)
                    node.bytes = len(text)
                    self._anchors[event.anchor] = node
                if not stack:
                    self.document.value = _json_value(value)
                    continue
                top = stack[-1]
                top.steps += 1
                top.bytes += len(text)
                if type(top.value) is dict and top.key is _NO_KEY:
                    top.merging = text == "<<" and (event.implicit[0] or event.tag == _TAG + "merge")
                    top.key = value if type(value) is str else _key(value)
                else:
                    self._put(top, _json_value(value), event.start_mark.line)
            elif kind is mapping or kind is sequence:
                self._begin({} if kind is mapping else [], event)
            elif kind in ends:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentEndEvent or kind is yaml.StreamEndEvent:
                return

    def _begin(self, value: Any, event: Any) -> None:
        self._steps += 1
        self._containers_left -= 1
        if not self._containers_left:
            raise YamlError("yaml: exceeded max number of lists and mappings")
        if len(self._stack) >= self._most_depth:
            line = event.start_mark.line
            raise YamlError(f"yaml: {f'line {line + 1}: ' if line else ''}exceeded max depth of 10000")
        if self._stack and type(self._stack[-1].value) is dict and self._stack[-1].key is _NO_KEY:
            raise YamlError(f"yaml: invalid map key: {'map[interface {}]interface {}' if type(value) is dict else '[]interface {}'}{{}}")
        node = _Node(value, event.anchor)
        node.line = event.start_mark.line
        self._stack.append(node)

    def _end(self) -> None:
        node = self._stack.pop()
        if node.anchor is not None:
            self._anchors[node.anchor] = node
        if not self._stack:
            self.document.value = node.value
            return
        top = self._stack[-1]
        top.steps += node.steps
        top.bytes += node.bytes
        self._put(top, node.value, node.line)

    def _alias(self, event: Any) -> None:
        name, line = event.anchor, event.start_mark.line
        node = self._anchors.get(name)
        if node is None:
            if any(open_node.anchor == name for open_node in self._stack):
                raise YamlError(f"yaml: anchor '{name}' value contains itself")
            raise YamlError(f"yaml: unknown anchor '{name}' referenced")
        self._charge(node)
        if not self._stack:
            return
        top = self._stack[-1]
        top.steps += 1 + node.steps
        top.bytes += node.bytes
        if type(top.value) is dict and top.key is _NO_KEY:
            if type(node.value) in (dict, list):
                raise YamlError(f"yaml: invalid map key: {'map[interface {}]interface {}' if type(node.value) is dict else '[]interface {}'}{{}}")
            top.key = _key(node.value)
            return
        if type(node.value) in (dict, list):
            self.document.shared = True
        self._put(top, _json_value(node.value), line)

    def _charge(self, node: _Node) -> None:
        """Counts what an alias stands for. YamlError past go-yaml's bound."""
        self._steps += 1 + node.steps
        self._aliased += node.steps
        self._aliased_bytes += node.bytes
        if self._aliased_bytes > MOST_ALIASED_BYTES:
            raise YamlError("yaml: document contains excessive aliasing")
        if self._aliased > _FREE_ALIASED and self._steps > _FREE_STEPS and self._aliased / self._steps > _allowed_share(self._steps):
            raise YamlError("yaml: document contains excessive aliasing")

    def _put(self, top: _Node, value: Any, line: int) -> None:
        held = top.value
        if type(held) is list:
            held.append(value)
            return
        key, top.key = top.key, _NO_KEY
        if top.merging:
            top.merging = False
            self._merge(held, value)
            return
        if key in held and len(self.document.repeated) < MOST_REPEATED:
            self.document.repeated.append(f"line {line + 1}: key {_quoted(key)} already set in map")
        held[key] = value

    @staticmethod
    def _merge(held: dict[str, Any], value: Any) -> None:
        """`<<: *other`: the keys of another mapping, or of several, of which earlier ones go before later ones."""
        parts = value if type(value) is list else [value]
        if not all(type(part) is dict for part in parts):
            raise YamlError("yaml: map merge requires map or sequence of maps as the value")
        for part in reversed(parts):
            held.update(part)


def _allowed_share(steps: int) -> float:
    """The share of decoding steps that may come from aliases: 99 % of a small document, 10 % of a very large one."""
    if steps <= _RATIO_LOW:
        return 0.99
    if steps >= _RATIO_HIGH:
        return 0.10
    return 0.99 - 0.89 * (steps - _RATIO_LOW) / (_RATIO_HIGH - _RATIO_LOW)


# ---- scalars ------------------------------------------------------------------------------------------------------


def _resolved(tag: str | None, text: str) -> Any:
    """A scalar's value: what its tag says, else what it looks like."""
    if tag is None or tag == "!":
        return _plain(text) if tag is None else text
    short = tag.removeprefix(_TAG)
    if short == "binary":
        return _binary(text)
    if not tag.startswith(_TAG) or short not in ("bool", "int", "float", "null", "timestamp"):
        return text
    value = _plain(text)
    if short == "timestamp" and type(value) is str:
        return text
    if short == "float" and type(value) is int:
        return float(value)
    found = {str: "str", bool: "bool", int: "int", float: "float"}.get(type(value), "null")
    if found != short:
        raise YamlError(f"yaml: cannot decode !!{found} `{text}` as a !!{short}")
    return value


def _plain(text: str) -> Any:
    if text and text[0] not in _FIRST:
        return text
    if text in _WORDS:
        return _WORDS[text]
    first = text[0]
    if first not in "0123456789+-." or len(text) > _LONGEST_NUMBER:
        return text
    if first == ".":
        return _float(text)
    number = text.replace("_", "")
    if _INTEGER.match(number):
        value = _integer(number)
        if -(1 << 63) <= value < 1 << 64:
            return value
    value = _float(number)
    return text if type(value) is str else value


def _integer(number: str) -> int:
    """Go's reading with base 0: 0x, 0b, 0o, and a leading zero means octal."""
    digits = number.lstrip("+-")
    base = {"x": 16, "b": 2, "o": 8}.get(digits[1:2].lower(), 8 if digits[0] == "0" else 10)
    if base == 10 and len(digits) > 20:
        return 1 << 64
    value = int(digits[2:] if digits[1:2].isalpha() else digits, base)
    return -value if number[0] == "-" else value


def _float(text: str) -> Any:
    if not _FLOAT.match(text):
        return text
    value = float(text)
    return text if value in (float("inf"), float("-inf")) else value


def _binary(text: str) -> str:
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
    except binascii.Error:
        raise YamlError("yaml: !!binary value contains invalid base64 data") from None


def _json_value(value: Any) -> Any:
    """A scalar as JSON writes it: a whole number has no fraction. YamlError for what JSON cannot say."""
    if type(value) is not float:
        return value
    if value != value or value in (float("inf"), float("-inf")):
        raise YamlError(f"json: unsupported value: {_infinite(value)}")
    return int(value) if value.is_integer() and abs(value) < 1e21 else value


def _infinite(value: float) -> str:
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"


def _key(value: Any) -> str:
    """A mapping's key as text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _float_key(value)
        case _:
            raise YamlError("unsupported map key of type: %!s(<nil>), key: <nil>")


def _float_key(value: float) -> str:
    """As strconv.FormatFloat(value, 'g', -1, 32) has it."""
    if value != value or value in (float("inf"), float("-inf")):
        return {"NaN": ".nan", "+Inf": ".inf", "-Inf": "-.inf"}[_infinite(value)]
    try:
        (narrow,) = struct.unpack("f", struct.pack("f", value))
    except OverflowError:
        return ".inf" if value > 0 else "-.inf"
    digits = next(p for p in range(1, 18) if struct.pack("f", float(f"{narrow:.{p}g}")) == struct.pack("f", narrow))
    mantissa, _, exponent = f"{narrow:.{digits - 1}e}".partition("e")
    if not -4 <= int(exponent) < 21:
        return f"{mantissa}e{int(exponent):+03d}"
    return f"{narrow:.{max(digits - 1 - int(exponent), 0)}f}"


def _quoted(key: str) -> str:
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _go_words(error: yaml.YAMLError) -> str:
    """A syntax error in the words of go-yaml, whose parser is libyaml's in Go."""
    if isinstance(error, yaml.MarkedYAMLError):
        where = ""
        if error.problem_mark is not None and error.problem_mark.line:
            scanning = isinstance(error, yaml.scanner.ScannerError)
            where = f"line {error.problem_mark.line + scanning}: "
        elif error.context_mark is not None and error.context_mark.line:
            where = f"line {error.context_mark.line}: "
        return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"yaml: {error.reason}"
    return "yaml: unknown problem parsing YAML content"
