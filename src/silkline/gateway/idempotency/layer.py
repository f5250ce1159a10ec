"""Pure ASGI around the application: executes a keyed request once, and replays its answer.

A request with the header `Idempotency-Key` claims its key. While it runs, another with the same key
gets 409 and `Retry-After`; afterwards it gets the first one's response, status and body, with the
header `idempotent-replayed`. The same key with another request is 422.

- The request runs to its end when its client leaves, so that the client's next attempt finds the
  answer; its deadline ends it as it does any other.
- Kept is what a second execution would only repeat: answers, and errors that are the request's own.
  Errors of capacity (429, 503, 504), a picture that its origin did not give and a 500 free the key,
  as do responses with more than 1 MiB of body.
- A stream is kept whole, and replayed as an event stream in one piece.
- The answer is kept before its last byte is sent: a client that got it all never finds its key
  still in progress.

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

from starlette.requests import HTTPConnection
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
from silkline.gateway.request_record import record_of
from silkline.idempotency.base import OWNER_BYTES, Claim, KeyStore, not_served
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.gateway")

PATHS = frozenset({"/v1/chat/completions", "/predict"})
"""Where keys count; elsewhere the header is left alone."""

KEPT_SECONDS = 24 * 3600.0
"""How long a finished key is kept, room permitting."""

LEASE_SECONDS = 10.0
"""How long a key is in progress after the gateway that worked on it has died."""

MAX_BODY_BYTES = 1024 * 1024
"""Of a response that is kept."""

_RENEWALS_A_LEASE = 3

_PASSING = (CapacityError, ImageFetchFailed, InternalFault)
"""Errors after which the same request may fare better."""


class KeyOutcome(StrEnum):
    """What became of a keyed request."""

    EXECUTED = "executed"
    REPLAYED = "replayed"
    IN_PROGRESS = "in_progress"
    REUSED = "reused"


class IdempotencyLayer:
    """Wraps the application; see the module."""

    def __init__(
        self, app: ASGIApp, store: KeyStore, *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        """Wraps `app`; the store is closed by the caller."""
        self._app = app
        self._store = store
        self._lease = lease_seconds
        self._outcomes = dict.fromkeys(KeyOutcome, 0)

    def snapshot(self) -> Mapping[KeyOutcome, int]:
        """What became of the keyed requests so far."""
        return dict(self._outcomes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request; those without a key pass untouched."""
        keyed = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PATHS
        key = idempotency_key(scope) if keyed else None
        if key is None:
            await self._app(scope, receive, send)
            return
        record = record_of(HTTPConnection(scope))
        body = await _whole_body(receive)
        if body is None:
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
        async with self._held(name, claim) as settle:
            recorder = _Recorder(send, record, settle)
            await self._app(scope, _receiving(body), recorder)

    async def _claim(self, name: bytes, claim: Claim) -> SavedAnswer | None:
        """Takes the key, or finds what it stands for.

        Raises:
            IdempotencyKeyReused: Another request.
            DuplicateInProgress: This one, and it still runs.
            Overloaded: The store does not serve.
        """
        found = await self._store.claim(name, claim, self._lease)
        if found is None:
            return None
        if found.fingerprint != claim.fingerprint:
            self._outcomes[KeyOutcome.REUSED] += 1
            raise IdempotencyKeyReused(
                "The idempotency key was used before, for a request that differs from this one. "
                "Use a new key for each request; send the same one only to try it again.",
                param=HEADER,
            )
        if found.answer is None:
            self._outcomes[KeyOutcome.IN_PROGRESS] += 1
            raise DuplicateInProgress(
                "A request with this idempotency key is still being answered. Send it again "
                "later to get that answer.",
                param=HEADER,
            )
        saved = decode_saved(found.answer)
        if saved is None:  # what the store gives was altered: as good as nothing
            await self._store.forget(name)
            if await self._store.claim(name, claim, self._lease) is not None:
                raise not_served()
        return saved

    @asynccontextmanager
    async def _held(self, name: bytes, claim: Claim) -> AsyncGenerator[_Settlement, None]:
        """Keeps the claim alive while the block runs; frees the key if nothing was kept."""
        settlement = _Settlement(self._store, name, claim)
        renewing = asyncio.create_task(self._renew(name, claim))
        try:
            yield settlement
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            await settlement.release()

    async def _renew(self, name: bytes, claim: Claim) -> None:
        held = True
        while held:
            await asyncio.sleep(self._lease / _RENEWALS_A_LEASE)
            with suppress(Overloaded):  # the next renewal may yet come in time
                held = await self._store.renew(name, claim, self._lease)


@dataclass(frozen=True, slots=True)
class _Route:
    """What metrics read of a route, for requests that are answered before they come to one."""

    path: str


class _Settlement:
    """What becomes of a claim: its answer is kept, or its key is free again."""

    def __init__(self, store: KeyStore, name: bytes, claim: Claim) -> None:
        self._store = store
        self._name = name
        self._claim = claim
        self._settled = False

    async def keep(self, answer: SavedAnswer) -> None:
        """Keeps the answer; where the store fails, the client gets it all the same."""
        try:
            self._settled = await self._store.finish(
                self._name, self._claim, answer.encode(), KEPT_SECONDS
            )
        except Overloaded:
            logger.warning("the answer to a keyed request could not be kept")

    async def release(self) -> None:
        """Frees the key, if its answer was not kept; a store that fails frees it by its lease."""
        if not self._settled:
            self._settled = True
            with suppress(Overloaded):
                await self._store.release(self._name, self._claim)


class _Recorder:
    """The send side of an execution: passes everything on, and keeps it when it ends."""

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
            # A copy: layers further out add to the message's own list.
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
        """Before the last byte is sent."""
        if self._too_long or not _is_final(self._record.error):
            await self._settlement.release()
            return
        await self._settlement.keep(
            SavedAnswer(self._status, self._headers, bytes(self._body), self._record.error)
        )


def _is_final(error: str | None) -> bool:
    """Whether an execution that ended so need not be repeated: it would end the same way."""
    if error is None:
        return True
    kind = ERRORS_BY_CODE.get(error)
    return kind is not None and not issubclass(kind, _PASSING)


def _tenant(record: RequestRecord) -> str:
    return record.tenant.name


async def _whole_body(receive: Receive) -> bytes | None:
    """The request's body, which a layer further out holds to its limits; None if it breaks off."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _receiving(body: bytes) -> Receive:
    """The receive side of an execution: the body once, and never a word of the client's leaving."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not messages:
            never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
            return await never
        return messages.pop()

    return receive
