"""What is asked of a deployment: how often, how large, how soon."""

from __future__ import annotations

import re

import msgspec

from silkline.errors import ConfigError

_TIMES = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86400}
_RATE = re.compile(r"(\d+(?:\.\d+)?)([kMB]?)/(s|min|h|day)", re.ASCII)
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([kMB]?)")


class Workload(msgspec.Struct, frozen=True):
    """The traffic of a deployment; what is not known has a usual value.

    Attributes:
        rate: Requests a second, on average.
        slo: P99 of the latency in seconds.
        peak: How many times as much at the peak, for which it is planned.
        hit_rate: Share that the answer cache answers.
        image: Width and height of an image in pixels.
        image_bytes: Bytes of an image's file.
        prompt_tokens: Tokens of text in a prompt.
        answer_tokens: Tokens of an answer.
    """

    rate: float
    slo: float
    peak: float = 3.0
    hit_rate: float = 0.0
    image: tuple[int, int] = (1024, 768)
    image_bytes: int = 100_000
    prompt_tokens: int = 32
    answer_tokens: int = 64

    @property
    def megapixels(self) -> float:
        """Millions of pixels of an image."""
        return self.image[0] * self.image[1] / 1e6

    @property
    def computed(self) -> float:
        """Requests a second that an engine answers at the peak."""
        return self.rate * self.peak * (1 - self.hit_rate)


def parse_rate(text: str) -> float:
    """Requests a second, from a text such as 12M/day or 140/s.

    Raises:
        ConfigError: It is none.
    """
    found = _RATE.fullmatch(text)
    if found is None or not float(found[1]):
        raise ConfigError(f"{text!r} is not a rate. Write it as 12M/day, 400k/h or 25/s.")
    return float(found[1]) * _TIMES[found[2]] / _SECONDS[found[3]]


def parse_count(text: str) -> int:
    """A number, from a text such as 7.06B.

    Raises:
        ConfigError: It is none.
    """
    found = _COUNT.fullmatch(text)
    if found is None or not float(found[1]):
        raise ConfigError(f"{text!r} is no number. Write it as 7.06B, 450M or 4200000.")
    return round(float(found[1]) * _TIMES[found[2]])
