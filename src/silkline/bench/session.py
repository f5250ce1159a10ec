"""Runs a load test: starts the players, sends them the slices, collects their records.

With two targets, each slice of the schedule is sent to both, one after the other. The first of the
two alternates, so that a machine that gets slower or faster affects both alike. A slice starts
when all requests of the previous one have ended.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import msgspec

from silkline.bench.client import HttpClient, Response
from silkline.bench.forms import get
from silkline.bench.record import OK, Health, Record, Run, decode_records
from silkline.bench.spec import Form, Spec, Target, Traffic, check
from silkline.bench.wire import Begin, Command, Done, Play, Progress, Ready, Refused, Reply, Warm
from silkline.errors import UNDECODABLE, ConfigError, EnvironmentFault, InternalFault

_LEAD_SECONDS = 0.2
"""Delay between a command and its start, so that every player receives it in time."""

_ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of a run.

    Attributes:
        command: The current command of the players.
        target: The target's name.
        done: Seconds of sending that are done, over all targets.
        total: Total seconds of sending.
        progress: Changes since the last step.
    """

    command: Command
    target: str
    done: float
    total: float
    progress: Progress


OnProgress = Callable[[Step], None]
"""A callback for progress."""


async def run_bench(
    spec: Spec, on_progress: OnProgress = lambda _: None, *, origin_port: int = 0
) -> Run:
    """Runs a load test.

    Args:
        spec: What to run.
        on_progress: Called with the progress a few times per second.
        origin_port: Port of the load test's image server, for the form `url`; 0 picks a free one.

    Raises:
        ConfigError: The spec is invalid.
        EnvironmentFault: A target does not answer, or the image server's port is taken.
        InternalFault: A player exited unexpectedly.
    """
    check(spec)
    models = tuple([await model_of(target, spec.traffic) for target in spec.targets])
    began = datetime.now(UTC).isoformat(timespec="seconds")
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="silkline-bench-")))
        origin = await stack.enter_async_context(image_origin(spec.traffic, origin_port))
        files = [folder / f"{share}.jsonl" for share in range(spec.limits.processes)]
        links = [
            await stack.enter_async_context(_player(Begin(spec, share, models, origin, str(file))))
            for share, file in enumerate(files)
        ]
        health = await _Conductor(spec, links, on_progress).run()
        records = await asyncio.to_thread(_read_records, files)
    public = [msgspec.structs.replace(target, headers={}) for target in spec.targets]
    plain = msgspec.structs.replace(spec, targets=tuple(public))
    return Run(plain, began, models[0], health, records)


def is_loopback(url: str) -> bool:
    """Whether every address of a URL's host is a loopback address.

    Raises:
        ConfigError: It is not an http or https URL, or its host does not resolve.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"{url!r} is no target. Write it like http://127.0.0.1:8000.")
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"The host {parts.hostname} cannot be resolved. Check the URL."
        ) from error
    return all(ipaddress.ip_address(address[4][0]).is_loopback for address in found)


class _Conductor:
    """Sends all players the same commands at the same time."""

    def __init__(self, spec: Spec, links: Sequence[_Link], on_progress: OnProgress) -> None:
        self._spec = spec
        self._links = links
        self._on_progress = on_progress
        self._total = spec.arrivals.seconds * len(spec.targets)
        self._done = 0.0

    async def run(self) -> list[Health]:
        """Warms up, then plays all slices. Returns the generator's health by target."""
        health = [Health() for _ in self._spec.targets]
        if self._spec.warm:
            for target in range(len(health)):
                health[target] = health[target].plus(await self._all(Warm(target)))
        for number, (begin, end) in enumerate(_slices(self._spec)):
            order = range(len(health))
            for target in reversed(order) if number % 2 else order:
                start = time.monotonic() + _LEAD_SECONDS
                played = await self._all(Play(target, begin, end, start))
                health[target] = health[target].plus(played)
                self._done += end - begin
        return health

    async def _all(self, command: Command) -> Health:
        """Runs a command on all players. They run in parallel, so their wall time counts once."""
        began = time.monotonic()
        parts = await asyncio.gather(
            *(
                link.run(command, lambda progress: self._report(command, progress, began))
                for link in self._links
            )
        )
        total = parts[0]
        for part in parts[1:]:
            total = total.plus(msgspec.structs.replace(part, wall_seconds=0.0))
        return total

    def _report(self, command: Command, progress: Progress, began: float) -> None:
        played = 0.0
        if isinstance(command, Play):
            played = min(time.monotonic() - began, command.end - command.begin)
        name = self._spec.targets[command.target].name
        self._on_progress(Step(command, name, self._done + played, self._total, progress))


class _Link:
    """The session's end of a player's pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._decoder = msgspec.json.Decoder(Reply)

    async def send(self, line: Begin | Command) -> None:
        pipe = self._process.stdin
        if pipe is None:
            raise InternalFault("A player of the load test has no input pipe.")
        pipe.write(msgspec.json.encode(line) + b"\n")
        await pipe.drain()

    async def receive(self) -> Reply:
        """The next reply.

        Raises:
            ConfigError: The player cannot run the spec.
            InternalFault: The player has exited.
        """
        line = await self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise InternalFault("A player of the load test exited; its output above says why.")
        reply: Reply = self._decoder.decode(line)
        if isinstance(reply, Refused):
            raise ConfigError(reply.message)
        return reply

    async def run(self, command: Command, on_progress: Callable[[Progress], None]) -> Health:
        await self.send(command)
        while not isinstance(reply := await self.receive(), Done):
            if isinstance(reply, Progress):
                on_progress(reply)
        return reply.health


@asynccontextmanager
async def _player(begin: Begin) -> AsyncIterator[_Link]:
    async with _module("silkline.bench.player") as process:
        link = _Link(process)
        await link.send(begin)
        if not isinstance(await link.receive(), Ready):
            raise InternalFault("A player of the load test did not start.")
        yield link


@asynccontextmanager
async def image_origin(traffic: Traffic, port: int) -> AsyncIterator[str]:
    """Serves the traffic's images while the block runs, if its form is `url`.

    Yields the base URL, empty if no server is needed. Port 0 picks a free port.

    Raises:
        EnvironmentFault: The port is taken.
    """
    if traffic.form is not Form.URL or traffic.requests:
        yield ""
        return
    async with _module("silkline.bench.origin", str(port)) as process:
        if process.stdin is None or process.stdout is None:
            raise InternalFault("The image server of the load test has no pipes.")
        process.stdin.write(msgspec.json.encode(traffic) + b"\n")
        line = await process.stdout.readline()
        if not line:
            raise EnvironmentFault(
                f"The image server of the load test cannot listen on port {port}."
            )
        yield line.decode().strip()


@asynccontextmanager
async def _module(name: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", name, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _slices(spec: Spec) -> list[tuple[float, float]]:
    """The slices of the schedule; a single one for a single target."""
    seconds = spec.arrivals.seconds
    count = max(1, round(seconds / spec.slice_seconds)) if len(spec.targets) > 1 else 1
    return list(itertools.pairwise(seconds * number / count for number in range(count + 1)))


def _read_records(files: Sequence[Path]) -> list[Record]:
    records: list[Record] = []
    for path in files:
        with path.open("rb") as file:
            records += decode_records(file)
    records.sort(key=lambda record: (record.target, record.intended))
    return records


class _Listed(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Listed]


async def model_of(target: Target, traffic: Traffic) -> str:
    """The model's name for requests: the target's, the traffic's, else the first that it lists.

    Raises:
        EnvironmentFault: The target does not answer, or lists no model.
    """
    client = HttpClient(target.url, 1)
    response = Response()
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await client.exchange(get(target, "/v1/models"), response)
    except (OSError, TimeoutError, httptools.HttpParserError) as error:
        raise EnvironmentFault(
            f"The target {target.name} does not answer at {target.url}.",
            remedy="silkline up, then use the URL that it prints",
        ) from error
    finally:
        client.close()
    if (named := target.model or traffic.model) or traffic.form is Form.UPLOAD:
        return named
    try:
        return msgspec.json.decode(response.body, type=_Models).data[0].id
    except (*UNDECODABLE, IndexError) as error:
        finding = response.status if response.status != OK else "no model"
        raise EnvironmentFault(
            f"The target {target.name} answers GET /v1/models with {finding}, so the model's name "
            "is unknown. Name it by --model, and an API key by --key-env if one is needed."
        ) from error
