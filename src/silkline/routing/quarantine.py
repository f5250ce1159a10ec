"""Which requests end workers.

When a worker dies, every request that it held is a suspect, and most are innocent. The rule:

- A death gives each request that was in flight a strike, kept by the digest of its content.
- Requests with a strike are tried again one at a time (see `isolation`), beside any number of
  fresh ones. So a second death finds one suspect aboard: it was in flight at both deaths, and is
  convicted. Sent again, it is refused for a while. Those that were with it get no strike.
- When suspects take long and others wait, one may go before the last has ended. A death with
  several suspects aboard convicts nobody; they get a second strike, and such requests are from
  then on alone until their end.
- An answer clears its request.

So a poisonous request costs two workers; a third only when answers take so long that suspects
overlap. An innocent one is convicted only when a worker dies for another reason just while it is
alone.
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
"""How long a strike or a conviction is remembered."""

MAX_RECORDS = 4096
"""The oldest records are forgotten when there are more."""


@dataclass(slots=True)
class _Record:
    strikes: int
    convicted: bool
    expires: float


class Quarantine:
    """The record of strikes and convictions."""

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def check(self, request: Request) -> None:
        """Raises `Quarantined` when the request was convicted."""
        record = self._find(request)
        if record is not None and record.convicted:
            raise Quarantined(
                "This request ended two workers of the engine and is not tried again; "
                "change its pictures or its text."
            )

    def strikes(self, request: Request) -> int:
        """At how many deaths of workers the request was in flight, since it was last answered."""
        record = self._find(request)
        return 0 if record is None else record.strikes

    def death(self, aboard: Iterable[Request]) -> None:
        """Judges the requests that a worker held when it died."""
        digests = {content_digest(request) for request in aboard}
        suspects = [digest for digest in digests if self._live(digest) is not None]
        convicted = suspects[0] if len(suspects) == 1 else None
        for digest in digests if convicted is None else (convicted,):
            record = self._records.pop(digest, _Record(0, convicted=False, expires=0.0))
            record.strikes += 1
            record.convicted = record.convicted or digest == convicted
            record.expires = time.monotonic() + RECORD_SECONDS
            self._records[digest] = record
        while len(self._records) > MAX_RECORDS:
            self._records.popitem(last=False)

    def clear(self, request: Request) -> None:
        """Forgets the strikes of a request that was answered."""
        if self._records:
            self._records.pop(content_digest(request), None)

    def _find(self, request: Request) -> _Record | None:
        # Nearly always there are no records, and then no request pays for a digest.
        return self._live(content_digest(request)) if self._records else None

    def _live(self, digest: bytes) -> _Record | None:
        record = self._records.get(digest)
        if record is not None and record.expires < time.monotonic():
            del self._records[digest]
            return None
        return record


def content_digest(request: Request) -> bytes:
    """Names what was asked: the messages and the pictures, whoever asks and however it is sampled.

    Sampling is left out, so that another seed does not make a poisonous request a new one.
    """
    content = [
        (
            message.role.value,
            [part.text if isinstance(part, TextPart) else part.index for part in message.parts],
        )
        for message in request.messages
    ]
    asked = repr((content, [image.digest for image in request.images]))
    return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
