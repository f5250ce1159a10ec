"""A pure ASGI layer that executes a request with an idempotency key once, and replays its answer.

A request with the header `Idempotency-Key` claims its key. While it runs, another request with the
same key gets 409 and `Retry-After`. Afterwards it gets the first one's response, status and body,
with the header `idempotent-replayed`. The same key with a different request gets 422.

- The request keeps running if its client disconnects, so that the client's retry finds the answer.
  Its deadline still applies.
- Stored are responses that a second execution would repeat: answers, and errors caused by the
  request. Capacity errors (429, 503, 504), a failed image fetch and a 500 free the key, as do
  responses with more than 1 MiB of body.
- A stream is stored completely, and replayed as an event stream in one chunk.
- The answer is stored before its last byte is sent: a client that has received all of it never
  finds its key still in progress.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from silkline.errors import (
    ERRORS_BY_CODE,
    CapacityError,
    DuplicateInProgress,
    IdempotencyKeyReused,
    ImageFetchFailed,
    InternalFault,
    Overloaded,
)
from silkline.gateway.disconnect import CLIENT_LEFT
from silkline.gateway.idempotency.fingerprint import (
    HEADER,
    fingerprint,
    idempotency_key,
    stored_name,
)
from silkline.gateway.idempotency.saved import SavedAnswer, decode_saved
from silkline.gateway.request_body import read_whole
from silkline.gateway.request_record import record_of
from silkline.idempotency.base import OWNER_BYTES, Claim, KeyStore, store_unavailable
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.gateway")

PATHS = frozenset(
    {
        "/predict",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
    }
)
"""The paths that support keys; elsewhere the header is ignored."""

KEPT_SECONDS = 24 * 3600.0
"""How long a finished key is kept, unless it is evicted for room."""

LEASE_SECONDS = 10.0
"""How long a key stays in progress after the gateway that executes its request has died."""

MAX_BODY_BYTES = 1024 * 1024
"""Maximum body of a stored response."""

_RENEWALS_A_LEASE = 3

_TRANSIENT = (CapacityError, ImageFetchFailed, InternalFault)
"""Errors after which the same request may succeed."""


class KeyOutcome(StrEnum):
    """The outcome of a request with a key."""

    EXECUTED = "executed"
    REPLAYED = "replayed"
    IN_PROGRESS = "in_progress"
    REUSED = "reused"


class IdempotencyLayer:
    """The ASGI layer around the application; see the module."""

    def __init__(
        self, app: ASGIApp, store: KeyStore, *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Wraps `app`; the caller closes the store."""
        self._app = app
        self._store = store
        self._lease = lease_seconds
        self._outcomes = dict.fromkeys(KeyOutcome, 0)

    def snapshot(self) -> Mapping[KeyOutcome, int]:
        """The number of requests with a key so far, by outcome."""
        return dict(self._outcomes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; passes requests without a key through unchanged."""
        keyed = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PATHS
        key = idempotency_key(scope) if keyed else None
        if key is None:
            await self._app(scope, receive, send)
            return
        record = record_of(HTTPConnection(scope))
        try:
            body = await read_whole(receive)
        except ClientDisconnect:
            record.error = CLIENT_LEFT
            return
        name = stored_name(_tenant(record), key)
        record.idempotency_key = name.hex()
        scope["route"] = _Route(scope["path"])
        claim = Claim(fingerprint(scope, body, _tenant(record)), os.urandom(OWNER_BYTES))
        saved = await self._claim(name, claim)
        if saved is not None:
            self._outcomes[KeyOutcome.REPLAYED] += 1
            record.error = saved.error
            await saved.send(send)
            return
        self._outcomes[KeyOutcome.EXECUTED] += 1
        async with self._hold(name, claim) as settle:
            recorder = _Recorder(send, record, settle)
            await self._app(scope, _replay_body(body), recorder)

    async def _claim(self, name: bytes, claim: Claim) -> SavedAnswer | None:
        """Claims the key, which gives None, or returns the answer stored under it.

        Raises:
            IdempotencyKeyReused: The key belongs to a different request.
            DuplicateInProgress: A request with this key is still running.
            Overloaded: The store is unavailable.
        """
        found = await self._store.claim(name, claim, self._lease)
        if found is None:
            return None
        if found.fingerprint != claim.fingerprint:
            self._outcomes[KeyOutcome.REUSED] += 1
            raise IdempotencyKeyReused(
                "This idempotency key was used for a different request. Use a new key for each "
                "request, and the same key only to retry the same request.",
                param=HEADER,
            )
        if found.answer is None:
            self._outcomes[KeyOutcome.IN_PROGRESS] += 1
            raise DuplicateInProgress(
                "A request with this idempotency key is still running. Send the request again "
                "after the time in Retry-After to get its answer.",
                param=HEADER,
            )
        saved = decode_saved(found.answer)
        if saved is None:  # the stored answer is corrupt: drop it
            await self._store.forget(name)
            if await self._store.claim(name, claim, self._lease) is not None:
                raise store_unavailable()
        return saved

    @asynccontextmanager
    async def _hold(self, name: bytes, claim: Claim) -> AsyncGenerator[_Settlement, None]:
        """Renews the claim while the block runs; frees the key if no answer was stored."""
        settlement = _Settlement(self._store, name, claim)
        renewing = asyncio.create_task(self._renew(name, claim))
        try:
            yield settlement
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await settlement.release()

    async def _renew(self, name: bytes, claim: Claim) -> None:
        is_held = True
        while is_held:
            await asyncio.sleep(self._lease / _RENEWALS_A_LEASE)
            with suppress(Overloaded):  # the next renewal may still be in time
                is_held = await self._store.renew(name, claim, self._lease)


@dataclass(frozen=True, slots=True)
class _Route:
    """Gives metrics a route path for requests that are answered before they reach a route."""

    path: str


class _Settlement:
    """Ends a claim: stores its answer, or frees its key."""

    def __init__(self, store: KeyStore, name: bytes, claim: Claim) -> None:
        self._store = store
        self._name = name
        self._claim = claim
        self._settled = False

    async def keep(self, answer: SavedAnswer) -> None:
        """Stores the answer; if the store fails, the client still gets the answer."""
        try:
            self._settled = await self._store.finish(
                self._name, self._claim, answer.encode(), KEPT_SECONDS
            )
        except Overloaded:
            logger.warning("the answer to a request with an idempotency key could not be stored")

    async def release(self) -> None:
        """Frees the key if its answer was not stored; if the store fails, the lease expires."""
        if not self._settled:
            self._settled = True
            with suppress(Overloaded):
                await self._store.release(self._name, self._claim)


class _Recorder:
    """The ASGI send callable of an execution: forwards the response, and stores it at its end."""

    def __init__(self, send: Send, record: RequestRecord, settlement: _Settlement) -> None:
        self._send = send
        self._record = record
        self._settlement = settlement
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._too_long = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            # A copy: outer layers add to the message's own list.
            self._headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        elif message["type"] == "http.response.body":
            self._take(message.get("body", b""))
            if not message.get("more_body", False):
                await self._settle()
        await self._send(message)

    def _take(self, chunk: bytes) -> None:
        self._too_long = self._too_long or len(self._body) + len(chunk) > MAX_BODY_BYTES
        if self._too_long:
            self._body.clear()
        else:
            self._body += chunk

    async def _settle(self) -> None:
        """Stores the answer or frees the key; called before the last byte is sent."""
        if self._too_long or not _is_final(self._record.error):
            await self._settlement.release()
            return
        await self._settlement.keep(
            SavedAnswer(self._status, self._headers, bytes(self._body), self._record.error)
        )


def _is_final(error: str | None) -> bool:
    """Whether repeating an execution that ended with this error would end the same way."""
    if error is None:
        return True
    kind = ERRORS_BY_CODE.get(error)
    return kind is not None and not issubclass(kind, _TRANSIENT)


def _tenant(record: RequestRecord) -> str:
    return record.tenant.name


def _replay_body(body: bytes) -> Receive:
    """An ASGI receive callable that returns the body once, and never reports a disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await never
        return messages.pop()

    return receive
