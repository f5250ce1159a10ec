"""What a run of the bench is: the targets, the arrivals, the traffic, all of it plain values.

A `Spec` crosses the process boundary as JSON: every player makes the same schedule from it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from silkline.errors import ConfigError


class Form(StrEnum):
    """How a picture is sent."""

    DATA_URL = "data-url"
    UPLOAD = "upload"
    URL = "url"


class Burst(msgspec.Struct, frozen=True):
    """Every `every` seconds the rate is multiplied for a while.

    Attributes:
        factor: What the rate is multiplied with, above 0.
        seconds: How long each burst lasts.
        every: Seconds from the beginning of one burst to that of the next; the first begins at
            `every`, so that a run starts calm.
    """

    factor: float
    seconds: float
    every: float


class Arrivals(msgspec.Struct, frozen=True):
    """When requests come: a Poisson process whose rate bursts multiply.

    Attributes:
        rate: Requests a second outside of bursts, above 0.
        seconds: Length of the schedule.
        burst: The bursts, if there are any.
        seed: Equal seeds give equal schedules.
    """

    rate: float
    seconds: float
    burst: Burst | None = None
    seed: int = 1


class Traffic(msgspec.Struct, frozen=True):
    """What is asked.

    Attributes:
        catalogue: Pictures in the catalogue, at least 1.
        zipf: Exponent of the popularity: the picture of rank r is asked for in proportion to
            1 / r**zipf; 0 makes all alike.
        new: Share of requests with a picture that was never sent before, 0 to 1.
        near: Share of requests with a near-duplicate of a catalogue picture, 0 to 1.
        pixels: Width and height of the drawn pictures.
        folder: The user's own pictures instead of drawn ones.
        requests: A JSONL file with pictures and prompts instead of drawn pictures.
        form: How a picture is sent.
        prompts: One of them is asked about each picture, the same one every time.
        max_tokens: Most tokens of an answer.
        stream: Whether the answer is streamed.
        model: The model's name in chat requests; empty asks the target for it.
    """

    catalogue: int = 1000
    zipf: float = 1.0
    new: float = 0.0
    near: float = 0.0
    pixels: int = 384
    folder: str = ""
    requests: str = ""
    form: Form = Form.DATA_URL
    prompts: tuple[str, ...] = ("Describe this product.",)
    max_tokens: int = 64
    stream: bool = False
    model: str = ""

    @property
    def drawn(self) -> bool:
        """Whether the pictures are drawn by the bench itself."""
        return not (self.folder or self.requests)


class Target(msgspec.Struct, frozen=True):
    """Where requests go.

    Attributes:
        name: `A` or `B`.
        url: `http://host:port` or `https://...`, without a slash at the end.
        headers: Headers of every request, such as a key; never written to a file.
    """

    name: str
    url: str
    headers: dict[str, str] = {}


class Limits(msgspec.Struct, frozen=True):
    """What the generator allows itself.

    Attributes:
        connections: Most open connections of all players to one target.
        timeout: Seconds after its intended time at which a request is given up.
        processes: Players; each sends its share of the schedule.
    """

    connections: int = 1024
    timeout: float = 120.0
    processes: int = 1


class Spec(msgspec.Struct, frozen=True):
    """A whole run.

    Attributes:
        targets: One, or two that are compared.
        arrivals: When requests come.
        traffic: What they ask.
        limits: What the generator allows itself.
        slice_seconds: With two targets: length of the pieces of the schedule that each target gets
            in turn.
        warm: The so many most popular pictures are asked for before the clock starts.
    """

    targets: tuple[Target, ...]
    arrivals: Arrivals
    traffic: Traffic = Traffic()
    limits: Limits = Limits()
    slice_seconds: float = 10.0
    warm: int = 0


def check(spec: Spec) -> Spec:
    """The same spec, if it can be run.

    Raises:
        ConfigError: It cannot; the message says why.
    """
    traffic = spec.traffic
    if traffic.folder and traffic.requests:
        raise ConfigError("Give either a folder of pictures or a file of requests, not both.")
    if traffic.new + traffic.near > 1:
        raise ConfigError("The shares of new pictures and of near-duplicates exceed 100% together.")
    if (traffic.new or traffic.near) and not traffic.drawn:
        raise ConfigError(
            "New pictures and near-duplicates can only be made of drawn pictures. Leave --new and "
            "--near out, or the folder or file of your own."
        )
    if traffic.stream and traffic.form is Form.UPLOAD:
        raise ConfigError("Uploads go to /predict, which does not stream. Send them as data URLs.")
    burst = spec.arrivals.burst
    if burst is not None and burst.seconds >= burst.every:
        raise ConfigError("A burst must be shorter than the time to the next one.")
    return spec
