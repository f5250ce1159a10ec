"""An engine that starts a server as a child process and sends it the requests."""

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

import msgspec

from silkline.config import RemoteSettings
from silkline.core import Delta, EngineInfo, Health, LoraAdapter, PixelBudget, Request
from silkline.engines.base import Engine
from silkline.engines.managed.process import ServerProcess
from silkline.engines.managed.safe_request import safe_request
from silkline.engines.managed.server import Server
from silkline.engines.managed.start_failure import log_excerpt, start_failure
from silkline.engines.prompt_text import SafeText
from silkline.engines.remote.body import check
from silkline.engines.remote.engine import RemoteEngine
from silkline.engines.remote.link import RemoteLink
from silkline.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    WorkerLost,
    not_running,
)
from silkline.models.image_tokens import SmartResize

_URL = "http://localhost"
_SOCKET = "http.sock"  # by this suffix, llama-server knows that it is no host
_HEALTH = "/health"
_OK = 200
_POLL_SECONDS = 0.2
_PROBE_SECONDS = 5.0
_END_SECONDS = 2.0
"""Seconds to wait for a server's exit after it broke a response off."""

_READ_TIMEOUT_SECONDS = 3600.0
"""Maximum seconds between two bytes of a response. Effectively unlimited: each request has its own
deadline, and the supervisor detects a hang from the progress of all requests together."""

_KEY_BYTES = 32

_LOAD = "/v1/load_lora_adapter"
_LOAD_SECONDS = 60.0
"""Maximum seconds in which the server loads an adapter."""


class ManagedEngine(Engine):
    """Starts a server, waits until it is ready, and sends requests through `RemoteEngine`."""

    def __init__(self, server: Server) -> None:
        """Takes the server to start; nothing runs before `start`."""
        self._server = server
        self._logger = logging.getLogger(f"silkline.{server.engine}")
        self._safe = SafeText(server.model.reserved)
        self._folder: Path | None = None
        self._process: ServerProcess | None = None
        self._remote: RemoteEngine | None = None
        self._info: EngineInfo | None = None
        self._adapters = {adapter.name for adapter in server.options.adapters}
        self._loading = asyncio.Lock()

    @property
    def info(self) -> EngineInfo:
        """See `Engine`."""
        if self._info is None:
            raise not_running()
        return self._info

    async def start(self) -> None:
        """Starts the server and returns when it is ready.

        Raises:
            EnvironmentFault: It ended or took too long; the message quotes the end of its log.
            ConfigError: It refuses a flag or the model.
        """
        # Only this user may enter the folder (0700), so no other reaches the server: vLLM's key
        # does not protect all of its paths.
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
            await self._wait_until_ready(self._process, self._remote, RemoteLink(
                _URL, key, _PROBE_SECONDS, socket
            ))  # fmt: skip
        except BaseException:
            await self.aclose()
            raise
        self._process.serving = True
        self._info = self._with_model(self._remote.info)

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        """See `Engine`.

        Raises:
            WorkerLost: The server has ended.
            EngineFailed: It failed at this request, but still runs.
            SilklineError: As `RemoteEngine.generate` does.
        """
        if self._remote is None:
            raise not_running()
        check(request)
        if request.adapter is not None:
            await self._load(request.adapter, self._remote)
        tokens = self._server.model.image_tokens(request)
        # Always a stream: the supervisor replaces a worker whose answers make no progress.
        safe = replace(safe_request(request, self._safe), stream=True)
        try:
            async with aclosing(self._remote.generate(safe)) as deltas:
                async for delta in deltas:
                    yield _with_image_tokens(delta, tokens)
        except WorkerLost as error:
            if await self._has_ended():
                raise
            # Not `WorkerLost`: the pool would replace the worker and lose its other requests.
            raise EngineFailed(
                "The model's server failed at this request but still runs. Try again, or change "
                "the request."
            ) from error

    def health(self) -> Health:
        """See `Engine`; progress is the last event of any answer."""
        if self._remote is None:
            return Health(running=0, queued=0, seconds_since_progress=0.0)
        return self._remote.health()

    async def failed(self) -> None:
        """See `Engine`: the server has ended."""
        if self._process is None:
            raise not_running()
        process = self._process
        await process.wait()
        await process.end()  # also ends the server's orphans
        log = log_excerpt(process.lines)
        self._logger.error("the server %s; its log ends with: %s", process.ending, log or "nothing")

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

    async def _load(self, adapter: LoraAdapter, remote: RemoteEngine) -> None:
        """Has the server load an adapter, unless it has it.

        Raises:
            InvalidRequest: It refuses the adapter; the log has its reason.
        """
        async with self._loading:
            if adapter.name in self._adapters:
                return
            body = msgspec.json.encode({"lora_name": adapter.name, "lora_path": adapter.folder})
            deadline = asyncio.get_running_loop().time() + _LOAD_SECONDS
            async with remote.link.post(_LOAD, body, deadline, {}) as reply:
                reason = b"" if reply.status == _OK else await reply.head_of_body()
            if reason or reply.status != _OK:
                self._logger.error(
                    "the server refuses an adapter: %s", reason.decode(errors="replace")
                )
                raise InvalidRequest(
                    "The model's server does not take this adapter. If its base was started "
                    "without adapters, or with smaller ones, start the base again.",
                    param="model",
                )
            self._adapters.add(adapter.name)
            await remote.probe()  # reads the new list of models

    async def _has_ended(self) -> bool:
        """Whether the server has ended, or ends within `_END_SECONDS`."""
        return self._process is None or await self._process.ended_within(_END_SECONDS)

    async def _wait_until_ready(
        self, process: ServerProcess, remote: RemoteEngine, link: RemoteLink
    ) -> None:
        seconds = self._server.own.start_seconds
        link.open()
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_ready(remote, link):
                    if await process.ended_within(_POLL_SECONDS):
                        await process.wait()
                        raise start_failure(self._server.engine, process.ending, process.lines)
        except TimeoutError:
            ending = f"took more than {seconds:g} seconds (the engine option start_seconds)"
            raise start_failure(self._server.engine, ending, process.lines) from None
        finally:
            await link.aclose()

    async def _is_ready(self, remote: RemoteEngine, link: RemoteLink) -> bool:
        try:
            status, _ = await link.get(_HEALTH, _PROBE_SECONDS)
            if status != _OK:
                return False
            await remote.start()
        except (WorkerLost, DeadlineExceeded):  # it may still be loading the model
            return False
        return True

    def _settings(self) -> RemoteSettings:
        server = self._server
        return RemoteSettings(
            url=_URL,
            name=server.engine,
            model=server.served_name,
            limit=1,  # not read: the pool limits the requests of a worker
            timeout=_READ_TIMEOUT_SECONDS,
            revision=server.revision,
            image_tokens=self._max_image_tokens(),
        )

    def _max_image_tokens(self) -> int | None:
        rule = self._server.model.rule
        return self._server.own.image_tokens or (rule.maximum().total if rule is not None else None)

    def _with_model(self, info: EngineInfo) -> EngineInfo:
        """The server's info, with Silkline's names for engine and model."""
        model = self._server.model
        precision = model.precision or info.precision
        known = replace(
            info,
            engine=self._server.engine,
            model=model.name,
            precision=precision,
            features=info.features & self._server.features,
        )
        if isinstance(model.rule, SmartResize):
            budget = PixelBudget(max_pixels=model.rule.max_pixels)
            return replace(
                known, pixel_budget=budget, pixels_per_token=model.rule.cell * model.rule.cell
            )
        return known


def _with_image_tokens(delta: Delta, image_tokens: int | None) -> Delta:
    """Adds the image tokens, which neither server reports; they follow from the model's rule."""
    if delta.usage is None or image_tokens is None:
        return delta
    known = min(image_tokens, delta.usage.prompt_tokens)
    return replace(delta, usage=replace(delta.usage, image_tokens=known))
