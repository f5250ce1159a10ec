"""Sends decisions to webhooks: signed, tried again until they arrive, never behind a request.

The journal is the outbox: a decision that was not delivered when the server ended is delivered when
it runs again. A webhook may get one twice, and knows it by `webhook-id`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from silkline.aio.background import in_background
from silkline.config.experiments import ExperimentingSettings
from silkline.config.secrets import read_secret
from silkline.errors import Overloaded
from silkline.experiments.journal import Decision, Journal

logger = logging.getLogger("silkline.experiments")

_POLL_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 300.0
_KEPT_SECONDS = 86_400.0
"""How long a decision is tried."""

_OK = range(200, 300)
_GONE = 410
"""Status by which a webhook says that it wants no more: the decision is given up at once."""


class Webhooks:
    """The webhooks of the settings."""

    def __init__(self, settings: ExperimentingSettings, environment: Mapping[str, str]) -> None:
        """Reads the key.

        Raises:
            ConfigError: There are webhooks, and the key cannot be read.
        """
        self._urls: Sequence[str] = settings.experiment_webhooks
        self._key = b""
        if self._urls:
            variable, file = settings.webhook_key_env, settings.webhook_key_file
            key = read_secret(variable, file, environment, user="experiment_webhooks")
            self._key = (key or "").encode()

    @asynccontextmanager
    async def running(self, journal: Journal) -> AsyncGenerator[None, None]:
        """Delivers the decisions of a journal while the block runs."""
        async with AsyncExitStack() as stack:
            for url in self._urls:
                work = self._deliver(url, journal)
                await stack.enter_async_context(in_background(work, "experiment webhook"))
            yield

    async def _deliver(self, url: str, journal: Journal) -> None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            pause = _FIRST_PAUSE_SECONDS
            is_known = False
            while True:
                try:
                    if not is_known:
                        await journal.know_webhook(url)
                        is_known = True
                    found = await journal.undelivered(url)
                    if found is None:
                        await asyncio.sleep(_POLL_SECONDS)
                    elif await self._is_done(http, url, *found):
                        await journal.delivered(url, found[0])
                        pause = _FIRST_PAUSE_SECONDS
                    else:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                except Overloaded:  # logged by the store
                    await asyncio.sleep(pause)

    async def _is_done(
        self, http: aiohttp.ClientSession, url: str, number: int, experiment: str, one: Decision
    ) -> bool:
        """Sends a decision; returns whether it arrived, or need not be tried again."""
        body = msgspec.json.encode(_told(experiment, one))
        headers = self._headers(f"{experiment}-{number}", str(int(time.time())), body)
        status, failure = 0, ""
        try:
            async with http.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = type(error).__name__
        if status in _OK:
            return True
        is_given_up = status == _GONE or time.time() - one.at > _KEPT_SECONDS
        fields = {
            "silkline.experiment": experiment,
            "server.address": urlsplit(url).hostname,
            "http.response.status_code": status,
            "error.type": failure,
        }
        told = "a webhook is given up" if is_given_up else "a webhook is tried again"
        logger.warning(told, extra={"ecs": fields})
        return is_given_up

    def _headers(self, name: str, at: str, body: bytes) -> dict[str, str]:
        """The headers of Standard Webhooks (https://www.standardwebhooks.com)."""
        signed = b".".join((name.encode(), at.encode(), body))
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return {
            "content-type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": at,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


def _told(experiment: str, one: Decision) -> dict[str, Any]:
    return {
        "type": "experiment.decided",
        "experiment": experiment,
        "serving": one.serving.value,
        "share": one.share,
        "by": one.by,
        "reason": one.reason,
        "at": one.at,
        "evidence": msgspec.Raw(one.evidence.encode()),
    }
