"""Reads a JSON object field by field; every complaint names the field and what it holds."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Literal

from vqafast.errors import ModelError

_MISSING: Any = object()


class Fields:
    """One JSON object; `where` is its dotted place in model.json."""

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            what = where or "the top level"
            raise ModelError(f"model.json: {what} must be an object, got {type(data).__name__}")
        self._data: dict[str, Any] = data
        self._where = f"{where}." if where else ""
        self._used: set[str] = set()

    def names(self) -> list[str]:
        return list(self._data)

    def everything(self) -> dict[str, Any]:
        return dict(self._data)

    def done(self) -> None:
        """Fields that nobody asked for are typing errors, so they are errors."""
        unknown = sorted(set(self._data) - self._used)
        if unknown:
            raise ModelError(f"model.json: unknown fields {[self._where + n for n in unknown]}")

    def section(self, name: str) -> Fields:
        return Fields(self._get(name, _MISSING), self._where + name)

    def mapping(self, name: str, default: dict[str, Any]) -> dict[str, Any]:
        return Fields(self._get(name, default), self._where + name).everything()

    def text(self, name: str) -> str:
        value = self._get(name, _MISSING)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "a non-empty string", value)
        return value

    def choice(self, name: str, allowed: tuple[str, ...], *, default: Any = _MISSING) -> str:
        value = self._get(name, default)
        if value not in allowed:
            raise self._wrong(name, f"one of {list(allowed)}", value)
        return str(value)

    def optional_choice(self, name: str, allowed: tuple[str, ...]) -> str | None:
        return None if self._get(name, None) is None else self.choice(name, allowed)

    def boolean(self, name: str, *, default: Any = _MISSING) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def integer(self, name: str, *, low: int, default: Any = _MISSING) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise self._wrong(name, f"an integer >= {low}", value)
        return value

    def integers(self, name: str, *, low: int) -> tuple[int, ...]:
        """Read a list of one or more integers."""
        value = self._get(name, _MISSING)
        good = isinstance(value, list) and value
        if not good or any(not isinstance(v, int) or isinstance(v, bool) or v < low for v in value):
            raise self._wrong(name, f"a list of one or more integers >= {low}", value)
        return tuple(value)

    def optional_integer(self, name: str, *, low: int) -> int | None:
        return None if self._get(name, None) is None else self.integer(name, low=low)

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        return self._number(name, self._get(name, _MISSING), low, high)

    def numbers(self, name: str, count: int, *, positive: bool = False) -> tuple[float, ...]:
        value = self._get(name, _MISSING)
        if not isinstance(value, list) or len(value) != count:
            raise self._wrong(name, f"a list of {count} numbers", value)
        low = math.nextafter(0.0, 1.0) if positive else -math.inf
        return tuple(self._number(name, v, low, math.inf) for v in value)

    def texts(self, name: str, *, default: Any = _MISSING) -> tuple[str, ...]:
        value = self._get(name, default)
        if value is default:
            return tuple(value)
        if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
            raise self._wrong(name, "a list of one or more non-empty strings", value)
        return tuple(value)

    def pairs(self, name: str) -> tuple[tuple[float, float], ...]:
        value = self._get(name, _MISSING)
        good = isinstance(value, list) and value and all(isinstance(v, list) and len(v) == 2 for v in value)
        if not good:
            raise self._wrong(name, "a list of one or more pairs of numbers", value)
        pairs = [[self._number(name, x, -math.inf, math.inf) for x in pair] for pair in value]
        return tuple((a, b) for a, b in pairs)

    def steps(self, name: str) -> tuple[tuple[float, float] | Literal[True], ...]:
        """Read a list of true or pairs of numbers."""
        value = self._get(name, _MISSING)
        if not isinstance(value, list) or not value:
            raise self._wrong(name, "a list of one or more steps", value)
        found: list[tuple[float, float] | Literal[True]] = []
        for step in value:
            if step is True:
                found.append(True)
            elif isinstance(step, list) and len(step) == 2:
                a, b = (self._number(name, x, -math.inf, math.inf) for x in step)
                found.append((a, b))
            else:
                raise self._wrong(name, "true or a pair of numbers in each step", value)
        return tuple(found)

    def optional_pair(self, name: str) -> tuple[int, int] | None:
        value = self._get(name, None)
        if value is None:
            return None
        ok = isinstance(value, list) and len(value) == 2
        if not ok or not all(isinstance(v, int) and v >= 1 for v in value):
            raise self._wrong(name, "null or two integers >= 1", value)
        return (value[0], value[1])

    def rate(self, name: str) -> Fraction:
        """Read a number, or a string such as "30000/1001" where a float would not be exact."""
        value = self._get(name, _MISSING)
        try:
            rate = Fraction(value)
        except (TypeError, ValueError, ZeroDivisionError, OverflowError):
            rate = Fraction(0)
        if isinstance(value, bool) or rate <= 0:
            raise self._wrong(name, "a positive number or fraction", value)
        return rate

    def _number(self, name: str, value: object, low: float, high: float) -> float:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not ok or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
            raise self._wrong(name, f"a finite number in [{low}, {high}]", value)
        return float(value)  # type: ignore[arg-type]

    def _get(self, name: str, default: Any) -> Any:
        self._used.add(name)
        if name in self._data:
            return self._data[name]
        if default is _MISSING:
            raise ModelError(f"model.json: {self._where}{name} is missing")
        return default

    def _wrong(self, name: str, must: str, got: object) -> ModelError:
        return ModelError(f"model.json: {self._where}{name} must be {must}, got {got!r}")
