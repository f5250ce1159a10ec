"""The far engine in the shape of a near one."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from silkline.core import Delta, EngineInfo, Health, Request
from silkline.engines.base import Engine
from silkline.engines.worker import wire
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
"""How long a worker that serves may take to say what it is."""

DEADLINE_SLACK_SECONDS = 1.0
"""What a call may take longer than its request: the engine ends it first, and can say why."""

_MAX_CALLS = 2**32

_Told = TypeVar("_Told")


class _Call:
    """What came for one call and was not read yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arrived: deque[tuple[Kind, bytes] | SilklineError] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put(self, what: tuple[Kind, bytes] | SilklineError) -> None:
        """Adds a frame, or why there will be none."""
        self._arrived.append(what)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> tuple[Kind, bytes]:
        """The next frame; raises what stands in its place."""
        while not self._arrived:
            self._reader = self._loop.create_future()
            await self._reader
        what = self._arrived.popleft()
        if isinstance(what, SilklineError):
            raise what
        return what


class _Connection(FrameProtocol):
    """The gateway's end."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def call(self, timeout_seconds: float) -> Generator[tuple[int, _Call], None, None]:
        """A call and its number; one that has not ended when the block does is cancelled."""
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
        """Hands the frame to its call; that of a cancelled one is late."""
        last = kind is not Kind.CHUNK
        waiting = self._calls.pop(call, None) if last else self._calls.get(call)
        if waiting is None:
            return
        if kind is Kind.ERROR:
            waiting.put(_error(body))
        elif kind in (Kind.CHUNK, Kind.LAST):
            waiting.put((kind, bytes(body)))
        else:
            waiting.put(_nonsense())
            raise BrokenFrame

    def ended(self) -> None:
        """Ends all calls."""
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.put(_lost())


class WorkerEngine(Engine):
    """An engine that computes in a worker process, reached over its socket.

    It keeps the engine contract. What is far about it: a lost worker ends a request with
    `WorkerLost`, and `health` is what the last `probe` brought.
    """

    def __init__(self, socket: Path) -> None:
        """Names the worker's socket; nothing is connected before `start`."""
        self._socket = socket
        self._connection: _Connection | None = None
        self._info: EngineInfo | None = None
        self._health = Health(running=0, queued=0, seconds_since_progress=0.0)

    @property
    def info(self) -> EngineInfo:
        """What the far engine is; known once started."""
        if self._info is None:
            raise InternalFault("The worker's engine was asked what it is before it started.")
        return self._info

    async def start(self) -> None:
        """Connects.

        Raises:
            WorkerLost: Nobody answers.
            EnvironmentFault: The worker speaks another version.
        """
        loop = asyncio.get_running_loop()
        try:
            _, self._connection = await loop.create_unix_connection(_Connection, str(self._socket))
        except OSError as error:
            raise _lost() from error
        try:
            self._info = await self._ask(Kind.INFO, wire.decode_info, CALL_SECONDS)
        except InvalidRequest as error:
            await self.aclose()
            raise EnvironmentFault("Gateway and worker are of different versions.") from error
        except DeadlineExceeded as error:
            await self.aclose()
            raise WorkerLost("The worker does not answer.") from error
        except SilklineError:
            await self.aclose()
            raise

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request, as the contract says.

        Raises:
            WorkerLost: The worker ended, or was not reached.
            SilklineError: What the far engine raised.
        """
        connection = self._there()
        body = wire.encode_request(request)
        if len(body) > MAX_BODY_BYTES:
            raise RequestTooLarge("The pictures of this request are too large for the engine.")
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
        """Asks the worker how its engine gets on; `health` gives the same until the next time.

        Raises:
            WorkerLost: It ended, did not answer in time, or makes no sense.
        """
        try:
            self._health = await self._ask(Kind.HEALTH, wire.decode_health, timeout_seconds)
        except InvalidRequest as error:
            raise WorkerLost("The worker's answer makes no sense.") from error
        except DeadlineExceeded as error:
            raise WorkerLost("The worker does not answer.") from error
        return self._health

    def health(self) -> Health:
        """What the last probe brought."""
        return self._health

    async def aclose(self) -> None:
        """Closes the connection; the worker process is its supervisor's business."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    async def _ask(
        self, kind: Kind, decode: Callable[[bytes], _Told], timeout_seconds: float
    ) -> _Told:
        connection = self._there()
        with connection.call(timeout_seconds) as (number, call):
            try:
                connection.send_now(kind, number)
            except ConnectionError as error:
                raise _lost() from error
            _, body = await call.get()
        return decode(body)

    def _there(self) -> _Connection:
        if self._connection is None:
            raise _lost()
        return self._connection


def _delta(body: bytes) -> Delta:
    try:
        return wire.decode_delta(body)
    except InvalidRequest as error:
        raise _nonsense() from error


def _error(body: memoryview) -> SilklineError:
    """What the worker says is wrong."""
    try:
        return wire.decode_error(bytes(body))
    except InvalidRequest:
        return _nonsense()


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The engine did not answer in the time of this request.")


def _nonsense() -> InternalFault:
    return InternalFault("Gateway and worker do not understand each other.")


def _lost() -> WorkerLost:
    return WorkerLost("The engine's process ended while it worked on this request; try again.")
