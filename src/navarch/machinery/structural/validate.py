"""What is wrong with an object, by its schema, in upstream's words.

In: a value as plain dicts, its schema, and for an update the pair of it and the old one (`ratcheting`). Out: one `field.Problem` for
each thing wrong.

This is the slow and exact walk, for objects that `check` found wanting. It counts, as upstream does, how many checks of a clause a
value passes: of anyOf and oneOf it reports the clause that came closest. Problems of clauses as a whole name no field ("<nil>").

Upstream counterparts: kube-openapi's pkg/validation/validate and errors, apiextensions-apiserver's pkg/apiserver/validation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from navarch.machinery import field, goform, regexp
from navarch.machinery.field import Problem
from navarch.machinery.structural import formats, numbers
from navarch.machinery.structural.ratcheting import Correlated, same
from navarch.machinery.structural.schema import Structural, Values

Found = dict[str, Problem]
"""Message → problem: upstream reports equal messages once."""
Outcome = tuple[Found, int]
"""What was found, and how many checks were passed."""
NO_FIELD = "<nil>"
_TYPE_META = ("kind", "apiVersion")


def problems(value: Any, schema: Structural, base: str = "", pair: Correlated | None = None) -> list[Problem]:
    """Everything wrong with a value. `base`: the path of the value itself; `pair`: with the value it replaces, on an update."""
    return list(_Walk(base).visit(schema, value, "", pair)[0].values())


def types(schema: Structural) -> tuple[str, ...]:
    """The JSON types a value may have; empty for any."""
    if schema.int_or_string:
        return ("integer", "string")
    return (schema.type,) if schema.type else ()


def string_format(schema: Structural) -> str:
    """The format, if it means anything for the type."""
    return schema.values.format if formats.supported(schema.values.format, types(schema)) else ""


def kind(value: Any) -> tuple[str, str]:
    """The type and format of a value."""
    match value:
        case bool():
            return "boolean", ""
        case str():
            return "string", ""
        case int() if numbers.is_int64(value):
            return "integer", "int64"
        case int() | float():
            return "number", "float64"
        case list():
            return "array", ""
        case _:
            return "object", ""


def type_mismatch(schema: Structural, value: Any) -> tuple[str, str] | None:
    """For a value of a wrong type, the type that was wanted and the one it has; None for a good one."""
    wanted, form = types(schema), string_format(schema)
    if value is None:
        return (",".join(wanted), "null") if wanted and "null" not in wanted and not schema.nullable else None
    has, has_form = kind(value)
    numeric = "integer" in wanted or "number" in wanted
    if has in ("string", "array"):
        if form and not numeric:
            return None  # upstream asks no more of what has a format: a list passes for a string
        return None if not wanted or has in wanted else (",".join(wanted), has)
    good = has in wanted or (has == "integer" and "number" in wanted)
    good = good or (has == "number" and "integer" in wanted and numbers.is_integral(value))
    if form and not good and has_form != form:
        return form, has_form
    return None if not wanted or good else (",".join(wanted), has)


def in_enum(value: Any, allowed: Iterable[Any]) -> bool:
    """Whether a value is one of some. Numbers count by value; a null is none of them, as upstream has it."""
    if value is None:
        return False
    if isinstance(value, int | float) and not isinstance(value, bool):
        return any(value == one for one in allowed if isinstance(one, int | float) and not isinstance(one, bool))
    return any(same(value, one) for one in allowed)


class _Walk:
    def __init__(self, base: str) -> None:
        self.base = base

    def visit(self, schema: Structural, value: Any, name: str, pair: Correlated | None) -> Outcome:
        found: Found = {}
        count = 0
        for part in self._parts(schema, value, name, pair):
            below, passed = part
            found |= below
            count += passed
        if found and pair is not None and pair.equal():
            return {}, count
        return found, count

    def _parts(self, schema: Structural, value: Any, name: str, pair: Correlated | None) -> Iterable[Outcome]:
        """Each check that applies, in upstream's order, with one more passed for having been made."""
        values = schema.values
        if value is None:
            yield self._type(schema, value, name)
            yield self._enum(values, value, name), 0
            return
        if types(schema) or string_format(schema):
            yield _made(self._type(schema, value, name))
        yield _made(self._clauses(values, value, name))
        if isinstance(value, str):
            yield self._string(values, value, name), 1
            form = string_format(schema)
            if (test := formats.of_string(form)) is not None:
                yield self._format(test(value), form, value, name), 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield self._number(schema, value, name), 2
        elif isinstance(value, list):
            yield _made(self._list(schema, value, name, pair))
        yield self._enum(values, value, name), 1
        if isinstance(value, dict):
            yield _made(self._object(schema, value, name, pair))
        yield {}, 1

    # ---- problems --------------------------------------------------------------------------------------------------

    def _at(self, name: str) -> str:
        name = "" if name == "." else name.removeprefix(".")
        return f"{self.base}.{name}" if self.base and name else self.base or name or NO_FIELD

    def _invalid(self, name: str, value: Any, words: str) -> Found:
        message = words % name if "%s" in words else f"{name} in body {words}"
        return {message: field.invalid(self._at(name), value, message)}

    def _whole(self, message: str) -> Found:
        """A problem that upstream reports of the whole, not of a field."""
        return {message: field.invalid(self.base or NO_FIELD, "", message)}

    # ---- checks ----------------------------------------------------------------------------------------------------

    def _type(self, schema: Structural, value: Any, name: str) -> Outcome:
        mismatch = type_mismatch(schema, value)
        if mismatch is None:
            return {}, 1
        wanted, has = mismatch
        message = f"{name} in body must be of type {wanted}: {field.show(has)}"
        return {message: field.type_invalid(self._at(name), has, message)}, 0

    def _string(self, values: Values, value: str, name: str) -> Found:
        if values.max_length is not None and len(value) > values.max_length:
            message = f"{name} in body should be at most {values.max_length} chars long"
            return {message: field.too_long(self._at(name), values.max_length)}
        if values.min_length is not None and len(value) < values.min_length:
            return self._invalid(name, value, f"should be at least {values.min_length} chars long")
        if values.pattern:
            try:
                wrong = "" if regexp.pattern(values.pattern).matches(value) else values.pattern
            except regexp.Invalid as error:
                wrong = f"{values.pattern}, but pattern is invalid: {error}"
            if wrong:
                message = f"{name} in body should match '{wrong}'"
                return {message: field.invalid(self._at(name), value, message)}
        return {}

    def _format(self, good: bool, form: str, value: str, name: str) -> Found:
        if good:
            return {}
        message = f"{name} in body must be of type {form}: {field.show(value)}"
        return {message: field.type_invalid(self._at(name), value, message)}

    def _number(self, schema: Structural, value: float, name: str) -> Found:
        found: Found = {}
        wanted = types(schema)
        kind = wanted[0] if len(wanted) == 1 and wanted[0] in formats.NUMBERS else ""
        form = schema.values.format if schema.values.format in formats.NUMBERS.get(kind, ()) else ""
        for words, shown in numbers.complaints(value, schema.values, kind, form):
            found |= self._whole(f"{words} in {name}") if shown is None else self._invalid(name, shown, words)
        return found

    def _enum(self, values: Values, value: Any, name: str) -> Found:
        if values.enum is None or in_enum(value, values.enum):
            return {}
        shown = [one if isinstance(one, str) else goform.json(one) for one in values.enum]
        message = f"{name} in body should be one of [{' '.join(shown)}]"
        return {message: field.not_supported(self._at(name), value, shown)}

    def _list(self, schema: Structural, items: Sequence[Any], name: str, pair: Correlated | None) -> Outcome:
        found: Found = {}
        count = 1
        values = schema.values
        if schema.items is not None:
            for i, item in enumerate(items):
                below, passed = self.visit(schema.items, item, f"{name}[{i}]", pair and pair.index(i))
                found |= below
                count += passed
        size = len(items)
        if values.min_items is not None and size < values.min_items:
            found |= self._invalid(name, size, f"should have at least {values.min_items} items")
        if values.max_items is not None and size > values.max_items:
            message = f"{name} in body should have at most {values.max_items} items"
            found[message] = field.too_many(self._at(name), size, values.max_items)
        if values.unique_items and not unique(items):
            found |= self._invalid(name, "", "shouldn't contain duplicates")
        return found, count

    def _object(self, schema: Structural, obj: dict[str, Any], name: str, pair: Correlated | None) -> Outcome:
        found = self._size(schema.values, obj, name)
        count = 0
        for key, value, child, path in self._fields(schema, obj, name):
            if child is None:
                message = f"{name}.{key} in body is a forbidden property"
                found[message] = field.invalid(self._at(name), key, message)
                continue
            below, passed = self.visit(child, value, path, None if pair is None or (not name and key in _TYPE_META) else pair.key(key))
            found |= below
            count += passed
        for key in schema.values.required:
            if key not in obj:
                message = f"{name}.{key} in body is required"
                found.setdefault(message, field.required(self._at(f"{name}.{key}")))
        return found, count

    def _size(self, values: Values, obj: dict[str, Any], name: str) -> Found:
        found: Found = {}
        if values.min_properties is not None and len(obj) < values.min_properties:
            found |= self._invalid(name, len(obj), f"should have at least {values.min_properties} properties")
        if values.max_properties is not None and len(obj) > values.max_properties:
            message = f"{name} in body should have at most {values.max_properties} properties"
            found[message] = field.too_many(self._at(name), len(obj), values.max_properties)
        return found

    def _fields(self, schema: Structural, obj: dict[str, Any], name: str) -> Iterable[tuple[str, Any, Structural | None, str]]:
        """The fields that are there and have a schema; with None the ones that may not be there. First those without a name."""
        if schema.additional is False:
            yield from ((key, value, None, "") for key, value in obj.items() if key not in schema.properties)
        elif isinstance(schema.additional, Structural):
            yield from ((k, v, schema.additional, f"{name}.{k}") for k, v in obj.items() if k not in schema.properties)
        for key, child in schema.properties.items():
            if key in obj:
                yield key, obj[key], child, f"{name}.{key}" if name else key

    # ---- clauses ---------------------------------------------------------------------------------------------------

    def _clauses(self, values: Values, value: Any, name: str) -> Outcome:
        found: Found = {}
        count = 1
        for held, decide in ((values.any_of, self._any_of), (values.one_of, self._one_of), (values.all_of, self._all_of)):
            if held:
                below, passed = self._decided(decide, held, value, name)
                found |= below
                count += passed
        if values.not_ is not None and not self.visit(values.not_, value, name, None)[0]:
            found |= self._whole(f"{field.show(name)} must not validate the schema (not)")
        return found, count

    def _decided(self, decide: Callable[[list[Outcome], str], Outcome], clauses: Sequence[Structural], value: Any, name: str) -> Outcome:
        return decide([self.visit(clause, value, name, None) for clause in clauses], name)

    def _any_of(self, outcomes: list[Outcome], name: str) -> Outcome:
        for found, count in outcomes:
            if not found:
                return {}, count
        found, count = _closest(outcomes)
        return self._whole(f"{field.show(name)} must validate at least one schema (anyOf)") | found, count

    def _one_of(self, outcomes: list[Outcome], name: str) -> Outcome:
        good = [count for found, count in outcomes if not found]
        if len(good) == 1:
            return {}, good[0]
        told = f"Found {len(good)} valid alternatives" if good else "Found none valid"
        whole = self._whole(f"{field.show(name)} must validate one and only one schema (oneOf). {told}")
        if good:
            return whole, 0
        found, count = _closest(outcomes)
        return whole | found, count

    def _all_of(self, outcomes: list[Outcome], name: str) -> Outcome:
        found: Found = {}
        for below, _ in outcomes:
            found |= below
        if found:
            good = sum(not below for below, _ in outcomes)
            found |= self._whole(f"{field.show(name)} must validate all the schemas (allOf){'' if good else '. None validated'}")
        return found, sum(count for _, count in outcomes)


def unique(items: Sequence[Any]) -> bool:
    """Whether no item of a list is there twice. Quadratic as upstream's; definitions may not ask for it."""
    return not any(same(item, other) for i, item in enumerate(items) for other in items[:i])


def _made(outcome: Outcome) -> Outcome:
    found, count = outcome
    return found, count + 1


def _closest(outcomes: list[Outcome]) -> Outcome:
    """Of clauses that all failed, the first with the most checks passed."""
    return max(outcomes, key=lambda outcome: outcome[1])
