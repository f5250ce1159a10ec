"""Numbers of JSON within bounds, as grammars.

Every number is finite in double precision: without bounds an integer has up to 18 digits, and a
number up to 18 digits before the point, 16 after it and two in the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from silkline.engines.grammar import charsets
from silkline.engines.grammar.nodes import (
    EMPTY,
    Chars,
    Literal,
    Node,
    Repeat,
    choice,
    optional,
    series,
)
from silkline.engines.grammar.refusal import Unsupported

_DIGITS = 18
_DECIMALS = 16
_MAX_DIGITS = 40
_D = charsets.DIGIT
_NATURAL = series(Chars(charsets.of("123456789")), Repeat(_D, 0, _DIGITS - 1))
_MINUS = optional(Literal("-"))
_FRACTION = series(Literal("."), Repeat(_D, 1, _DECIMALS))
_EXPONENT = series(Chars(charsets.of("eE")), optional(Chars(charsets.of("+-"))), Repeat(_D, 1, 2))

INTEGER: Node = choice(Literal("0"), series(_MINUS, _NATURAL))
NUMBER: Node = series(
    _MINUS, choice(Literal("0"), _NATURAL), optional(_FRACTION), optional(_EXPONENT)
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values that a number may have; None means no bound.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        above: Whether the lower bound itself is not allowed.
        below: Whether the upper bound itself is not allowed.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False

    @property
    def mirrored(self) -> Bounds:
        """The bounds of the numbers with the other sign."""
        low = None if self.high is None else -self.high
        high = None if self.low is None else -self.low
        return Bounds(low, high, self.below, self.above)


def integer(bounds: Bounds) -> Node:
    """Returns the integers within bounds.

    Raises:
        Unsupported: There is none, or a bound is too large.
    """
    if bounds == Bounds():
        return INTEGER
    low = None if bounds.low is None else _above(bounds.low, strictly=bounds.above)
    high = None if bounds.high is None else -_above(-bounds.high, strictly=bounds.below)
    items = [_natural(0 if low is None else max(0, low), high)]
    negative = _natural(1 if high is None else max(1, -high), None if low is None else -low)
    items.append(None if negative is None else series(Literal("-"), negative))
    return _some(items)


def number(bounds: Bounds) -> Node:
    """Returns the numbers within bounds; with bounds they have no exponent.

    Raises:
        Unsupported: There is none, or a bound is too large or too precise.
    """
    if bounds == Bounds():
        return NUMBER
    negative = _positive(bounds.mirrored)
    items = [_positive(bounds), None if negative is None else series(Literal("-"), negative)]
    return _some(items)


def _some(items: list[Node | None]) -> Node:
    found = [item for item in items if item is not None]
    if not found:
        raise Unsupported("has bounds that no number satisfies. Correct them.")
    return choice(*found)


def _above(value: Decimal, *, strictly: bool) -> int:
    """Returns the lowest integer that is at least, or strictly above, a value."""
    _check(value)
    floor = int(value.to_integral_value(rounding="ROUND_FLOOR"))
    return floor if floor == value and not strictly else floor + 1


def _check(value: Decimal) -> None:
    exponent = value.as_tuple().exponent
    if abs(value) >= Decimal(10) ** _MAX_DIGITS or not isinstance(exponent, int):
        raise Unsupported(f"has a bound with more than {_MAX_DIGITS} digits. Use a smaller one.")
    if exponent < -_DECIMALS:
        raise Unsupported(f"has a bound with more than {_DECIMALS} decimals. Use fewer.")


def _natural(low: int, high: int | None) -> Node | None:
    """Returns the integers from `low`, at least 0, to `high`; None if there is none."""
    if high is None:
        high = 10 ** max(_DIGITS, len(str(low)) + 1) - 1
    if high < low:
        return None
    items = []
    for digits in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (digits - 1) if digits > 1 else 0)
        last = min(high, 10**digits - 1)
        items.append(_same_length(str(first), str(last)))
    return choice(*items)


def _same_length(low: str, high: str) -> Node:
    """Returns the texts of digits from `low` to `high`, which are as long."""
    if not low:
        return EMPTY
    if not low.strip("0") and not high.strip("9"):
        return Repeat(_D, len(low), len(low))
    if low[0] == high[0]:
        return series(Literal(low[0]), _same_length(low[1:], high[1:]))
    rest = len(low) - 1
    first, last = int(low[0]), int(high[0])
    items = []
    if low[1:].strip("0"):
        items.append(series(Literal(low[0]), _same_length(low[1:], "9" * rest)))
        first += 1
    if high[1:].strip("9"):
        items.append(series(Literal(high[0]), _same_length("0" * rest, high[1:])))
        last -= 1
    if first <= last:
        items.append(series(_digits(first, last), Repeat(_D, rest, rest)))
    return choice(*items)


def _digits(first: int, last: int) -> Node:
    return Chars(((ord(str(first)), ord(str(last))),))


def _positive(bounds: Bounds) -> Node | None:
    """Returns the numbers from 0 within bounds; None if there is none."""
    low, above = bounds.low, bounds.above
    if low is None or low < 0:
        low, above = Decimal(0), False
    _check(low)
    whole_low, part_low = _parts(low)
    if bounds.high is None:
        whole_high, part_high = None, ""
    else:
        _check(bounds.high)
        if bounds.high < low:
            return None
        whole_high, part_high = _parts(bounds.high)
    if whole_low == whole_high:
        inner = _Decimals(part_low, part_high, above, bounds.below).fraction()
        return None if inner is None else series(Literal(str(whole_low)), inner)
    items: list[Node] = []
    start = _Decimals(part_low, None, above, below=False).fraction()
    if start is not None:
        items.append(series(Literal(str(whole_low)), start))
    between = _natural(whole_low + 1, None if whole_high is None else whole_high - 1)
    if between is not None:
        items.append(series(between, optional(_FRACTION)))
    if whole_high is not None:
        end = _Decimals(None, part_high, above=False, below=bounds.below).fraction()
        if end is not None:
            items.append(series(Literal(str(whole_high)), end))
    return choice(*items) if items else None


def _parts(value: Decimal) -> tuple[int, str]:
    """Returns a number's integer, and its decimals filled up to their maximum."""
    whole, _, part = format(value, "f").partition(".")
    return int(whole), part.ljust(_DECIMALS, "0")[:_DECIMALS]


@dataclass(frozen=True, slots=True)
class _Decimals:
    """The decimals after the point between two bounds, as digits; None means no bound."""

    low: str | None
    high: str | None
    above: bool
    below: bool

    def fraction(self) -> Node | None:
        """Returns the point and the decimals, or nothing where they may be left out."""
        inner = self._after(self.low, self.high, _DECIMALS)
        items: list[Node] = []
        if self._zero(self.low, self.high):
            items.append(EMPTY)
        if inner is not None:
            items.append(series(Literal("."), inner))
        return choice(*items) if items else None

    def _zero(self, low: str | None, high: str | None) -> bool:
        """Whether no more decimals, which is as good as zeros, are within the bounds."""
        low_fits = low is None or (not low.strip("0") and not self.above)
        return low_fits and (high is None or bool(high.strip("0")) or not self.below)

    def _after(self, low: str | None, high: str | None, room: int) -> Node | None:
        """Returns 1 to `room` more decimals; None if none fits."""
        if low is not None and not low.strip("0") and not self.above:
            low = None
        if low is None and high is None:
            return Repeat(_D, 1, room)
        if room == 0:
            return None
        items: list[Node] = []
        free: list[str] = []
        for digit in "0123456789":
            if (low and digit < low[0]) or (high and digit > high[0]):
                continue
            next_low = low[1:] if low and digit == low[0] else None
            next_high = high[1:] if high and digit == high[0] else None
            if next_low is None and next_high is None:
                free.append(digit)
                continue
            more = self._after(next_low, next_high, room - 1)
            zero = self._zero(next_low, next_high)
            if more is not None:
                items.append(series(Literal(digit), optional(more) if zero else more))
            elif zero:
                items.append(Literal(digit))
        if free:
            items.append(series(_digits(int(free[0]), int(free[-1])), Repeat(_D, 0, room - 1)))
        return choice(*items) if items else None
