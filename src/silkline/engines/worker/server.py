"""The worker's server: answers the gateway's calls with an engine."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

from silkline.core import Delta, Health, Request, join
from silkline.engines.base import Engine
from silkline.engines.worker import wire
from silkline.engines.worker.address import NetworkAddress, WorkerAddress
from silkline.engines.worker.frames import MAX_BODY_BYTES, BrokenFrame, FrameProtocol, Kind
from silkline.engines.worker.logs import FIELDS
from silkline.engines.worker.occupancy import Occupancy
from silkline.errors import InternalFault, SilklineError

logger = logging.getLogger(__name__)

HELLO_SECONDS = 5.0
"""Maximum seconds for a caller on the network to send the secret."""

_MAX_HELLO_BYTES = 256


class WorkerServer:
    """Serves `engine` on a Unix socket or a port.

    The folder of a Unix socket controls access: only its owner may enter it. Who connects to a port
    must send its secret.
    """

    def __init__(self, engine: Engine, address: WorkerAddress) -> None:
        """Takes a started engine; nothing is served before `start`."""
        self._engine = engine
        self._address = address
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._occupancy = Occupancy()

    async def start(self) -> None:
        """Starts to listen."""
        loop, address = asyncio.get_running_loop(), self._address
        if isinstance(address, NetworkAddress):
            secret = address.secret.encode()
            self._server = await loop.create_server(
                lambda: _NetworkConnection(
                    self._engine, self._connections, self._occupancy, secret
                ),
                address.host,
                address.port,
            )
            return
        self._server = await loop.create_unix_server(
            lambda: _Connection(self._engine, self._connections, self._occupancy), str(address)
        )

    @property
    def address(self) -> WorkerAddress:
        """Where it listens: with the port that the system chose, if the given one was 0."""
        if self._server is None or not isinstance(self._address, NetworkAddress):
            return self._address
        return replace(self._address, port=self._server.sockets[0].getsockname()[1])

    def health(self) -> Health:
        """The engine's health, with what it knows of its occupancy."""
        return self._occupancy.added_to(self._engine.health())

    async def stop(self, grace_seconds: float) -> None:
        """Stops listening, waits `grace_seconds` for running calls, cancels the rest, closes."""
        if self._server is not None:
            self._server.close()
        calls = {call for connection in self._connections for call in connection.calls}
        if calls and grace_seconds > 0:
            await asyncio.wait(calls, timeout=grace_seconds)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for connection in tuple(self._connections):
            connection.close()


class _Connection(FrameProtocol):
    """A connection from a gateway."""

    def __init__(self, engine: Engine, connections: set[_Connection], occupancy: Occupancy) -> None:
        """Serves the engine; stays in `connections` until the connection ends."""
        super().__init__()
        self._engine = engine
        self._occupancy = occupancy
        self._connections = connections
        self._calls: dict[int, asyncio.Task[None]] = {}
        connections.add(self)

    @property
    def calls(self) -> list[asyncio.Task[None]]:
        """The running calls."""
        return list(self._calls.values())

    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        """Answers, starts or cancels a call."""
        match kind:
            case Kind.INFO:
                self.send_now(Kind.LAST, call, wire.encode_info(self._engine.info))
            case Kind.HEALTH:
                self.send_now(
                    Kind.LAST,
                    call,
                    wire.encode_health(self._occupancy.added_to(self._engine.health())),
                )
            case Kind.GENERATE | Kind.ANSWER:
                self._begin(kind, call, body)
            case Kind.CANCEL:
                if call in self._calls:
                    self._calls[call].cancel()
            case _:
                raise BrokenFrame

    def ended(self) -> None:
        """Cancels all calls."""
        self._connections.discard(self)
        for call in self._calls.values():
            call.cancel()

    def _begin(self, kind: Kind, call: int, body: memoryview) -> None:
        try:
            request = wire.decode_request(body)
        except SilklineError as error:
            self.send_now(Kind.ERROR, call, wire.encode_error(error))
            return
        task = asyncio.get_running_loop().create_task(self._run(kind, call, request))
        self._calls[call] = task
        task.add_done_callback(lambda _: self._calls.pop(call, None))

    async def _run(self, kind: Kind, call: int, request: Request) -> None:
        """Answers a call; a cancelled call gets no answer."""
        with suppress(ConnectionError):
            try:
                async with self._deltas(request) as deltas:
                    if kind is Kind.ANSWER:
                        whole = join([delta async for delta in deltas])
                        await self.send(Kind.LAST, call, wire.encode_delta(whole))
                        return
                    async for delta in deltas:
                        chunk = Kind.CHUNK if delta.finish_reason is None else Kind.LAST
                        await self.send(chunk, call, wire.encode_delta(delta))
            except SilklineError as error:
                await self.send(Kind.ERROR, call, wire.encode_error(error))

    @asynccontextmanager
    async def _deltas(self, request: Request) -> AsyncGenerator[AsyncGenerator[Delta, None], None]:
        """The engine's stream; logs unexpected errors with the request's id."""
        try:
            with self._occupancy.request():
                async with aclosing(self._engine.generate(request)) as deltas:
                    yield deltas
        except (SilklineError, ConnectionError):
            raise
        except Exception as error:
            fields = {"http.request.id": request.id}
            logger.exception("the engine failed on a request", extra={FIELDS: fields})
            raise InternalFault("The engine failed on this request.") from error


class _NetworkConnection(_Connection):
    """A connection from the network, which serves nothing until the caller has sent the secret."""

    def __init__(
        self,
        engine: Engine,
        connections: set[_Connection],
        occupancy: Occupancy,
        secret: bytes,
    ) -> None:
        super().__init__(engine, connections, occupancy)
        self._secret: bytes | None = secret
        self._received.max_body = _MAX_HELLO_BYTES
        self._timer = asyncio.get_running_loop().call_later(HELLO_SECONDS, self.abort)

    def frame_received(self, kind: Kind, call: int, body: memoryview) -> None:
        """Checks the first frame, and handles the others as those of a Unix socket."""
        if self._secret is None:
            super().frame_received(kind, call, body)
            return
        if kind is not Kind.HELLO or not hmac.compare_digest(bytes(body), self._secret):
            raise BrokenFrame
        self._secret = None
        self._received.max_body = MAX_BODY_BYTES
        self._timer.cancel()

    def ended(self) -> None:
        """Cancels all calls, and the timer."""
        self._timer.cancel()
        super().ended()
