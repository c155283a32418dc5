"""Flags from declarations: a dataclass's fields become upstream-style flags.

`hostname_override: str = ""` is `--hostname-override NAME`. Both `--flag value` and `--flag=value` work; booleans also stand
alone; durations may be Go's ("10s", "1m30s"); sequences are comma-separated and may be repeated; maps are `key=value` lists.
What is unknown is refused with upstream's words.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE, _FALSE = ("true", "t", "1"), ("false", "f", "0")


class FlagError(ValueError):
    """The command line cannot be understood; the message says which word and why."""


def flag_name(field: str) -> str:
    return "--" + field.strip("_").replace("_", "-")


def parse_mixed(kind: type[T], words: Sequence[str]) -> tuple[T, list[str]]:
    """Options, and the words among them that are no flags nor values of flags, in their order."""
    hints = typing.get_type_hints(kind)
    wanted = {flag_name(f.name): hints[f.name] for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    options: list[str] = []
    plain: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            plain.append(word)
            continue
        name = _double(word)
        options.append(f"{word}={_next(rest, wanted[name], name)}" if name in wanted else word)
    return parse(kind, options)[0], plain


def parse(kind: type[T], words: Sequence[str], extra: Mapping[str, type] | None = None) -> tuple[T, dict[str, Any]]:
    """Options from the words after a command. `extra` are flags that are not the component's own (as `v`): they come apart."""
    hints = typing.get_type_hints(kind)
    fields = {flag_name(f.name): f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    extras: dict[str, Any] = {}
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = _double(name)
        target = fields.get(name)
        wanted = hints[target.name] if target is not None else (extra or {}).get(name.removeprefix("--"))
        if wanted is None:
            raise FlagError(f"unknown flag: {name}" if name.startswith("-") else f"unexpected argument: {word}")
        if not equals:
            value = _next(rest, wanted, name)
        made = convert(wanted, value, name)
        if target is None:
            extras[name.removeprefix("--")] = made
        else:
            values[target.name] = (*values.get(target.name, ()), *made) if isinstance(made, tuple) else made
    needed = [f for f in fields.values() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    for each in needed:
        if each.name not in values:
            raise FlagError(f"required flag not set: {flag_name(each.name)}")
    return kind(**values), extras


def _double(name: str) -> str:
    """`-v` means `--v`."""
    return f"-{name}" if re.fullmatch(r"-[a-zA-Z]", name) else name


def _next(rest: list[str], wanted: Any, name: str) -> str:
    if wanted is bool:
        return "true"
    if not rest:
        raise FlagError(f"flag needs an argument: {name}")
    return rest.pop(0)


def convert(wanted: Any, text: str, name: str) -> Any:
    """A flag's value from its text. FlagError when it does not fit."""
    origin = typing.get_origin(wanted)
    try:
        if origin in (types.UnionType, typing.Union):
            return convert(next(a for a in typing.get_args(wanted) if a is not type(None)), text, name)
        if origin is collections.abc.Mapping or origin is dict:
            pairs = (part.partition("=") for part in text.split(",") if part)
            return {key: convert(typing.get_args(wanted)[1], value, name) for key, _, value in pairs}
        if origin in (tuple, list, collections.abc.Sequence):
            return tuple(convert(typing.get_args(wanted)[0], part.strip(), name) for part in text.split(",") if part.strip())
        if wanted is bool:
            return _boolean(text)
        if wanted is float:
            return duration(text)
        if wanted is int:
            return int(text)
        return text
    except ValueError as error:
        if isinstance(error, FlagError):
            raise
        raise FlagError(f'invalid argument "{text}" for "{name}" flag: {error}') from None


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("neither true nor false")


def duration(text: str) -> float:
    """Seconds from a plain number or from Go's form."""
    try:
        return float(text)
    except ValueError:
        pass
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError("no duration")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def usage(kind: type[Any]) -> str:
    """The flags of a declaration with their defaults, a line each."""
    lines = []
    for field in dataclasses.fields(kind):
        default = field.default if field.default is not dataclasses.MISSING else ""
        shown = f" (default {default!r})" if default not in ("", (), None) else ""
        lines.append(f"  {flag_name(field.name)}{shown}")
    return "\n".join(lines)
