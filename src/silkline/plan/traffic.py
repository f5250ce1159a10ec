"""Traffic over time: a curve read from a CSV file, or one of the curves that come with Silkline."""

from __future__ import annotations

import bisect
import csv
import itertools
import math
from pathlib import Path

import msgspec

from silkline.errors import ConfigError

DAY = 86_400.0
_MINUTE = 60.0
_NIGHT = 0.25
"""Share of the peak that remains in the quietest hour of the built-in day."""

_PEAK_HOUR = 20
_SALE_MINUTES = 15
_RAMP_MINUTES = 2


class Curve(msgspec.Struct, frozen=True):
    """Requests a second over time, linear between the points.

    Attributes:
        seconds: Ascending times, the first 0.
        rates: Requests a second at these times, at least 0.
    """

    seconds: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def end(self) -> float:
        """When the traffic ends, in seconds."""
        return self.seconds[-1]

    def rate(self, at: float) -> float:
        """Requests a second at a time."""
        index = bisect.bisect_right(self.seconds, at)
        if index in {0, len(self.seconds)}:
            return self.rates[min(index, len(self.rates) - 1)]
        begin, end = self.seconds[index - 1], self.seconds[index]
        low, high = self.rates[index - 1], self.rates[index]
        return low + (high - low) * (at - begin) / (end - begin)

    def total(self) -> float:
        """Requests of the whole curve."""
        return sum(
            (self.rates[index] + self.rates[index + 1]) / 2
            * (self.seconds[index + 1] - self.seconds[index])
            for index in range(len(self.seconds) - 1)
        )  # fmt: skip

    def scaled(self, requests: float) -> Curve:
        """The same shape with so many requests in all."""
        factor = requests / self.total()
        return Curve(self.seconds, tuple(rate * factor for rate in self.rates))

    def between(self, begin: float, end: float) -> Curve:
        """The part between two times, which then begins at 0."""
        inside = [at for at in self.seconds if begin < at < end]
        times = (begin, *inside, min(end, self.end))
        return Curve(tuple(at - begin for at in times), tuple(map(self.rate, times)))


def day_curve(requests: float) -> Curve:
    """A day with so many requests: quiet at night, with its peak in the evening."""
    minutes = range(int(DAY / _MINUTE) + 1)

    def shape(minute: int) -> float:
        angle = 2 * math.pi * (minute / 60 - _PEAK_HOUR) / 24
        return _NIGHT + (1 - _NIGHT) * (1 + math.cos(angle)) / 2

    times = tuple(minute * _MINUTE for minute in minutes)
    return Curve(times, tuple(map(shape, minutes))).scaled(requests)


def flash_sale_curve(requests: float, factor: float) -> Curve:
    """A day of so many requests, with a sale at the peak hour on top.

    Args:
        requests: Of the day without the sale.
        factor: How many times the usual rate comes during the sale, for a quarter of an hour,
            after a rise of two minutes.
    """
    day, begin = day_curve(requests), _PEAK_HOUR * 60

    def times(minute: float) -> float:
        rise = min(1.0, max(0.0, (minute - begin) / _RAMP_MINUTES))
        fall = min(1.0, max(0.0, (begin + _SALE_MINUTES + _RAMP_MINUTES - minute) / _RAMP_MINUTES))
        return 1 + (factor - 1) * min(rise, fall)

    rates = tuple(
        rate * times(at / _MINUTE) for at, rate in zip(day.seconds, day.rates, strict=True)
    )
    return Curve(day.seconds, rates)


def read_curve(path: Path) -> Curve:
    """Reads a CSV file with the columns `seconds` and `rate` (requests a second).

    Raises:
        ConfigError: It cannot be read, or is no such file.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            points = [(float(row["seconds"]), float(row["rate"])) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise ConfigError(
            f"{path} is not a traffic file. It must be a CSV file with the columns seconds and "
            "rate, and a number in each."
        ) from error
    times, rates = [at for at, _ in points], [rate for _, rate in points]
    ascending = all(later > at for at, later in itertools.pairwise(times))
    finite = all(map(math.isfinite, (*times, *rates)))
    if len(points) < 2 or times[0] != 0 or not ascending or not finite or min(rates) < 0:  # noqa: PLR2004
        raise ConfigError(
            f"{path} is not a traffic file: it needs at least two rows, with seconds that begin at "
            "0 and rise, and rates of at least 0."
        )
    if not any(rates):
        raise ConfigError(f"{path} has no requests: all its rates are 0.")
    return Curve(tuple(times), tuple(rates))
