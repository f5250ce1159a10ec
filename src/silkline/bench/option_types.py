"""Parses durations, shares and bursts from the command line."""

from __future__ import annotations

import re

from silkline.bench.spec import Burst
from silkline.errors import ConfigError

_NUMBER = r"(\d+(?:\.\d+)?)"
_SECONDS = re.compile(rf"{_NUMBER}(ms|s|m|h)")
_SHARE = re.compile(rf"{_NUMBER}(%?)")
_BURST = re.compile(rf"{_NUMBER}x{_SECONDS.pattern}@{_SECONDS.pattern}")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PERCENT = 100.0


def parse_seconds(text: str) -> float:
    """Parses `420ms`, `20s`, `10m` or `1h` into seconds.

    Raises:
        ConfigError: The text has another form, or is 0.
    """
    found = _SECONDS.fullmatch(text)
    seconds = _seconds(found[1], found[2]) if found else 0.0
    if seconds <= 0:
        raise ConfigError(
            f"{text!r} is not a duration above 0. Write it like 420ms, 20s, 10m or 1h."
        )
    return seconds


def parse_share(text: str) -> float:
    """Parses `2%` or `0.02` into a number from 0 to 1.

    Raises:
        ConfigError: The text has another form, or is out of range.
    """
    found = _SHARE.fullmatch(text)
    share = float(found[1]) / (_PERCENT if found[2] else 1.0) if found else -1.0
    if not 0 <= share <= 1:
        raise ConfigError(f"{text!r} is not a share from 0 to 1. Write it like 2% or 0.02.")
    return share


def parse_burst(text: str) -> Burst:
    """Parses `3x20s@60s`: three times the rate, for 20 seconds, every 60 seconds.

    Raises:
        ConfigError: The text has another form.
    """
    found = _BURST.fullmatch(text)
    if found is None or not float(found[1]):
        raise ConfigError(
            f"{text!r} is not a burst. Write it like 3x20s@60s: three times the rate, for 20 s, "
            "every 60 s."
        )
    return Burst(float(found[1]), _seconds(found[2], found[3]), _seconds(found[4], found[5]))


def _seconds(number: str, unit: str) -> float:
    return float(number) * _UNITS[unit]
