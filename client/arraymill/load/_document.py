"""Dataclasses as JSON and back: every field checked, so that a reader of a document meets no surprises later."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from arraymill._text.errors import InputError

T = TypeVar("T")

_WORDS: Final[Mapping[type, str]] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def plain(value: object) -> Any:
    """Return dataclasses as mappings, tuples as lists; numbers that JSON does not have become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in cast("list[object]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(kind: type[T], value: object) -> T:
    """Return the dataclass that a mapping tells; keys that it does not have are those of a later version.

    Raises:
        InputError: A field is missing, or of another type; the line has its place.
    """
    return cast("T", _value(kind, value, ""))


def _value(kind: Any, value: object, place: str) -> Any:
    """Return a value of a type, read from what JSON has for it."""
    if dataclasses.is_dataclass(kind):
        return _record(cast("type[Any]", kind), value, place)
    origin: Any = get_origin(kind)
    if origin in _READERS:
        return _READERS[origin](get_args(kind), value, place)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise _wrong(place, _WORDS.get(kind, "empty"), value)
    return value


def _record(kind: type[Any], value: object, place: str) -> Any:
    told, hints = _mapping(value, place), get_type_hints(kind)
    given = dict[str, Any]()
    for each in dataclasses.fields(kind):
        inner = f"{place}.{each.name}" if place else each.name
        if each.name in told:
            given[each.name] = _value(hints[each.name], told[each.name], inner)
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise InputError(f"{inner} is missing")
    return kind(**given)


def _mapping(value: object, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _wrong(place, "an object", value)
    return cast("Mapping[str, object]", value)


def _list(kinds: tuple[Any, ...], value: object, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(place, "a list", value)
    items = cast("list[object]", value)
    return [_value(kinds[0], item, f"{place}[{number}]") for number, item in enumerate(items)]


def _tuple(kinds: tuple[Any, ...], value: object, place: str) -> tuple[Any, ...]:
    items = _list((Any,), value, place)
    if len(items) != len(kinds):
        raise _wrong(place, f"a list of {len(kinds)}", items)
    return tuple(_value(kind, item, place) for kind, item in zip(kinds, items, strict=True))


def _dict(kinds: tuple[Any, ...], value: object, place: str) -> dict[str, Any]:
    return {key: _value(kinds[1], item, f"{place}.{key}") for key, item in _mapping(value, place).items()}


def _either(kinds: tuple[Any, ...], value: object, place: str) -> Any:
    return None if value is None else _value(next(kind for kind in kinds if kind is not NoneType), value, place)


_READERS: Final[Mapping[Any, Callable[[tuple[Any, ...], object, str], Any]]] = {
    list: _list,
    tuple: _tuple,
    dict: _dict,
    UnionType: _either,
}


def _wrong(place: str, words: str, value: object) -> InputError:
    return InputError(f"{place or 'the document'} is {str(value)[:40]!r}, not {words}")
