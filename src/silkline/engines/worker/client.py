"""The far engine in the shape of a near one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import grpc
import grpc.aio

from silkline.core import Delta, Request
from silkline.engines.base import Engine, EngineInfo, Health
from silkline.engines.worker import wire
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

CLOSE_SECONDS = 1.0
"""What calls get to end by themselves when the channel closes; a dead worker's end at once."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.enable_retries", 0),  # the pool decides what is sent again
    ("grpc.enable_http_proxy", 0),  # a proxy in the environment has no business here
    ("grpc.use_local_subchannel_pool", 1),  # a new worker does not inherit the old one's backoff
)


class _Calls:
    """The worker's calls on a channel; bodies are bytes on this side, too."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        service = f"/{wire.SERVICE}/"
        self.info = channel.unary_unary(service + wire.INFO, bytes, bytes)
        self.health = channel.unary_unary(service + wire.HEALTH, bytes, bytes)
        self.answer = channel.unary_unary(service + wire.ANSWER, bytes, bytes)
        self.generate = channel.unary_stream(service + wire.GENERATE, bytes, bytes)


class WorkerEngine(Engine):
    """An engine that computes in a worker process, reached over its socket.

    It keeps the engine contract. What is far about it: a lost worker ends a request with
    `WorkerLost`, and `health` is what the last `probe` brought.
    """

    def __init__(self, socket: Path) -> None:
        """Names the worker's socket; nothing is connected before `start`."""
        self._socket = socket
        self._channel: grpc.aio.Channel | None = None
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
        self._channel = grpc.aio.insecure_channel(f"unix:{self._socket}", options=CHANNEL_OPTIONS)
        self._calls = _Calls(self._channel)
        try:
            self._info = wire.decode_info(await self._calls.info(b"", timeout=CALL_SECONDS))
        except grpc.aio.AioRpcError as error:
            await self.aclose()
            raise _error(error) from error
        except InvalidRequest as error:
            await self.aclose()
            raise EnvironmentFault("Gateway and worker are of different versions.") from error

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Answers one request, as the contract says.

        Raises:
            WorkerLost: The worker ended, or was not reached.
            SilklineError: What the far engine raised.
        """
        if self._channel is None:
            raise _lost()
        body = wire.encode_request(request)
        timeout = request.timeout_seconds + DEADLINE_SLACK_SECONDS
        try:
            if not request.stream:
                yield _delta(await self._calls.answer(body, timeout=timeout))
                return
            call = self._calls.generate(body, timeout=timeout)
            try:
                async for piece in call:
                    yield _delta(piece)
            finally:
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise _error(error) from error
        except asyncio.CancelledError:
            if _cancelled_by_caller():
                raise
            raise _lost() from None

    async def probe(self, timeout_seconds: float) -> Health:
        """Asks the worker how its engine gets on; `health` gives the same until the next time.

        Raises:
            WorkerLost: It ended, did not answer in time, or makes no sense.
        """
        try:
            self._health = wire.decode_health(
                await self._calls.health(b"", timeout=timeout_seconds)
            )
        except grpc.aio.AioRpcError as error:
            raise WorkerLost("The worker does not answer.") from error
        except InvalidRequest as error:
            raise WorkerLost("The worker's answer makes no sense.") from error
        return self._health

    def health(self) -> Health:
        """What the last probe brought."""
        return self._health

    async def aclose(self) -> None:
        """Closes the channel; the worker process is its supervisor's business."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(CLOSE_SECONDS)


def _delta(body: bytes) -> Delta:
    try:
        return wire.decode_delta(body)
    except InvalidRequest as error:
        raise _nonsense() from error


def _error(error: grpc.aio.AioRpcError) -> SilklineError:
    """What ended a call: the error that the worker names, else what its absence means."""
    trailing = cast("grpc.aio.Metadata", error.trailing_metadata())
    note = trailing.get(wire.ERROR_KEY)
    if isinstance(note, bytes):
        try:
            return wire.decode_error(note)
        except InvalidRequest:
            return _nonsense()
    match error.code():
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("The engine did not answer in the time of this request.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return RequestTooLarge("The pictures of this request are too large for the engine.")
        case grpc.StatusCode.UNIMPLEMENTED:
            return _nonsense()
    # UNAVAILABLE or CANCELLED; a peer that crashes in the middle may also come as UNKNOWN or
    # INTERNAL, which the worker itself never sends without a note.
    return _lost()


def _nonsense() -> InternalFault:
    return InternalFault("Gateway and worker do not understand each other.")


def _lost() -> WorkerLost:
    return WorkerLost("The engine's process ended while it worked on this request; try again.")


def _cancelled_by_caller() -> bool:
    """Whether a cancellation was meant for this task; a closing channel cancels its calls, too."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
