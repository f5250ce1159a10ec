"""The messages between the owner and a gateway process, over a socket pair.

A message is its length in four bytes and a msgpack body.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import msgspec

from silkline.core import EngineInfo
from silkline.engines.worker.start_errors import FaultKind
from silkline.engines.worker.status import WorkerStatus
from silkline.errors import UNDECODABLE
from silkline.gateway.address import SocketAddress
from silkline.models.gate import GateRecord
from silkline.observe.exposition import Format
from silkline.observe.families import Family

_LENGTH = struct.Struct("<I")
_Sent = TypeVar("_Sent")
_Received = TypeVar("_Received")


class Start(msgspec.Struct, tag=True):
    """What a gateway process needs to start; the first message to it.

    Attributes:
        process: Its index.
        settings: Its settings, as JSON.
        sources: Where they came from.
        workers: The number of workers.
        engine: The engine's name.
        gate: What the gate found about the model, if it is a bundle that was gated.
        addresses: Family and address of each socket that it listens on.
    """

    process: int
    settings: str
    sources: dict[str, str]
    workers: int
    engine: str
    gate: GateRecord | None
    addresses: list[tuple[int, SocketAddress]]


class Workers(msgspec.Struct, tag=True):
    """The status of each worker, in their order."""

    workers: list[WorkerStatus]


class Read(msgspec.Struct, tag=True):
    """Asks a gateway process for its metrics; also shows whether it still responds."""

    number: int


class Merged(msgspec.Struct, tag=True):
    """The merged metrics of all processes; answers `ReadAll`."""

    number: int
    text: bytes


class Ready(msgspec.Struct, tag=True):
    """The gateway process accepts connections, and this model serves."""

    info: EngineInfo


class Refused(msgspec.Struct, tag=True):
    """The gateway process cannot start.

    Attributes:
        kind: The kind of the error.
        message: Its message.
    """

    kind: FaultKind
    message: str


class Lost(msgspec.Struct, tag=True):
    """A worker lost a request: the one with this index, while it was at this socket."""

    worker: int
    socket: str


class Figures(msgspec.Struct, tag=True):
    """The metrics of a gateway process; answers `Read`."""

    number: int
    families: list[Family]


class ReadAll(msgspec.Struct, tag=True):
    """Asks the owner for the metrics of all processes, in a text format."""

    number: int
    form: Format


ToGateway = Start | Workers | Read | Merged
ToOwner = Ready | Refused | Lost | Figures | ReadAll


class Channel(Generic[_Sent, _Received]):
    """One end of the socket pair."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decoder: msgspec.msgpack.Decoder[_Received],
    ) -> None:
        """Takes an open connection; use `owners_end` or `gateways_end`."""
        self._reader = reader
        self._writer = writer
        self._decoder = decoder

    def send(self, message: _Sent) -> None:
        """Sends a message; it is lost if the other side has ended."""
        body = msgspec.msgpack.encode(message)
        if not self._writer.is_closing():
            self._writer.write(_LENGTH.pack(len(body)) + body)

    async def flush(self) -> None:
        """Waits until the messages have been sent, as far as the other side reads them."""
        await self._writer.drain()

    async def received(self) -> AsyncIterator[_Received]:
        """Yields the messages until the other side ends, or sends something invalid."""
        try:
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                yield self._decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, OSError, *UNDECODABLE):
            return

    def close(self) -> None:
        """Closes the connection."""
        self._writer.close()


async def owners_end(end: socket.socket) -> Channel[ToGateway, ToOwner]:
    """The owner's end of a connection to a gateway process."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    return Channel(reader, writer, msgspec.msgpack.Decoder(ToOwner))


async def gateways_end(end: socket.socket) -> Channel[ToOwner, ToGateway]:
    """The end of a gateway process of its connection to the owner."""
    reader, writer = await asyncio.open_unix_connection(sock=end)
    return Channel(reader, writer, msgspec.msgpack.Decoder(ToGateway))
