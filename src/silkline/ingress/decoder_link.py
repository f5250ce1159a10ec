"""The gateway's side of one decoding child: starts it, sends one request at a time, ends it.

The child's output is not trusted, because the image that it decodes may have taken it over. A child
that sends something unrequested, too long or not in the form of `decoder_wire` is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, cast

import msgspec

from silkline.errors import UNDECODABLE, EnvironmentFault
from silkline.ingress.decoder_wire import LENGTHS, Refusal, frame

_PACKAGE = Path(__file__).resolve().parents[1]
_START_TIMEOUT = 30.0
_MAX_HEADER_BYTES = 4096

# The package is set up without running its __init__, and only the folders of Pillow and PDFium are
# added to the path, after the standard library; -I and -S keep everything else out.
_BOOTSTRAP = """
import sys, types
package, memory_bytes, documents, *libraries = sys.argv[1:]
sys.path.extend(libraries)
sys.modules["silkline"] = types.ModuleType("silkline")
sys.modules["silkline"].__path__ = [package]
from silkline.ingress.decoder_child import main
main(int(memory_bytes), documents=documents == "True")
"""

_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
_Bits64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]


class _Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """A header from the child."""


class ReadyMessage(_Message, frozen=True, tag="ready"):
    """The child has started; `confined` if its system calls are filtered."""

    confined: bool


class SizeMessage(_Message, frozen=True, tag="size"):
    """An image's size from its header, in pixels."""

    width: _Count
    height: _Count


class PagesMessage(_Message, frozen=True, tag="pages"):
    """The number of pages of a document."""

    count: _Count


class RefusedMessage(_Message, frozen=True, tag="refused"):
    """The child refuses the image or the document."""

    why: Refusal


class ImageMessage(_Message, frozen=True, tag="picture"):
    """A normalised image; see `normalise.Normalised`."""

    width: _Count
    height: _Count
    original_pixels: _Count
    digest: _Digest
    perceptual: _Bits64
    brightness: _Byte
    resize_seconds: _Seconds
    unchanged: bool


Message = ReadyMessage | SizeMessage | PagesMessage | RefusedMessage | ImageMessage
Reply = tuple[Message, bytes]

_decoder = msgspec.json.Decoder(Message)


class ChildLost(Exception):
    """The child ended or was killed before it answered."""


class DecoderLink(asyncio.SubprocessProtocol):
    """A child process and the pipes to it.

    Attributes:
        confined: Whether the child's system calls are filtered; known once it is ready.
    """

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._lost = False
        self.confined = False
        self._reply: asyncio.Future[Reply] | None = None
        self._chunks: list[bytes] = []
        self._received = 0
        self._max_body = 0

    @classmethod
    async def spawn(cls, memory_bytes: int, *, documents: bool = False) -> DecoderLink:
        """Starts a child and waits until it is ready.

        Args:
            memory_bytes: Maximum address space of the child, in bytes.
            documents: Whether it renders documents instead of decoding images.

        Raises:
            EnvironmentFault: The child does not start.
        """
        libraries = [_folder("PIL", "pillow>=13")]
        if documents:
            libraries.append(_folder("pypdfium2", "silkline[pdf]"))
        loop = asyncio.get_running_loop()
        try:
            _, link = await loop.subprocess_exec(
                cls,
                sys.executable,
                *("-I", "-S", "-c", _BOOTSTRAP),
                *(str(_PACKAGE), str(memory_bytes), str(documents), *libraries),
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        except OSError as error:
            raise _not_started() from error
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await link.ready()
        except (ChildLost, TimeoutError) as error:
            await link.end()
            raise _not_started() from error
        except asyncio.CancelledError:
            await link.end()
            raise
        return link

    @property
    def alive(self) -> bool:
        """Whether the child can take requests."""
        return not self._lost

    async def ready(self) -> None:
        """Waits for the child's first frame.

        Raises:
            ChildLost: The child ended, or sent another message.
        """
        message, _ = await self._await_reply(max_body=0)
        if not isinstance(message, ReadyMessage):
            raise ChildLost
        self.confined = message.confined

    async def ask(self, header: bytes, body: bytes, max_body: int) -> Reply:
        """Sends a request and waits for its reply. Send no other request in the meantime.

        A caller that stops waiting must `end` the child, because the late reply would be taken for
        the reply to the next request.

        Args:
            header: The request in JSON.
            body: The encoded image or the document.
            max_body: Maximum length of the reply's body, in bytes.

        Raises:
            ChildLost: The child ended, or broke the protocol.
        """
        if self._transport is None or self._lost:
            raise ChildLost
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        waiting = self._await_reply(max_body)
        pipe.write(frame(header, len(body)))
        pipe.write(body)
        return await waiting

    async def end(self) -> None:
        """Kills the child and waits until it has exited. Idempotent."""
        self._kill()
        if self._transport is not None:
            await asyncio.shield(self._ended)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.SubprocessProtocol`."""
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002
        """Gathers a reply. See `asyncio.SubprocessProtocol`."""
        self._chunks.append(data)
        self._received += len(data)
        if self._reply is None or self._reply.done():
            self._lose()
        elif self._received >= LENGTHS.size:
            self._take_reply(self._reply)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.SubprocessProtocol`."""
        self._lose()

    def process_exited(self) -> None:
        """See `asyncio.SubprocessProtocol`."""
        self._lose()
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See `asyncio.SubprocessProtocol`."""
        self._lose()
        if not self._ended.done():
            self._ended.set_result(None)

    def _await_reply(self, max_body: int) -> asyncio.Future[Reply]:
        self._max_body = max_body
        self._reply = asyncio.get_running_loop().create_future()
        return self._reply

    def _take_reply(self, reply: asyncio.Future[Reply]) -> None:
        """Completes the reply once its whole frame has arrived."""
        if len(self._chunks[0]) < LENGTHS.size:
            self._chunks = [b"".join(self._chunks)]
        header_bytes, body_bytes = LENGTHS.unpack_from(self._chunks[0])
        whole = LENGTHS.size + header_bytes + body_bytes
        too_long = header_bytes > _MAX_HEADER_BYTES or body_bytes > self._max_body
        if too_long or self._received > whole:
            self._lose()
        elif self._received == whole:
            data = b"".join(self._chunks)
            body_at = LENGTHS.size + header_bytes
            try:
                message = _decoder.decode(memoryview(data)[LENGTHS.size : body_at])
            except UNDECODABLE:
                self._lose()
                return
            self._chunks, self._received = [], 0
            reply.set_result((message, data[body_at:]))

    def _lose(self) -> None:
        """Gives up a child that has exited or broken the protocol: fails its request, kills it."""
        self._lost = True
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ChildLost())
        self._kill()

    def _kill(self) -> None:
        """Kills the child unless it is known to have exited.

        The transport's own `kill` and `close` would race with the event loop's child watcher: they
        reap a child that has just died, and the watcher then logs a warning.
        """
        if self._transport is not None and self._transport.get_returncode() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._transport.get_pid(), signal.SIGKILL)


def _folder(library: str, requirement: str) -> str:
    """The folder that a library is installed in. Raises `EnvironmentFault` if it is not."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        raise EnvironmentFault(
            f"{library} is not installed.", remedy=f"pip install '{requirement}'"
        )
    return str(Path(spec.origin).parents[1])


def _environment() -> dict[str, str]:
    """The only part of the gateway's environment that the interpreter may need to load."""
    libraries = os.environ.get("LD_LIBRARY_PATH")
    return {} if libraries is None else {"LD_LIBRARY_PATH": libraries}


def _not_started() -> EnvironmentFault:
    return EnvironmentFault(
        "The process that decodes images does not start.", remedy="silkline doctor"
    )
