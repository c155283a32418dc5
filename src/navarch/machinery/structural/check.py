"""Whether an object is valid by its schema: yes or no, fast.

In: the tree of a schema. Out: a test, compiled once into closures, that says of a value whether `validate.problems` would find nothing.
Most objects are valid: they meet one pass of this, and only the others meet the exact one. Both must agree; a test holds them to it.

A field whose schema asks for no more than a class of value is looked up in a table and never leads to a call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from navarch.machinery import regexp
from navarch.machinery.structural import formats, numbers, validate
from navarch.machinery.structural.schema import Structural, Values

Test = Callable[[Any], bool]
_SAMPLES: tuple[Any, ...] = (True, "", 0, 0.5, [], {})
"""A value of each class; a float that is no whole number, since whole ones pass for integers too."""
_CONTAINERS = (dict, list)


def compiled(schema: Structural) -> Test:
    """The test of a place."""
    classes = frozenset(sample.__class__ for sample in _SAMPLES if validate.type_mismatch(schema, sample) is None)
    by_class = {one: _of_class(schema, one) for one in classes}
    null = validate.type_mismatch(schema, None) is None and schema.values.enum is None
    whole_floats = float not in classes and validate.type_mismatch(schema, 1.0) is None
    clauses = _clauses(schema.values)

    def test(value: Any) -> bool:
        if value is None:
            return null
        one = value.__class__
        if one is int and not numbers.MIN_INT64 <= value <= numbers.MAX_INT64:
            return not validate.problems(value, schema)
        if one in by_class:
            inner = by_class[one]
            return (inner is None or inner(value)) and (clauses is None or clauses(value))
        return bool(whole_floats and one is float and not validate.problems(value, schema))

    if clauses is None and len(by_class) == 1:
        ((one, inner),) = by_class.items()
        if one is int and schema.values.enum is None:
            return _integer(schema, test)
        if not whole_floats:
            return _single(one, inner, null)
    return test


def _single(one: type, inner: Test | None, null: bool) -> Test:
    """For the commonest places: one class of value, no clauses."""
    if inner is None:
        return lambda value: value.__class__ is one or (null and value is None)
    return lambda value: inner(value) if value.__class__ is one else null and value is None


def _integer(schema: Structural, otherwise: Test) -> Test:
    """Most integers are small and within plain bounds."""
    low, high = _plain_bounds(schema.values)
    return lambda value: (value.__class__ is int and low <= value <= high) or otherwise(value)


def _of_class(schema: Structural, one: type) -> Test | None:
    """What is asked of a value of the class, once that is right; None for nothing."""
    tests = {str: _string, int: _number, float: _number, list: _list, dict: _object}
    test = tests[one](schema) if one in tests else None
    allowed = schema.values.enum
    if allowed is None:
        return test
    if one is str:
        words = frozenset(word for word in allowed if word.__class__ is str)
        return _both(words.__contains__, test)
    return _both(lambda value: validate.in_enum(value, allowed), test)


def _both(first: Test, second: Test | None) -> Test:
    return first if second is None else lambda value: first(value) and second(value)


def _all(tests: list[Test]) -> Test | None:
    made: Test | None = None
    for test in reversed(tests):
        made = _both(test, made)
    return made


def _string(schema: Structural) -> Test | None:
    values = schema.values
    tests: list[Test] = []
    if values.max_length is not None or values.min_length is not None:
        low, high = values.min_length or 0, values.max_length
        tests.append((lambda text: low <= len(text)) if high is None else (lambda text: low <= len(text) <= high))
    if values.pattern:
        tests.append(_matches(values.pattern))
    form = formats.of_string(validate.string_format(schema))
    if form is not None:
        tests.append(form)
    return _all(tests)


def _matches(pattern: str) -> Test:
    if regexp.problem(pattern):
        return lambda text: False
    return regexp.pattern(pattern).matches


def _number(schema: Structural) -> Test | None:
    """Plain bounds are compared at once; what else is asked of a number the exact walk knows."""
    values = schema.values
    if not values.format and values.multiple_of is None and values.minimum is None and values.maximum is None:
        return None
    low, high = _plain_bounds(values)
    return lambda value: low <= value <= high or not _number_problems(schema, value)


def _plain_bounds(values: Values) -> tuple[float, float]:
    """Between which numbers every value is good, whatever its format; an empty range where that is not easily said."""
    low, high = values.minimum, values.maximum
    plain = values.multiple_of is None and not values.exclusive_minimum and not values.exclusive_maximum
    if not plain or not all(bound is None or (bound.is_integer() and abs(bound) < 2**53) for bound in (low, high)):
        return 1, 0
    return -(2**31) if low is None else max(int(low), -(2**31)), 2**31 - 1 if high is None else min(int(high), 2**31 - 1)


def _number_problems(schema: Structural, value: float) -> bool:
    return bool(validate.problems(value, _bare_number(schema)))


def _bare_number(schema: Structural) -> Structural:
    """The schema without its enum and clauses, which are tested by themselves."""
    held = schema.values
    return Structural(
        type=schema.type,
        int_or_string=schema.int_or_string,
        values=Values(
            format=held.format,
            multiple_of=held.multiple_of,
            minimum=held.minimum,
            exclusive_minimum=held.exclusive_minimum,
            maximum=held.maximum,
            exclusive_maximum=held.exclusive_maximum,
        ),
    )


def _list(schema: Structural) -> Test | None:
    values = schema.values
    tests: list[Test] = []
    if values.min_items is not None or values.max_items is not None:
        low, high = values.min_items or 0, values.max_items
        tests.append((lambda items: low <= len(items)) if high is None else (lambda items: low <= len(items) <= high))
    if schema.items is not None:
        item = compiled(schema.items)
        tests.append(lambda items: all(map(item, items)))
    if values.unique_items:
        tests.append(validate.unique)
    return _all(tests)


def _object(schema: Structural) -> Test | None:
    values = schema.values
    tests: list[Test] = []
    if values.min_properties is not None or values.max_properties is not None:
        low, high = values.min_properties or 0, values.max_properties
        tests.append((lambda obj: low <= len(obj)) if high is None else (lambda obj: low <= len(obj) <= high))
    if values.required:
        required = frozenset(values.required)
        tests.append(lambda obj: required <= obj.keys())
    if schema.properties or schema.additional is False or isinstance(schema.additional, Structural):
        tests.append(_fields(schema))
    return _all(tests)


def _fields(schema: Structural) -> Test:
    named = {name: compiled(child) for name, child in schema.properties.items()}
    if schema.additional is False:
        extra: Test | None = _never
    else:
        extra = compiled(schema.additional) if isinstance(schema.additional, Structural) else None
    if not named and extra is not None:
        only = extra
        return lambda obj: all(map(only, obj.values()))
    first: Mapping[str, Any] = named | _plain_classes(schema.properties)

    def test(obj: dict[str, Any]) -> bool:
        for name, value in obj.items():
            inner = first.get(name, extra)
            if inner is value.__class__ or inner is None:
                continue
            if inner.__class__ is type:
                inner = named[name]
            if not inner(value):
                return False
        return True

    return test


def _never(value: Any) -> bool:
    return False


def _plain_classes(properties: Mapping[str, Structural]) -> dict[str, type]:
    """Fields of which every value of a class is good, with the class. A number is never one: it may be too large."""
    found: dict[str, type] = {}
    for name, child in properties.items():
        for one, sample in ((str, ""), (bool, True)):
            if validate.type_mismatch(child, sample) is None and _of_class(child, one) is None and _clauses(child.values) is None:
                found.setdefault(name, one)
    return found


def _clauses(values: Values) -> Test | None:
    tests: list[Test] = []
    if values.any_of:
        some = [compiled(clause) for clause in values.any_of]
        tests.append(lambda value: any(clause(value) for clause in some))
    if values.one_of:
        one = [compiled(clause) for clause in values.one_of]
        tests.append(lambda value: sum(clause(value) for clause in one) == 1)
    tests += (compiled(clause) for clause in values.all_of)
    if values.not_ is not None:
        refused = compiled(values.not_)
        tests.append(lambda value: not refused(value))
    return _all(tests)
