"""The engine contract over a server that is this engine's own child."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from silkline.config import RemoteSettings
from silkline.core import Delta, EngineInfo, Health, Message, PixelBudget, Request, TextPart
from silkline.engines.base import Engine
from silkline.engines.managed.process import ServerProcess
from silkline.engines.managed.server import Server
from silkline.engines.managed.start_failure import last_words, start_failure
from silkline.engines.prompt_text import SafeText
from silkline.engines.remote.body import check
from silkline.engines.remote.engine import RemoteEngine
from silkline.engines.remote.link import RemoteLink
from silkline.errors import DeadlineExceeded, EngineFailed, WorkerLost, not_running
from silkline.models.image_tokens import SmartResize

_URL = "http://localhost"
_SOCKET = "http.sock"  # llama-server tells a socket from a host by the ending
_HEALTH = "/health"
_OK = 200
_LOOK_SECONDS = 0.2
_PROBE_SECONDS = 5.0
_END_SECONDS = 2.0
"""What a server may take to end that has lost a call by it."""

_PATIENCE_SECONDS = 3600.0
"""Seconds that a request may wait without a byte: the supervisor judges by all requests together,
and each has its own deadline."""

_KEY_BYTES = 32


class ManagedEngine(Engine):
    """Starts a server, waits until it serves, and asks it as the remote engine does."""

    def __init__(self, server: Server) -> None:
        """Takes what is to be started; nothing runs before `start`."""
        self._server = server
        self._logger = logging.getLogger(f"silkline.{server.engine}")
        self._safe = SafeText(server.model.reserved)
        self._folder: Path | None = None
        self._process: ServerProcess | None = None
        self._remote: RemoteEngine | None = None
        self._info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        if self._info is None:
            raise not_running()
        return self._info

    async def start(self) -> None:
        """Starts the server and returns when it serves.

        Raises:
            EnvironmentFault: It ended, or took too long; the message has what it said last.
            ConfigError: It refuses a flag, or the model.
        """
        # For this user only (0700), so that nobody else reaches the server: vLLM's key does not
        # guard all of its paths.
        self._folder = Path(tempfile.mkdtemp(prefix="silkline-"))
        key = secrets.token_urlsafe(_KEY_BYTES)
        socket = self._folder / _SOCKET
        server = self._server
        try:
            self._process = await ServerProcess.spawn(
                server.command(socket),
                self._folder,
                server.environment(key, os.environ),
                key,
                self._logger,
            )
            self._remote = RemoteEngine(self._settings(), key, socket)
            await self._until_it_serves(self._process, self._remote, RemoteLink(
                _URL, key, _PROBE_SECONDS, socket
            ))  # fmt: skip
        except BaseException:
            await self.aclose()
            raise
        self._process.serving = True
        self._info = self._told(self._remote.info)

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`.

        Raises:
            WorkerLost: The server has ended.
            EngineFailed: It failed at this request, and goes on with others.
            SilklineError: As the remote engine.
        """
        if self._remote is None:
            raise not_running()
        check(request)
        tokens = self._server.model.image_tokens(request)
        messages = tuple(self._without_tags(message) for message in request.messages)
        asked = replace(request, messages=messages)
        try:
            async with aclosing(self._remote.generate(asked)) as deltas:
                async for delta in deltas:
                    yield _counted(delta, tokens)
        except WorkerLost as error:
            if await self._ends():
                raise
            # Whoever hears of a lost worker ends it, with all its requests.
            raise EngineFailed(
                "The model's server failed at this request, and goes on with others. Try again, "
                "or change the request."
            ) from error

    def health(self) -> Health:
        """See `Engine`; judged by the events of the answers."""
        if self._remote is None:
            return Health(running=0, queued=0, seconds_since_progress=0.0)
        return self._remote.health()

    async def failed(self) -> None:
        """See `Engine`: the server has ended."""
        if self._process is None:
            raise not_running()
        process = self._process
        await process.wait()
        await process.end()  # whatever it has left
        words = last_words(process.lines)
        self._logger.error("the server %s; it said: %s", process.ending, words or "nothing")

    async def aclose(self) -> None:
        """See `Engine`."""
        remote, self._remote = self._remote, None
        process, self._process = self._process, None
        folder, self._folder = self._folder, None
        if remote is not None:
            await remote.aclose()
        if process is not None:
            await process.end()
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _ends(self) -> bool:
        """Whether the server is gone, or is just going."""
        return self._process is None or await self._process.ended_within(_END_SECONDS)

    async def _until_it_serves(
        self, process: ServerProcess, remote: RemoteEngine, link: RemoteLink
    ) -> None:
        seconds = self._server.own.start_seconds
        link.open()
        try:
            async with asyncio.timeout(seconds):
                while not await self._serves(remote, link):
                    if await process.ended_within(_LOOK_SECONDS):
                        await process.wait()
                        raise start_failure(self._server.engine, process.ending, process.lines)
        except TimeoutError:
            ending = f"had {seconds:g} seconds (the engine option start_seconds), which were over"
            raise start_failure(self._server.engine, ending, process.lines) from None
        finally:
            await link.aclose()

    async def _serves(self, remote: RemoteEngine, link: RemoteLink) -> bool:
        try:
            status, _ = await link.get(_HEALTH, _PROBE_SECONDS)
            if status != _OK:
                return False
            await remote.start()
        except (WorkerLost, DeadlineExceeded):  # busy loading, perhaps
            return False
        return True

    def _settings(self) -> RemoteSettings:
        server = self._server
        return RemoteSettings(
            url=_URL,
            name=server.engine,
            model=server.served_name,
            timeout=_PATIENCE_SECONDS,
            revision=server.revision,
            image_tokens=self._max_image_tokens(),
        )

    def _max_image_tokens(self) -> int | None:
        rule = self._server.model.rule
        return self._server.own.image_tokens or (rule.maximum() if rule is not None else None)

    def _told(self, info: EngineInfo) -> EngineInfo:
        """What the server says of itself, under the names that Silkline has for it."""
        model = self._server.model
        precision = model.precision or info.precision
        known = replace(info, engine=self._server.engine, model=model.name, precision=precision)
        if isinstance(model.rule, SmartResize):
            budget = PixelBudget(max_pixels=model.rule.max_pixels)
            return replace(
                known, pixel_budget=budget, pixels_per_token=model.rule.cell * model.rule.cell
            )
        return known

    def _without_tags(self, message: Message) -> Message:
        """The message, with special tokens broken that a client typed as text."""
        parts = tuple(
            TextPart(part) if isinstance(part, str) else part for part in self._safe.parts(message)
        )
        return replace(message, parts=parts)


def _counted(delta: Delta, image_tokens: int | None) -> Delta:
    """With the pictures' tokens, which neither server tells, by the model's rule."""
    if delta.usage is None or image_tokens is None:
        return delta
    known = min(image_tokens, delta.usage.prompt_tokens)
    return replace(delta, usage=replace(delta.usage, image_tokens=known))
