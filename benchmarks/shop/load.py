"""The load: a process that sends the shop's requests and keeps every answer.

Requests of an open loop are sent when they are due, whether or not earlier ones were answered, and
latency counts from then. As the shop's own client does, a request whose gateway was lost or refuses
is sent again. An answer that never comes until the timeout is lost.

    python -m benchmarks.shop.load DIGESTS IMAGES     (takes orders on its standard input)
"""

from __future__ import annotations

import asyncio
import base64
import gc
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httptools
import msgspec
import uvloop

from benchmarks.shop.plan import Phase
from examples.shop.describing import reading_body
from examples.shop.images import Images
from examples.shop.settings import Settings
from examples.shop.words import VOCABULARY
from silkline.bench.answer import read_answer
from silkline.bench.client import HttpClient, Response
from silkline.bench.forms import MULTIPART_TYPE, multipart
from silkline.bench.record import Health, Record
from silkline.bench.schedule import make_schedule
from silkline.bench.spec import Arrivals, Traffic
from silkline.catalog.reading import Reading
from silkline.errors import UNDECODABLE

READY = "ready"
NO_NUMBER = -1
"""The number of a request that belongs to no schedule."""

CHAT, PREDICT = "chat", "predict"
"""Forms of a request: the shop's own with a JSON schema, and an upload."""

_MAX_TOKENS = 64
_CONNECTIONS = 1024
_LEAD_SECONDS = 0.3
_MIN_PAUSE, _MAX_PAUSE = 0.1, 1.0
_AGAIN = frozenset({409, 429, 500, 502, 503, 504})
"""Statuses after which the shop's client sends a request again."""

_MARK = "IMAGE-GOES-HERE"


class Door(msgspec.Struct, frozen=True):
    """Where requests go.

    Attributes:
        url: Of the server.
        form: `CHAT` or `PREDICT`.
        headers: Of every request.
    """

    url: str
    form: str = CHAT
    headers: dict[str, str] = {}


class Ask(msgspec.Struct, frozen=True, tag=True):
    """An order: ask for some products, a few at a time.

    Attributes:
        door: Where.
        numbers: The products.
        clients: How many requests at once.
        answers: File for the answers.
        timeout: Seconds of one request.
    """

    door: Door
    numbers: list[int]
    clients: int
    answers: str
    timeout: float


class Play(msgspec.Struct, frozen=True, tag=True):
    """An order: an open loop.

    Attributes:
        door: Where.
        phases: When requests are due.
        catalogue: Products of the catalogue, the first ones.
        first_new: The first product that is new in this order.
        new: Share of new ones.
        zipf: Exponent of the popularity.
        seed: Equal seeds send equal requests.
        answers: File for the answers.
        timeout: Seconds from when a request was due.
    """

    door: Door
    phases: tuple[Phase, ...]
    catalogue: int
    first_new: int
    new: float
    zipf: float
    seed: int
    answers: str
    timeout: float


class Began(msgspec.Struct, frozen=True, tag=True):
    """The monotonic second at which the phases begin."""

    at: float


class Done(msgspec.Struct, frozen=True, tag=True):
    """An order is done.

    Attributes:
        health: What it took.
        next_new: The first product that is still new.
    """

    health: Health
    next_new: int


class Answered(msgspec.Struct, array_like=True):
    """A request and its answer.

    Attributes:
        record: As every load test keeps it; `image` is the number of the product.
        text: The answer's text.
        model: The model that answered, with its revision.
        arm: Name and arm of the experiment; empty outside of one.
        attempts: How often it was sent.
    """

    record: Record
    text: str = ""
    model: str = ""
    arm: str = ""
    attempts: int = 1


def due(play: Play) -> Iterator[tuple[float, int]]:
    """The requests of an order: when each is due, and about which product."""
    begin, fresh = 0.0, play.first_new
    for index, phase in enumerate(play.phases):
        arrivals = Arrivals(phase.rate, phase.seconds, seed=play.seed + index)
        traffic = Traffic(catalogue=play.catalogue, zipf=play.zipf, new=play.new)
        schedule = make_schedule(arrivals, traffic, play.catalogue)
        for time_, image in zip(schedule.times, schedule.images, strict=True):
            is_new = image >= play.catalogue
            yield begin + time_, fresh if is_new else image
            fresh += is_new
        begin += phase.seconds


class _Requests:
    """Requests about products, as chunks to send."""

    def __init__(self, door: Door, images: Sequence[bytes]) -> None:
        self._images = images
        self._is_chat = door.form == CHAT
        settings = Settings()
        self._question = settings.question
        path = "/v1/chat/completions" if self._is_chat else "/predict"
        kind = "application/json" if self._is_chat else MULTIPART_TYPE
        headers = {"host": urlsplit(door.url).netloc, "content-type": kind, **door.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._head = f"POST {path} HTTP/1.1\r\n{lines}content-length: ".encode()
        reading = Reading(VOCABULARY, settings.question)
        body = reading_body(settings.model, reading, f"data:image/jpeg;base64,{_MARK}")
        self._before, _, self._after = msgspec.json.encode(body).partition(_MARK.encode())

    def chunks(self, number: int) -> list[bytes]:
        """The request about a product."""
        if self._is_chat:
            parts = [self._before, base64.b64encode(self._images[number]), self._after]
        else:
            parts = list(multipart(self._images[number], self._question, _MAX_TOKENS))
        return [self._head + b"%d\r\n\r\n" % sum(map(len, parts)), *parts]


class _Sender:
    """Sends requests through one door and writes their answers."""

    def __init__(self, door: Door, images: Sequence[bytes], file: BinaryIO, timeout: float) -> None:
        self._requests = _Requests(door, images)
        self._client = HttpClient(door.url, _CONNECTIONS)
        self._file = file
        self._timeout = timeout
        self._encoder = msgspec.json.Encoder()

    async def send(self, record: Record, zero: float) -> None:
        """Sends a request until it is answered, or its time is over."""
        chunks = self._requests.chunks(record.image)
        record.bytes_out = sum(map(len, chunks))
        answered = Answered(record)
        deadline = zero + record.intended + self._timeout
        while True:
            response = Response()
            await self._exchange(chunks, response, record, deadline - time.monotonic())
            record.ended = round(time.monotonic() - zero, 6)
            record.sent = record.sent or round(response.sent - zero, 6)
            if not record.code:
                read_answer(response, record, zero)
            pause = _pause(response, record, answered.attempts)
            if pause is None or time.monotonic() + pause >= deadline:
                break
            await asyncio.sleep(pause)
            record.code, record.status = "", 0
            answered.attempts += 1
        if record.ok:
            headers = response.headers
            answered.text = text_of(response.body)
            answered.model = headers.get(b"x-silkline-model", b"").decode()
            answered.arm = headers.get(b"x-silkline-experiment", b"").decode()
        self._file.write(self._encoder.encode(answered) + b"\n")

    async def _exchange(
        self, chunks: Sequence[bytes], response: Response, record: Record, left: float
    ) -> None:
        try:
            async with asyncio.timeout(left):
                await self._client.exchange(chunks, response)
        except TimeoutError:
            record.code = "timeout"
        except httptools.HttpParserError:
            record.code = "malformed_response"
        except OSError:
            record.code = "connection_lost" if response.sent else "connect_failed"

    @property
    def opened(self) -> int:
        """Connections opened so far."""
        return self._client.opened

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def _pause(response: Response, record: Record, attempts: int) -> float | None:
    """Seconds until a request is sent again; None if it is not."""
    if record.ok or record.code == "timeout":
        return None
    if record.status and record.status not in _AGAIN:
        return None
    told = response.headers.get(b"retry-after", b"").decode("latin-1")
    if told.isdecimal():
        return max(_MIN_PAUSE, float(told))
    return min(_MAX_PAUSE, _MIN_PAUSE * 2.0 ** (attempts - 1))


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Body(msgspec.Struct):
    choices: list[_Choice] = []
    response: str = ""


_BODY = msgspec.json.Decoder(_Body)


def text_of(body: bytes) -> str:
    """The text of an answer; empty where there is none."""
    try:
        found = _BODY.decode(body)
    except UNDECODABLE:
        return ""
    return (found.choices[0].message.content or "") if found.choices else found.response


async def play(order: Play, images: Sequence[bytes], began: Callable[[float], None]) -> Done:
    """Sends the requests of an open loop and waits for all of their answers."""
    times, numbers = array("d"), array("q")
    for at, number in due(order):
        times.append(at)
        numbers.append(number)
    fresh = sum(number >= order.catalogue for number in numbers)
    if order.first_new + fresh > len(images):
        raise ValueError(f"{order.first_new + fresh} products are needed, {len(images)} are there")
    with _opened(order.answers) as file:
        sender = _Sender(order.door, images, file, order.timeout)
        gc.freeze()
        zero = time.monotonic() + _LEAD_SECONDS
        began(zero)
        cpu = time.process_time()
        async with asyncio.TaskGroup() as tasks:
            for index, (at, number) in enumerate(zip(times, numbers, strict=True)):
                if (wait := zero + at - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                elif not index % 16:  # late: the answers need their turn all the same
                    await asyncio.sleep(0)
                tasks.create_task(sender.send(Record(index, 0, number, 0, round(at, 6)), zero))
        sender.close()
        health = Health(time.process_time() - cpu, time.monotonic() - zero, sender.opened)
    return Done(health, order.first_new + fresh)


async def ask(order: Ask, images: Sequence[bytes]) -> Done:
    """Asks for products, each client one after another."""
    with _opened(order.answers) as file:
        sender = _Sender(order.door, images, file, order.timeout)
        numbers = iter(order.numbers)

        async def client() -> None:
            for number in numbers:
                await sender.send(Record(NO_NUMBER, 0, number, 0, 0.0), time.monotonic())

        await asyncio.gather(*(client() for _ in range(order.clients)))
        sender.close()
    return Done(Health(warmed=len(order.numbers)), 0)


def _opened(path: str) -> BinaryIO:
    return Path(path).open("wb", buffering=1 << 20)


async def serve(images: Sequence[bytes]) -> None:
    """Carries out the orders of standard input until it ends."""
    decoder = msgspec.json.Decoder[Ask | Play](Ask | Play)
    print(READY, flush=True)
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        order = decoder.decode(line)
        done = await (
            ask(order, images)
            if isinstance(order, Ask)
            else play(order, images, lambda at: _tell(Began(at)))
        )
        _tell(done)


def _tell(message: Began | Done) -> None:
    print(msgspec.json.encode(message).decode(), flush=True)


def main() -> None:
    """Reads the images out of the object store, then takes orders."""
    digests = Path(sys.argv[1]).read_text().split()
    store = Images(sys.argv[2])
    uvloop.run(serve([store.get(digest) for digest in digests]))


if __name__ == "__main__":
    main()
