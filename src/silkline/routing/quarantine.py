"""Quarantine: refuses requests that crash workers.

When a worker dies, every request that it had in flight is a suspect, and most of them did nothing
wrong. The rules:

- A death gives each request that was in flight a strike, kept by the digest of its content.
- Requests with a strike are retried one at a time (see `isolation`), beside any number of
  requests without one. So a second death usually finds a single suspect in flight: it was in
  flight at both deaths, and is quarantined. When it is sent again, it is refused for a while. The
  other requests in flight get no strike.
- When a suspect takes long and others wait, the next one may start before it has ended. A death
  with several suspects in flight quarantines none of them; each gets a second strike, and requests
  with two strikes run without another suspect until they end.
- An answer clears its request.

So a request that crashes workers costs two of them; a third only when answers take so long that
suspects overlap. A harmless request is quarantined only when a worker dies for another reason
while that request is the only suspect in flight.

Gateway processes may share the records and the turns of suspects. Each process then judges the
requests that it had in flight itself, so when a suspect of one process is found, the requests of
the other processes get a strike.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable

from silkline.core import Request, TextPart
from silkline.errors import Quarantined
from silkline.stores.memory import Memory, PrivateMemory, Record, Region

RECORD_SECONDS = 600.0
"""How long a strike or a quarantine lasts."""

MAX_RECORDS = 4096
"""Maximum records; the oldest are dropped when there are more."""


_QUARANTINED = math.inf
"""The strikes of a request that is quarantined."""

_LIVES = itertools.count()


class Quarantine:
    """The strikes of requests, and which requests are quarantined."""

    def __init__(
        self, memory: Memory | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes where the records are (expiry, strikes and last death) and monotonic seconds."""
        self._clock = clock
        self._records = (memory or PrivateMemory()).table(Region.QUARANTINE, MAX_RECORDS)
        self.count = 0
        """Requests that were quarantined so far."""

    def check(self, request: Request) -> None:
        """Raises `Quarantined` when the request is quarantined."""
        if self.strikes(request) == _QUARANTINED:
            raise Quarantined(
                "This request ended two workers of the engine and is not tried again; "
                "change its images or its text."
            )

    def strikes(self, request: Request) -> float:
        """Number of worker deaths with this request in flight, since it was last answered.

        Infinite when it is quarantined.
        """
        if not self._records:  # nearly always, and then no digest is computed
            return 0
        with self._records.locked():
            record = self._live(content_digest(request))
        return 0 if record is None else record[1]

    def death(self, in_flight: Iterable[Request], life: str | None = None) -> None:
        """Gives strikes to the requests that were in flight on a worker when it died.

        Args:
            in_flight: Those of this process.
            life: Identifies the life of the worker, the same in each process that used it; None
                if no other process did. A request that several processes had in flight gets one
                strike.
        """
        death = _number(life or f"{os.getpid()} {next(_LIVES)}")
        digests = {content_digest(request) for request in in_flight}
        with self._records.locked():
            records = {digest: self._live(digest) for digest in digests}
            earlier = [
                digest
                for digest, record in records.items()
                if record is not None and record[2] != death
            ]
            culprit = earlier[0] if len(earlier) == 1 else None
            for digest in digests if culprit is None else (culprit,):
                _, strikes, last = records[digest] or (0.0, 0.0, 0.0)
                if last != death:
                    strikes = _QUARANTINED if digest == culprit else strikes + 1
                    self.count += digest == culprit
                    expires = self._clock() + RECORD_SECONDS
                    self._records.put(digest, (expires, strikes, death))

    def clear(self, request: Request) -> None:
        """Drops the strikes of a request that was answered."""
        if self._records:
            with self._records.locked():
                self._records.drop(content_digest(request))

    def _live(self, digest: bytes) -> Record | None:
        record = self._records.get(digest)
        if record is not None and record[0] < self._clock():
            self._records.drop(digest)
            return None
        return record


def content_digest(request: Request) -> bytes:
    """A digest of the messages and images of a request, independent of client and sampling.

    Sampling is left out, so that a crashing request with another seed is still recognized.
    """
    content = [
        (
            message.role.value,
            [part.text if isinstance(part, TextPart) else part.index for part in message.parts],
        )
        for message in request.messages
    ]
    text = repr((content, [image.digest for image in request.images]))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _number(life: str) -> float:
    """A number for a worker's life; above 0."""
    return 1.0 + int.from_bytes(hashlib.blake2b(life.encode(), digest_size=6).digest(), "big")
