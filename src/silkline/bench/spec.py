"""The spec of a load test: targets, arrivals and traffic, as plain values.

A `Spec` crosses process boundaries as JSON; every player computes the same schedule from it.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from silkline.errors import ConfigError


class Form(StrEnum):
    """How images are sent."""

    DATA_URL = "data-url"
    UPLOAD = "upload"
    URL = "url"


class Burst(msgspec.Struct, frozen=True):
    """Periodic bursts, during which the request rate is multiplied.

    Attributes:
        factor: Multiplier of the rate, above 0.
        seconds: Length of each burst.
        every: Seconds from the start of one burst to the start of the next; the first starts at
            `every`, so that a run starts at the base rate.
    """

    factor: float
    seconds: float
    every: float


class Arrivals(msgspec.Struct, frozen=True):
    """When requests arrive: a Poisson process with optional bursts, or clients that take turns.

    Attributes:
        rate: Requests per second outside bursts, above 0; without effect on a closed loop.
        seconds: Length of the schedule.
        burst: The bursts; None for a constant rate.
        seed: Equal seeds give equal schedules.
        clients: Number of clients of a closed loop: each sends its next request when its last one
            was answered. 0 for an open loop, whose requests do not wait for answers.
    """

    rate: float
    seconds: float
    burst: Burst | None = None
    seed: int = 1
    clients: int = 0


class Traffic(msgspec.Struct, frozen=True):
    """What requests contain.

    Attributes:
        catalogue: Number of images in the catalogue, at least 1.
        rounds: Whether each image is sent once before any is sent again, in random order; `zipf`
            then has no effect.
        zipf: Exponent of the popularity: the image of rank r is sent in proportion to 1 / r**zipf;
            0 makes all images equally popular.
        new: Share of requests with an image that was never sent before, 0 to 1.
        near: Share of requests with a near duplicate of a catalogue image, 0 to 1.
        pixels: Width and height of drawn images, in pixels.
        folder: A folder with the user's own images, used instead of drawn ones.
        requests: A JSONL file with images and prompts, used instead of drawn images.
        form: How images are sent.
        prompts: The prompts; each image always gets the same one.
        max_tokens: Maximum tokens of an answer.
        stream: Whether answers are streamed.
        model: The model's name in chat requests; empty uses the first one that the target lists.
    """

    catalogue: int = 1000
    rounds: bool = False
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
        """Whether the load test draws its own images."""
        return not (self.folder or self.requests)


class Target(msgspec.Struct, frozen=True):
    """Where requests go.

    Attributes:
        name: `A` or `B`.
        url: `http://host:port` or `https://...`, without a trailing slash.
        headers: Headers of every request, such as an API key; never written to a file.
        model: The model's name in chat requests; empty uses the traffic's.
    """

    name: str
    url: str
    headers: dict[str, str] = {}
    model: str = ""


class Limits(msgspec.Struct, frozen=True):
    """Limits of the load generator.

    Attributes:
        connections: Maximum open connections to one target, over all players.
        timeout: Timeout of a request in seconds, counted from its intended time.
        processes: Number of player processes; each sends its share of the schedule.
    """

    connections: int = 1024
    timeout: float = 120.0
    processes: int = 1


class Spec(msgspec.Struct, frozen=True):
    """The spec of a whole run.

    Attributes:
        targets: One target, or two to compare.
        arrivals: When requests arrive.
        traffic: What requests contain.
        limits: Limits of the generator.
        slice_seconds: With two targets, the length of the slices of the schedule that alternate
            between them.
        warm: This many of the most popular images are sent before the clock starts.
    """

    targets: tuple[Target, ...]
    arrivals: Arrivals
    traffic: Traffic = Traffic()
    limits: Limits = Limits()
    slice_seconds: float = 10.0
    warm: int = 0


def check(spec: Spec) -> Spec:
    """Validates a spec and returns it.

    Raises:
        ConfigError: Its values contradict each other; the message says how.
    """
    traffic = spec.traffic
    if traffic.folder and traffic.requests:
        raise ConfigError("Give either a folder of images or a file of requests, not both.")
    if traffic.new + traffic.near > 1:
        raise ConfigError("The shares of new images and near duplicates add up to more than 100%.")
    if (traffic.new or traffic.near) and not traffic.drawn:
        raise ConfigError(
            "New images and near duplicates need drawn images. Remove --new and --near, or the "
            "folder or file of your own."
        )
    if traffic.stream and traffic.form is Form.UPLOAD:
        raise ConfigError("Uploads go to /predict, which does not stream. Use --as data-url.")
    burst, clients = spec.arrivals.burst, spec.arrivals.clients
    if burst is not None and clients:
        raise ConfigError("Clients of a closed loop have no bursts. Remove --burst or --clients.")
    if clients and clients < spec.limits.processes:
        raise ConfigError(
            f"{clients} clients cannot be divided between {spec.limits.processes} processes. Use "
            "fewer processes."
        )
    if burst is not None and burst.seconds >= burst.every:
        raise ConfigError("A burst must be shorter than the interval between bursts.")
    return spec
