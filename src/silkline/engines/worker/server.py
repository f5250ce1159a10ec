"""The worker's side of the wire: an engine as a gRPC service on a socket."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import grpc.aio

from silkline.core import Delta
from silkline.engines.base import Engine
from silkline.engines.text import join
from silkline.engines.worker import wire
from silkline.engines.worker.logs import FIELDS
from silkline.errors import (
    CapacityError,
    DeadlineExceeded,
    InputError,
    InternalFault,
    Overloaded,
    SilklineError,
)

logger = logging.getLogger(__name__)

_Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
)

_STATUS: tuple[tuple[type[SilklineError], grpc.StatusCode], ...] = (
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (CapacityError, grpc.StatusCode.UNAVAILABLE),
    (SilklineError, grpc.StatusCode.INTERNAL),
)
"""gRPC status by the first class that fits; the exact error goes in the trailing metadata."""


def create_server(engine: Engine, socket: Path) -> grpc.aio.Server:
    """Makes a server, not started yet, that serves `engine` on a unix socket.

    Who may connect is decided by the folder of the socket, which only its owner may enter.
    """
    service = _Service(engine)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((service.handlers(),))
    server.add_insecure_port(f"unix:{socket}")
    return server


class _Service:
    """The calls."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def handlers(self) -> grpc.GenericRpcHandler[bytes, bytes]:
        """The calls by name; bodies are left as bytes, so that a wrong one gets a typed error."""
        return grpc.method_handlers_generic_handler(
            wire.SERVICE,
            {
                wire.INFO: grpc.unary_unary_rpc_method_handler(self._info),
                wire.HEALTH: grpc.unary_unary_rpc_method_handler(self._health),
                wire.GENERATE: grpc.unary_stream_rpc_method_handler(self._generate),
                wire.ANSWER: grpc.unary_unary_rpc_method_handler(self._answer),
            },
        )

    async def _info(self, _body: bytes, _context: _Context) -> bytes:
        return wire.encode_info(self._engine.info)

    async def _health(self, _body: bytes, _context: _Context) -> bytes:
        return wire.encode_health(self._engine.health())

    async def _generate(self, body: bytes, context: _Context) -> None:
        """Streams the answer; a client that leaves cancels this task, and with it the request."""
        async with _errors_told(context), self._deltas(body) as deltas:
            async for delta in deltas:
                await context.write(wire.encode_delta(delta))

    async def _answer(self, body: bytes, context: _Context) -> bytes:
        """Gives the whole answer as one delta; a client that leaves cancels this task."""
        async with _errors_told(context), self._deltas(body) as deltas:
            return wire.encode_delta(join([delta async for delta in deltas]))

    @asynccontextmanager
    async def _deltas(self, body: bytes) -> AsyncGenerator[AsyncGenerator[Delta, None], None]:
        """The engine's stream; a defect while it is read is logged under the request's id."""
        request = wire.decode_request(body)
        try:
            async with aclosing(self._engine.generate(request)) as deltas:
                yield deltas
        except SilklineError:
            raise
        except Exception as error:
            fields = {"http.request.id": request.id}
            logger.exception("the engine failed on a request", extra={FIELDS: fields})
            raise InternalFault("The engine failed on this request.") from error


@asynccontextmanager
async def _errors_told(context: _Context) -> AsyncGenerator[None, None]:
    """Ends the call with the error of the block, in a form that the client can raise again."""
    try:
        yield
    except SilklineError as error:
        await _abort(context, error)


async def _abort(context: _Context, error: SilklineError) -> None:
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    note = ((wire.ERROR_KEY, wire.encode_error(error)),)
    await context.abort(status, trailing_metadata=note)
