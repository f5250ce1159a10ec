"""A client that writes down exactly what it saw: one request, one connection.

It speaks HTTP through h11, which tells a whole response from a truncated one, and it may leave in
the middle or read slowly, which no polite client library does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.campaign.history import History, Operation, Outcome
from tests.campaign.questions import Question

_OK = 200
_READ_BYTES = 64 * 1024
_GIVE_UP_SECONDS = 30.0
"""How long after the deadline a client waits before it says that the request hangs."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client behaves.

    Attributes:
        deadline_seconds: What the request may take, as the server was told.
        leave_seconds: The client goes away so long after it began; None for never.
        bytes_per_second: How fast it reads; None for as fast as it comes.
        headers: Further headers.
    """

    deadline_seconds: float = 30.0
    leave_seconds: float | None = None
    bytes_per_second: float | None = None
    headers: Sequence[tuple[str, str]] = ()


class Client:
    """Asks one server and writes into one history."""

    def __init__(
        self, address: tuple[str, int], history: History, path: str = "/v1/chat/completions"
    ) -> None:
        self._address = address
        self._history = history
        self._path = path

    async def ask(self, name: str, question: Question, manner: Manner = Manner()) -> Operation:
        """Asks once; whatever happens is in the operation, nothing is raised."""
        self._history.begun.append(name)
        exchange = _Exchange(name, question, manner)
        outcome, detail = await self._outcome(exchange, manner)
        operation = exchange.operation(outcome, detail)
        self._history.operations.append(operation)
        return operation

    async def _outcome(self, exchange: _Exchange, manner: Manner) -> tuple[Outcome, str]:
        patience = manner.leave_seconds
        leaves = patience is not None
        if patience is None:
            patience = manner.deadline_seconds + _GIVE_UP_SECONDS
        try:
            async with asyncio.timeout(patience):
                await exchange.run(self._address, self._path)
        except TimeoutError:
            return (Outcome.LEFT, "") if leaves else (Outcome.HUNG, "the client gave up")
        except h11.RemoteProtocolError as error:
            return Outcome.CUT, f"{error}, after {exchange.got}"
        except OSError as error:
            return (Outcome.CUT if exchange.port else Outcome.UNREACHABLE), repr(error)
        finally:
            exchange.close()
        return exchange.judged()


@dataclass(slots=True)
class _Exchange:
    """One request and what came back so far."""

    name: str
    question: Question
    manner: Manner
    began: float = field(default_factory=time.monotonic)
    first_byte: float | None = None
    port: int = 0
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    writer: asyncio.StreamWriter | None = None

    @property
    def got(self) -> str:
        return f"status {self.status} and {len(self.body)} bytes"

    async def run(self, address: tuple[str, int], path: str) -> None:
        reader, self.writer = await _connect(address, slow=self.manner.bytes_per_second is not None)
        self.port = self.writer.get_extra_info("sockname")[1]
        machine = h11.Connection(h11.CLIENT)
        headers = [
            ("host", "campaign"),
            ("content-type", "application/json"),
            ("content-length", str(len(self.question.body))),
            ("x-request-id", self.name),
            ("connection", "close"),
            *self.question.headers,
            *self.manner.headers,
        ]
        for sent in (
            h11.Request(method="POST", target=path, headers=headers),
            h11.Data(self.question.body),
            h11.EndOfMessage(),
        ):
            self.writer.write(machine.send(sent) or b"")
        with suppress(ConnectionError):  # the server may answer before it has read all
            await self.writer.drain()
        await self._read(reader, machine)

    async def _read(self, reader: asyncio.StreamReader, machine: h11.Connection) -> None:
        pace = self.manner.bytes_per_second
        while True:
            event = machine.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(_READ_BYTES if pace is None else 1024)
                if pace is not None:
                    await asyncio.sleep(len(data) / pace)
                machine.receive_data(data)
            elif isinstance(event, h11.Response):
                self.first_byte = time.monotonic()
                self.status = event.status_code
                self.headers = {name.decode(): value.decode() for name, value in event.headers}
            elif isinstance(event, h11.Data):
                self.body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("the connection was closed without a response")

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()

    @property
    def _streams(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    def judged(self) -> tuple[Outcome, str]:
        """The outcome of a response that came whole."""
        if self.status != _OK:
            known = _json(self.body).get("error", {}).get("code") is not None
            return (Outcome.REFUSED if known else Outcome.MALFORMED), self._shown()
        if not self._streams:
            whole = not self.question.stream and bool(_json(self.body).get("choices"))
            return (Outcome.ANSWERED if whole else Outcome.MALFORMED), self._shown()
        _, error, done = _streamed(self.body)
        if done and error is None:
            return Outcome.ANSWERED, ""
        if error is not None and not done:
            return Outcome.BROKEN_OFF, self._shown()
        return Outcome.MALFORMED, self._shown()

    def _shown(self) -> str:
        return f"status {self.status}: {bytes(self.body[-300:]).decode(errors='replace')}"

    def operation(self, outcome: Outcome, detail: str) -> Operation:
        text, error = "", _json(self.body).get("error")
        if self._streams:
            text, error, _ = _streamed(self.body)
        elif outcome is Outcome.ANSWERED:
            text = str(_json(self.body)["choices"][0]["message"]["content"])
        return Operation(
            id=self.name,
            began=self.began,
            ended=time.monotonic(),
            deadline_seconds=self.manner.deadline_seconds,
            port=self.port,
            outcome=outcome,
            expected=self.question.expected,
            text=text,
            status=self.status,
            code=None if error is None else error.get("code"),
            echoed=self.headers.get("x-request-id"),
            retry_after=self.headers.get("retry-after"),
            state=self.headers.get("x-silkline-cache"),
            stream=self.question.stream,
            sound=self.question.sound,
            first_byte=self.first_byte,
            detail=detail,
        )


async def _connect(
    address: tuple[str, int], *, slow: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not slow:
        return await asyncio.open_connection(*address)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, address)
    return await asyncio.open_connection(sock=connection, limit=2048)


def _json(body: bytes | bytearray) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _streamed(body: bytes | bytearray) -> tuple[str, dict[str, Any] | None, bool]:
    """The text of an event stream as far as it is whole, its error, and whether it is done."""
    text, error, done = [], None, False
    for event in bytes(body).split(b"\n\n")[:-1]:
        name, _, data = event.rpartition(b"data: ")
        if data == b"[DONE]":
            done = True
        elif name.startswith(b"event: error"):
            error = _json(data).get("error", {})
        else:
            choices = _json(data).get("choices", ())
            text += [choice["delta"].get("content") or "" for choice in choices]
    return "".join(text), error, done
