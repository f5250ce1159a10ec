"""Formats amounts for people, such as `14.13 GB`."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")
_COUNTS = ("", " thousand", " million", " billion")
_THOUSAND = 1000


def bytes_text(size: int) -> str:
    """Formats bytes in decimal units, with two decimals from 1 kB on."""
    return _scaled(size, _UNITS, " ")


def count_text(number: int) -> str:
    """Formats a count, such as `4.23 million`."""
    return _scaled(number, _COUNTS, "")


def _scaled(number: int, units: tuple[str, ...], gap: str) -> str:
    value, unit = float(number), 0
    while value >= _THOUSAND and unit < len(units) - 1:
        value, unit = value / _THOUSAND, unit + 1
    return f"{number if unit == 0 else format(value, '.2f')}{gap}{units[unit]}"
