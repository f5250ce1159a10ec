"""An `Engine` that proxies to a worker process."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from typing import TypeVar

from silkline.core import Delta, EngineInfo, Health, Request
from silkline.engines.base import Engine
from silkline.engines.worker import wire
from silkline.engines.worker.address import NetworkAddress, WorkerAddress
from silkline.engines.worker.frames import MAX_BODY_BYTES, BrokenFrame, FrameProtocol, Kind
from silkline.errors import (
    DeadlineExceeded,
    EnvironmentFault,
    InternalFault,
    InvalidRequest,
    RequestTooLarge,
    SilklineError,
    WorkerLost,
)

CALL_SECONDS = 10.0
"""Maximum seconds for a running worker to report its engine's info."""

DEADLINE_SLACK_SECONDS = 1.0
"""Seconds that a call may take beyond its request's timeout, so that the engine times out first,
with a more precise error."""

_MAX_CALLS = 2**32

_Answer = TypeVar("_Answer")


class _Call:
    """The frames of one call that have arrived and were not read yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._unread: deque[tuple[Kind, bytes] | SilklineError] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, item: tuple[Kind, bytes] | SilklineError) -> None:
        """Adds a frame, or the error that ends the call."""
        self._unread.append(item)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> tuple[Kind, bytes]:
        """The next frame; raises the error if that is next."""
        while not self._unread:
            self._reader = self._loop.create_future()
            await self._reader
        item = self._unread.popleft()
        if isinstance(item, SilklineError):
            raise item
        return item


class _Connection(FrameProtocol):
    """The gateway's end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def call(self, timeout_seconds: float) -> Generator[tuple[int, _Call], None, None]:
        """Opens a call and yields it with its number; cancels it if it is unfinished at the end."""
        number = next(self._numbers) % _MAX_CALLS
        call = self._calls[number] = _Call(self._loop)
        timer = self._loop.call_later(timeout_seconds, call.put, _late())
        try:
            yield number, call
        finally:
            timer.cancel()
            if self._calls.pop(number, None) is not None:
                with suppress(ConnectionError):
                    self.send_now(Kind.CANCEL, number)

    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        """Passes a frame to its call; ignores frames of cancelled calls."""
        last = kind is not Kind.CHUNK
        waiting = self._calls.pop(call, None) if last else self._calls.get(call)
        if waiting is None:
            return
        if kind is Kind.ERROR:
            waiting.put(_error(body))
        elif kind in (Kind.CHUNK, Kind.LAST):
            waiting.put((kind, bytes(body)))
        else:
            waiting.put(_invalid())
            raise BrokenFrame

    def ended(self) -> None:
        """Ends all calls with `WorkerLost`."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.put(_lost())


class WorkerEngine(Engine):
    """An engine that runs in a worker process, reached over its socket.

    It keeps the engine contract, with two differences: if the worker dies, its requests end with
    `WorkerLost`; and `health` is the result of the last `probe`.
    """

    def __init__(self, socket: WorkerAddress) -> None:
        """Takes the address of the worker; nothing is connected before `start`."""
        self.socket = socket
        self._connection: _Connection | None = None
        self._info: EngineInfo | None = None
        self._health = Health(running=0, queued=0, seconds_since_progress=0.0)

    @property
    def info(self) -> EngineInfo:
        """The info of the worker's engine; raises `InternalFault` before `start`."""
        if self._info is None:
            raise InternalFault("The info of the worker's engine was read before it started.")
        return self._info

    async def start(self) -> None:
        """Connects to the worker and reads its engine's info.

        Raises:
            WorkerLost: The worker does not answer.
            EnvironmentFault: The worker is of a different version.
        """
        try:
            async with asyncio.timeout(CALL_SECONDS):
                self._connection = await _connect(self.socket)
        except OSError as error:  # a TimeoutError is one
            raise _lost() from error
        try:
            self._info = await self._ask(Kind.INFO, wire.decode_info, CALL_SECONDS)
        except InvalidRequest as error:
            await self.aclose()
            raise EnvironmentFault(
                "Gateway and worker are of different versions. Install the same version of "
                "Silkline for both."
            ) from error
        except DeadlineExceeded as error:
            await self.aclose()
            raise WorkerLost("The worker does not answer.") from error
        except SilklineError:
            await self.aclose()
            raise

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`.

        Raises:
            WorkerLost: The worker ended, or cannot be reached.
            SilklineError: What the worker's engine raised.
        """
        connection = self._connected()
        body = wire.encode_request(request)
        if len(body) > MAX_BODY_BYTES:
            raise RequestTooLarge(
                "The images of this request are too large for the engine. Send fewer or smaller "
                "images."
            )
        kind = Kind.GENERATE if request.stream else Kind.ANSWER
        timeout = request.timeout_seconds + DEADLINE_SLACK_SECONDS
        with connection.call(timeout) as (number, call):
            try:
                async with asyncio.timeout(timeout):
                    await connection.send(kind, number, body)
            except TimeoutError:
                raise _late() from None
            except ConnectionError as error:
                raise _lost() from error
            while kind is not Kind.LAST:
                kind, chunk = await call.get()
                yield _delta(chunk)

    async def probe(self, timeout_seconds: float) -> Health:
        """Asks the worker for its engine's health, and keeps it for `health`.

        Raises:
            WorkerLost: The worker ended, did not answer in time, or sent an invalid answer.
        """
        try:
            self._health = await self._ask(Kind.HEALTH, wire.decode_health, timeout_seconds)
        except InvalidRequest as error:
            raise WorkerLost("The worker sent an invalid answer.") from error
        except DeadlineExceeded as error:
            raise WorkerLost("The worker does not answer.") from error
        return self._health

    def health(self) -> Health:
        """The health from the last `probe`."""
        return self._health

    async def aclose(self) -> None:
        """Closes the connection; the supervisor ends the worker process."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _ask(
        self, kind: Kind, decode: Callable[[bytes], _Answer], timeout_seconds: float
    ) -> _Answer:
        connection = self._connected()
        with connection.call(timeout_seconds) as (number, call):
            try:
                connection.send_now(kind, number)
            except ConnectionError as error:
                raise _lost() from error
            _, body = await call.get()
        return decode(body)

    def _connected(self) -> _Connection:
        if self._connection is None:
            raise _lost()
        return self._connection


async def _connect(address: WorkerAddress) -> _Connection:
    loop = asyncio.get_running_loop()
    if not isinstance(address, NetworkAddress):
        _, connection = await loop.create_unix_connection(_Connection, str(address))
        return connection
    _, connection = await loop.create_connection(_Connection, address.host, address.port)
    connection.send_now(Kind.HELLO, 0, address.secret.encode())
    return connection


def _delta(body: bytes) -> Delta:
    try:
        return wire.decode_delta(body)
    except InvalidRequest as error:
        raise _invalid() from error


def _error(body: memoryview) -> SilklineError:
    """Decodes the worker's error."""
    try:
        return wire.decode_error(bytes(body))
    except InvalidRequest:
        return _invalid()


def _late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "The engine did not answer before the deadline of this request; try again."
    )


def _invalid() -> InternalFault:
    return InternalFault("The worker sent an invalid frame.")


def _lost() -> WorkerLost:
    return WorkerLost("The engine's process ended while it worked on this request; try again.")
