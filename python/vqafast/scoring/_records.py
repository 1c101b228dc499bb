"""Frozen dataclasses to plain JSON values and back, driven by their type hints."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any

from vqafast.errors import InvalidArgument

JsonValue = dict[str, Any] | list[Any] | str | int | float | bool | None


def to_plain(value: Any) -> Any:
    """Turn nested dataclasses and tuples into dicts and lists.

    Raises
    ------
    InvalidArgument
        If a float is not finite: JSON has no word for it and a score must be a number.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidArgument(f"assessment: every number must be finite, got {value}")
    return value


def from_plain(kind: Any, value: Any, where: str) -> Any:
    """Build `kind` (a dataclass, tuple, optional or scalar type) from plain JSON values.

    Keys that `kind` does not know are ignored, so that a reader keeps working when a later
    version of the same schema adds a field; a missing key without a default is an error.

    Parameters
    ----------
    kind : type
        The annotation to satisfy.
    value : JSON value
        What was read.
    where : str
        Dotted place inside the document, for the message.
    """
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _from_union(kind, value, where)
    if origin is tuple:
        inner = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise _mismatch(where, "a list", value)
        return tuple(from_plain(inner, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is typing.Literal:
        if value not in typing.get_args(kind):
            raise _mismatch(where, f"one of {', '.join(typing.get_args(kind))}", value)
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _from_record(kind, value, where)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise _mismatch(where, kind.__name__, value)
    return value


def _from_union(kind: Any, value: Any, where: str) -> Any:
    options = [k for k in typing.get_args(kind) if k is not type(None)]
    if value is None and len(options) < len(typing.get_args(kind)):
        return None
    return from_plain(options[0], value, where)


def _from_record(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(where, "an object", value)
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            given[field.name] = from_plain(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InvalidArgument(f"{where}: key {field.name!r} must be present")
    return kind(**given)


def _mismatch(where: str, wanted: str, got: Any) -> InvalidArgument:
    return InvalidArgument(f"{where}: must be {wanted}, got {type(got).__name__} {got!r:.60}")
