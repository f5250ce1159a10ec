"""The remote engine: sends requests to a server with an OpenAI-compatible API."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from silkline.config import RemoteSettings
from silkline.config.remotes import API
from silkline.core import (
    Delta,
    EngineInfo,
    Feature,
    Health,
    ImagePart,
    Request,
    TextPart,
    Usage,
    join,
)
from silkline.engines.base import Engine
from silkline.engines.probe import Prober
from silkline.engines.remote.answer import CHARACTERS_A_TOKEN, AnswerReader
from silkline.engines.remote.body import ImageForm, check, encode_body
from silkline.engines.remote.call import EVENTS, JSON, Call, headers_of
from silkline.engines.remote.dialect import Dialect
from silkline.engines.remote.failures import (
    failure_in_body,
    is_about_fields,
    is_denial,
    lost,
    refusal,
    too_late,
)
from silkline.engines.remote.fields import Body, fields_of
from silkline.engines.remote.link import RemoteLink, Reply
from silkline.engines.remote.listing import Listing, read_listing
from silkline.engines.remote.servers import ServerKind
from silkline.engines.remote.slots import FOR_NOW, PATHS, limit_for, read_slots
from silkline.engines.remote.sse import Event, EventParser
from silkline.errors import (
    DeadlineExceeded,
    Overloaded,
    SilklineError,
    WorkerLost,
    not_running,
)

logger = logging.getLogger("silkline.remote")

PROBE_SECONDS = 5.0
"""Maximum seconds for a response to `GET /models`."""

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Maximum size of a response; the answers of all models are far smaller."""

DUPLICATE_SECONDS = 0.5
"""Pause before a request is sent again while the server still works on an earlier attempt."""

_CHAT = f"{API}/chat/completions"
_RAW = f"{API}/completions"
_OK = 200
_IN_PROGRESS = 409
_INLINE_PIXEL_BYTES = 64 * 1024


class RemoteEngine(Engine):
    """A client of one server.

    Attributes:
        seen_at: When the server last sent a byte, by the event loop's clock.
        progress_at: When it last sent a part of an answer, by the same clock.
        image_form: How images are sent to it.
        link: The connections to the server.
        denied_at: When it last refused a request for its key, path or model; -inf if it never did,
            or has answered since.
        limit: Maximum requests in flight: the setting, else what fits the server, see `slots`.
        dialect: The fields that it accepts, as far as is known; reset when it restarts or changes.
    """

    def __init__(
        self, settings: RemoteSettings, key: str | None, socket: Path | None = None
    ) -> None:
        """Takes the server's settings; nothing is connected before `start`.

        Args:
            settings: The settings of this server.
            key: Its API key.
            socket: The unix socket that it listens on; None connects to the URL's host.
        """
        self._settings = settings
        root = settings.url.removesuffix(API)
        self.link = RemoteLink(root, key, settings.timeout, socket)
        local = socket is not None or settings.is_loopback
        self.image_form = ImageForm(settings.image_files, compressed=not local)
        self._info: EngineInfo | None = None
        self._known: Listing | None = None
        self._calls: set[Call] = set()
        self._warned: set[str] = set()
        self.progress_at = -math.inf
        self.seen_at = -math.inf
        self.denied_at = -math.inf
        self.limit = settings.limit or limit_for(None)
        self._limit_known = False
        self.dialect = Dialect()

    @property
    def info(self) -> EngineInfo:
        """The info in the server's model list; raises `Overloaded` until that is read."""
        if self._info is None:
            raise Overloaded("The model's server is not ready yet; try again shortly.")
        return self._info

    async def start(self) -> None:
        """Opens the connection pool and reads the server's model list; may be called again.

        Raises:
            WorkerLost: The server cannot be reached, or does not serve the configured model.
        """
        self.link.open()
        await self.probe()

    async def probe(self) -> None:
        """Reads the server's model list and updates `info`; cheap for the server.

        Raises:
            WorkerLost: The server does not answer properly.
            ShuttingDown: The engine is closed.
        """
        try:
            listing = await self._listing()
        except WorkerLost:
            self._known = None  # it may be another server when it comes back
            raise
        if listing != self._known:
            self.dialect = Dialect(listing.server, listing.info.context_length)
            self._limit_known = self._settings.limit is not None
        self._known = listing
        self._info = listing.info
        self.seen_at = _now()
        self.link.heard()
        if not self._limit_known:
            await self._ask_limit(listing.server)

    async def _ask_limit(self, server: ServerKind) -> None:
        """Takes the limit from the server; it is asked again if it cannot tell at the moment."""
        self.limit = limit_for(None)
        with suppress(WorkerLost, DeadlineExceeded):
            for path in PATHS.get(server, ()):
                status, body = await self.link.get(path, PROBE_SECONDS)
                if status in FOR_NOW:
                    return
                if status == _OK:
                    self.limit = limit_for(read_slots(body))
                    break
            self._limit_known = True

    async def _listing(self) -> Listing:
        try:
            status, body = await self.link.get(f"{API}/models", PROBE_SECONDS)
        except DeadlineExceeded as error:
            raise lost("does not answer") from error
        if is_denial(status):
            raise lost("is not configured for this gateway")
        if status != _OK:
            raise lost("is not ready")
        return read_listing(body, self._settings)

    def health(self) -> Health:
        """See `Engine`; progress is the last part of any answer.

        A whole answer shows none until it is complete, so it does not count as stuck before the
        server's `timeout`.
        """
        if not self._calls:
            return Health(running=0, queued=0, seconds_since_progress=0.0)
        running = sum(1 for call in self._calls if call.answered)
        return Health(running, len(self._calls) - running, max(0.0, _now() - self._progress()))

    def is_stuck(self, seconds: float) -> bool:
        """Whether it has requests, and has made no progress for this long; see `health`."""
        limit = _now() - seconds
        return self.progress_at <= limit and bool(self._calls) and self._progress() <= limit

    def _progress(self) -> float:
        """When it last made progress, or should have; there must be requests."""
        return max(self.progress_at, min(call.due for call in self._calls))

    async def aclose(self) -> None:
        """Closes all connections; requests in flight end with `WorkerLost`."""
        await self.link.aclose()

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`.

        Raises:
            InputError: The request is invalid, for Silkline or for the server.
            Overloaded: The server is overloaded.
            WorkerLost: The server failed, or cannot be reached.
            DeadlineExceeded: The request's deadline has passed.
            ShuttingDown: The engine has not started or is closed.
        """
        if self._info is None:
            raise not_running()
        check(request, self._known and self._known.names)
        tools = request.options.tools
        if tools and Feature.TOOLS not in self._info.features:  # none may be called: send none
            request = replace(request, options=replace(request.options, tools=()))
        fields = fields_of(request)
        if request.timeout_seconds <= 0:
            raise too_late()
        call = Call.of(request, self._settings.timeout)
        deadline = call.began + request.timeout_seconds
        self._calls.add(call)
        try:
            async with (
                self._accepted(request, fields, call, deadline) as reply,
                aclosing(self._answer(reply, request, call)) as deltas,
            ):
                async for delta in deltas:
                    yield delta
        finally:
            self._calls.discard(call)

    async def complete(self, body: bytes, seconds: float) -> bytes:
        """Sends an unstreamed chat completion and returns the response's body; for the prober.

        Args:
            body: The body of the request.
            seconds: Maximum seconds until the response is complete.

        Raises:
            SilklineError: As `generate` does.
        """
        async with self.link.post(_CHAT, body, _now() + seconds, {"accept": JSON}) as reply:
            self.seen_at = _now()
            if reply.status != _OK:
                raise self._refused(reply, await reply.head_of_body())
            return await self._whole(reply)

    async def prober(self) -> Prober:
        """See `silkline.engines.probe.Probed`."""
        from silkline.engines.remote.probe import RemoteProber  # noqa: PLC0415 - rarely needed

        return RemoteProber(self)

    @asynccontextmanager
    async def _accepted(
        self, request: Request, fields: Body, call: Call, deadline: float
    ) -> AsyncGenerator[Reply, None]:
        """The response with the answer; tries another dialect if the server refuses a field."""
        dialect, last_refusal = self.dialect, None
        types = {EVENTS} if request.stream else {JSON, EVENTS}
        path, patient = _RAW if request.options.raw else _CHAT, not request.stream
        while True:
            sent = dialect.translate(fields)
            call.sent = sent.keys()
            body = await _encoded(request, self.info.model, sent, self.image_form, deadline)
            headers = headers_of(request, body)
            async with self.link.post(path, body, deadline, headers, patient=patient) as reply:
                if reply.status != _IN_PROGRESS or not request.idempotency_key:
                    self.seen_at = self.progress_at = _now()
                    if reply.status == _OK and reply.media_type in types:
                        self._learn(dialect.accepted(sent))
                        yield reply
                        return
                    body_start = await reply.head_of_body()
                    error = self._refused(reply, body_start, call.sent)
                    following = dialect.after(body_start, sent) if is_about_fields(error) else None
                    if following is None or body_start == last_refusal:
                        raise error
                    dialect, last_refusal = following, body_start
                    continue
            # The server still works on an earlier attempt.
            if _now() + DUPLICATE_SECONDS >= deadline:
                raise too_late()
            await asyncio.sleep(DUPLICATE_SECONDS)

    def _learn(self, dialect: Dialect) -> None:
        if dialect.refused > self.dialect.refused:
            names = sorted(dialect.refused)
            fields = {"silkline.remote": self._settings.name, "silkline.fields": names}
            logger.warning("a remote server refuses optional fields", extra={"ecs": fields})
        self.dialect = dialect

    async def _answer(
        self, reply: Reply, request: Request, call: Call
    ) -> AsyncGenerator[Delta, None]:
        self.denied_at = -math.inf
        whole = reply.media_type != EVENTS
        reader = AnswerReader(request.sampling, call.sent, whole=whole)
        async with aclosing(self._events(reply)) as received:
            async for events in received:
                deltas = [delta for event in events if (delta := reader.read(event)) is not None]
                if deltas:
                    call.answered = call.answered or _now()
                for delta in _together(deltas):
                    yield delta
                if reader.done:
                    break
        if reader.finish_reason is None:
            raise lost("broke the answer off")
        if reader.done:
            await reply.drain()
        if reader.odd_parts:
            self._warn("a remote server sends parts of an unknown type: they are left out")
        if not reader.has_usage:
            self._warn("a remote server reports no usage: it is estimated")
        usage = reader.usage(self._estimate(request, reader.tokens))
        timeline = call.timeline(whole=whole)
        yield Delta("", reader.finish_reason, usage, timeline, stop=reader.stop)

    async def _events(self, reply: Reply) -> AsyncGenerator[list[Event], None]:
        """The events of a stream, as many as came at once; a whole answer is one event."""
        if reply.media_type != EVENTS:
            event = Event(b"", await self._whole(reply))
            self.progress_at = self.seen_at
            yield [event]
            return
        parser, received = EventParser(), 0
        while data := await self._read(reply, received):
            received += len(data)
            if events := parser.feed(data):
                self.progress_at = self.seen_at
                yield events

    async def _whole(self, reply: Reply) -> bytes:
        body = bytearray()
        while data := await self._read(reply, len(body)):
            body += data
        return bytes(body)

    async def _read(self, reply: Reply, received: int) -> bytes:
        """The next chunk after so many bytes; raises `WorkerLost` if the body is too long."""
        data = await reply.read()
        self.seen_at = _now()
        if received + len(data) > MAX_ANSWER_BYTES:
            raise lost("sent an answer without an end")
        return data

    def _refused(self, reply: Reply, body: bytes, sent: Collection[str] = ()) -> SilklineError:
        if reply.status == _OK:
            return failure_in_body(body, sent)
        if is_denial(reply.status):
            self.denied_at = _now()
            fields = {"silkline.remote": self._settings.name, "silkline.status": reply.status}
            logger.warning(
                "a remote server refuses the gateway's key, path or model", extra={"ecs": fields}
            )
        return refusal(reply.status, reply.headers, body, sent)

    def _estimate(self, request: Request, completion_tokens: int) -> Usage:
        """Estimates usage from characters and images, for servers that report none."""
        parts = [part for message in request.messages for part in message.parts]
        images = sum(isinstance(part, ImagePart) for part in parts)
        characters = sum(len(part.text) for part in parts if isinstance(part, TextPart))
        characters += sum(
            len(tool.description) + len(tool.parameters) for tool in request.options.tools
        )
        image_tokens = images * self.info.image_tokens
        prompt_tokens = math.ceil(characters / CHARACTERS_A_TOKEN) + image_tokens
        return Usage(prompt_tokens, completion_tokens, image_tokens)

    def _warn(self, message: str) -> None:
        """Logs a warning about the server, once."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message, extra={"ecs": {"silkline.remote": self._settings.name}})


async def _encoded(
    request: Request, model: str, fields: Body, form: ImageForm, deadline: float
) -> bytes:
    """The body of the request; large images are encoded as PNG in a thread."""
    encoded = (image for image in request.images if not form.is_file(image))
    if sum(len(image.pixels) for image in encoded) <= _INLINE_PIXEL_BYTES:
        return encode_body(request, model, fields, form)
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.to_thread(encode_body, request, model, fields, form)
    except TimeoutError as error:
        raise too_late() from error


def _together(deltas: Sequence[Delta]) -> Sequence[Delta]:
    """Joins text that came at once: each delta costs the same, however short it is."""
    if len(deltas) > 1 and all(delta == Delta(delta.text) for delta in deltas):
        return [join(deltas)]
    return deltas


def _now() -> float:
    return asyncio.get_running_loop().time()
