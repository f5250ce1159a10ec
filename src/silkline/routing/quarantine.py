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
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from silkline.core import Request, TextPart
from silkline.errors import Quarantined

RECORD_SECONDS = 600.0
"""How long a strike or a quarantine lasts."""

MAX_RECORDS = 4096
"""Maximum records; the oldest are dropped when there are more."""


@dataclass(slots=True)
class _Record:
    strikes: int
    quarantined: bool
    expires: float


class Quarantine:
    """The strikes of requests, and which requests are quarantined."""

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def check(self, request: Request) -> None:
        """Raises `Quarantined` when the request is quarantined."""
        record = self._find(request)
        if record is not None and record.quarantined:
            raise Quarantined(
                "This request ended two workers of the engine and is not tried again; "
                "change its images or its text."
            )

    def strikes(self, request: Request) -> int:
        """Number of worker deaths with this request in flight, since it was last answered."""
        record = self._find(request)
        return 0 if record is None else record.strikes

    def death(self, in_flight: Iterable[Request]) -> None:
        """Gives strikes to the requests that were in flight on a worker when it died."""
        digests = {content_digest(request) for request in in_flight}
        suspects = [digest for digest in digests if self._live(digest) is not None]
        culprit = suspects[0] if len(suspects) == 1 else None
        for digest in digests if culprit is None else (culprit,):
            record = self._records.pop(digest, _Record(0, quarantined=False, expires=0.0))
            record.strikes += 1
            record.quarantined = record.quarantined or digest == culprit
            record.expires = time.monotonic() + RECORD_SECONDS
            self._records[digest] = record
        while len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)

    def clear(self, request: Request) -> None:
        """Drops the strikes of a request that was answered."""
        if self._records:
            self._records.pop(content_digest(request), None)

    def _find(self, request: Request) -> _Record | None:
        # There are nearly always no records, and then no digest is computed.
        return self._live(content_digest(request)) if self._records else None

    def _live(self, digest: bytes) -> _Record | None:
        record = self._records.get(digest)
        if record is not None and record.expires < time.monotonic():
            del self._records[digest]
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
