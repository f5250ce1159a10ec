"""The player: a process that sends its share of the schedule.

In an open loop, requests are sent at their intended times whether or not earlier ones have been
answered. Latency counts from the intended time, so a stalled server cannot hide the requests that
arrived meanwhile (coordinated omission). In a closed loop, each client waits for its answer, then
sends the next request: the rate is what the target can carry with so many clients.

    python -m silkline.bench.player      (its session writes `wire` lines to it)
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import httptools
import msgspec
import uvloop

from silkline.bench.answer import read_answer
from silkline.bench.catalogue import load_catalogue
from silkline.bench.client import HttpClient, Response
from silkline.bench.forms import RequestWriter
from silkline.bench.record import Health, Record
from silkline.bench.schedule import draw_images, make_schedule
from silkline.bench.wire import Begin, Command, Done, Play, Progress, Ready, Refused, Reply, Warm
from silkline.errors import EXIT, SilklineError

_PROGRESS_SECONDS = 0.5
_PAUSE_SECONDS = 0.1
"""Pause of a client after a failure, so that it does not flood a server that refuses."""

_WARM_AT_ONCE = 8
_BUFFER_BYTES = 1 << 20
_DIGITS = 6  # records are kept to the microsecond


class Player:
    """Sends requests and writes their records."""

    def __init__(self, begin: Begin, file: BinaryIO) -> None:
        """Computes the schedule and loads the images.

        Args:
            begin: The run and this player's share of it.
            file: Receives the records, one per line.

        Raises:
            ConfigError: The images cannot be used.
        """
        spec = begin.spec
        self._spec = spec
        self._share = begin.share
        catalogue = load_catalogue(spec.traffic)
        self._size = catalogue.size
        self._schedule = make_schedule(spec.arrivals, spec.traffic, catalogue.size)
        self._drawn = [self._draw() for _ in spec.targets]
        self._writers = [
            RequestWriter(target, spec.traffic, catalogue, model, begin.origin)
            for target, model in zip(spec.targets, begin.model, strict=True)
        ]
        maximum = max(1, spec.limits.connections // spec.limits.processes)
        self._clients = [HttpClient(target.url, maximum) for target in spec.targets]
        self._file = file
        self._encoder = msgspec.json.Encoder()
        self._in_flight = 0
        self._ended = 0
        self._failed = 0

    def _draw(self) -> Iterator[tuple[int, tuple[int, int]]]:
        """This player's images of a closed loop, each with the number of its request."""
        spec = self._spec
        images = draw_images(spec.arrivals, spec.traffic, self._size)
        return islice(enumerate(images), self._share, None, spec.limits.processes)

    async def play(self, play: Play) -> Health:
        """Sends the requests of a slice and waits until each of them has ended."""
        send = self._closed_loop if self._spec.arrivals.clients else self._open_loop
        await send(play, play.start - play.begin)
        return Health()

    async def _open_loop(self, play: Play, zero: float) -> None:
        schedule, writer = self._schedule, self._writers[play.target]
        async with (
            asyncio.TaskGroup() as requests
        ):  # a bug ends the run; no record is lost silently
            for number in schedule.between(play.begin, play.end):
                if number % self._spec.limits.processes != self._share:
                    continue
                record = Record(
                    number=number,
                    target=play.target,
                    image=schedule.images[number],
                    variant=schedule.variants[number],
                    intended=schedule.times[number],
                )
                chunks = writer.request(record.image, record.variant)  # built before it is due
                await _until(zero + record.intended)
                requests.create_task(self._send(chunks, record, zero))
            await _until(play.start + play.end - play.begin)

    async def _closed_loop(self, play: Play, zero: float) -> None:
        writer, drawn = self._writers[play.target], self._drawn[play.target]

        async def client() -> None:
            while (now := time.monotonic() - zero) < play.end:
                number, (image, variant) = next(drawn)
                record = Record(number, play.target, image, variant, now)
                await self._send(writer.request(image, variant), record, zero)
                if not record.ok:
                    await asyncio.sleep(_PAUSE_SECONDS)

        await _until(play.start)
        clients, processes = self._spec.arrivals.clients, self._spec.limits.processes
        async with asyncio.TaskGroup() as group:
            for _ in range(self._share, clients, processes):
                group.create_task(client())

    async def warm(self, warm: Warm) -> Health:
        """Sends this player's share of the most popular images."""
        maximum = min(self._spec.warm, self._size)
        numbers = iter(range(self._share, maximum, self._spec.limits.processes))
        failures = 0

        async def send_next() -> None:
            nonlocal failures
            for number in numbers:
                chunks = self._writers[warm.target].request(number, 0)
                now = time.monotonic()
                record = Record(number, warm.target, number, 0, 0.0)
                await self._exchange(chunks, record, now)
                self._count(record)
                failures += not record.ok

        await asyncio.gather(*(send_next() for _ in range(_WARM_AT_ONCE)))
        return Health(
            warmed=len(range(self._share, maximum, self._spec.limits.processes)),
            warm_failures=failures,
        )

    async def run(self, command: Command) -> Health:
        """Runs a command and returns the resources that it took."""
        client = self._clients[command.target]
        opened, cpu, wall = client.opened, time.process_time(), time.monotonic()
        if isinstance(command, Warm):
            return await self.warm(command)
        health = await self.play(command)
        self._file.flush()
        client.close()
        return health.plus(
            Health(
                cpu_seconds=time.process_time() - cpu,
                wall_seconds=time.monotonic() - wall,
                opened=client.opened - opened,
            )
        )

    def progress(self) -> Progress:
        """The requests that ended since the last call, and those in flight."""
        progress = Progress(self._ended, self._failed, self._in_flight)
        self._ended = self._failed = 0
        return progress

    async def _send(self, chunks: Sequence[bytes], record: Record, zero: float) -> None:
        self._in_flight += 1
        await self._exchange(chunks, record, zero)
        self._in_flight -= 1
        self._count(record)
        self._file.write(self._encoder.encode(record) + b"\n")

    async def _exchange(self, chunks: Sequence[bytes], record: Record, zero: float) -> None:
        """Sends one request and records how it ended."""
        client = self._clients[record.target]
        response = Response()
        record.limited = client.full
        record.bytes_out = sum(map(len, chunks))
        left = zero + record.intended + self._spec.limits.timeout - time.monotonic()
        try:
            async with asyncio.timeout(left):
                await client.exchange(chunks, response)
        except TimeoutError:
            record.code = "timeout"
        except httptools.HttpParserError:
            record.code = "malformed_response"
        except OSError:  # includes ConnectionError
            record.code = "connection_lost" if response.sent else "connect_failed"
        record.intended = round(record.intended, _DIGITS)
        record.ended = round(time.monotonic() - zero, _DIGITS)
        record.sent = round(response.sent - zero, _DIGITS) if response.sent else 0.0
        if response.first_byte:
            record.first_byte = round(response.first_byte - zero, _DIGITS)
        record.bytes_in = response.received
        if record.code:
            record.status = response.status
        else:
            read_answer(response, record, zero)

    def _count(self, record: Record) -> None:
        self._ended += 1
        self._failed += not record.ok


async def _until(due: float) -> None:
    """Waits until a monotonic time in seconds; always yields to the event loop."""
    wait = due - time.monotonic()
    while wait > 0:  # a timer may fire a little early
        await asyncio.sleep(wait)
        wait = due - time.monotonic()
    await asyncio.sleep(0)


async def serve(begin: Begin, file: BinaryIO) -> None:
    """Runs commands from standard input until it closes."""
    try:
        player = Player(begin, file)
    except SilklineError as error:
        _write(Refused(error.message))
        return
    gc.freeze()  # the collector need not traverse the schedule
    _write(Ready())
    decoder = msgspec.json.Decoder[Command](Command)
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        work = asyncio.create_task(player.run(decoder.decode(line)))
        while not (await asyncio.wait({work}, timeout=_PROGRESS_SECONDS))[0]:
            _write(player.progress())
        health = await work
        _write(player.progress())
        _write(Done(health))


def _write(reply: Reply) -> None:
    os.write(sys.stdout.fileno(), msgspec.json.encode(reply) + b"\n")  # short enough to be atomic


def _allow_connections() -> None:
    """Raises the limit of open files to the system's maximum: each connection is one."""
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (maximum, maximum))


def main() -> None:
    """Reads the `Begin` message from standard input, then serves commands."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session handles Ctrl-C and ends this process
    _allow_connections()
    begin = msgspec.json.decode(sys.stdin.buffer.readline(), type=Begin)
    with Path(begin.records).open("wb", buffering=_BUFFER_BYTES) as file:
        try:
            uvloop.run(serve(begin, file))
        except BrokenPipeError:  # the session has exited
            sys.exit(EXIT.failed)


if __name__ == "__main__":
    main()
