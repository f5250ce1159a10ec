"""A request in flight at a remote server: its headers and its times."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

from silkline.core import Request, Stage, Timeline

EVENTS = "text/event-stream"
JSON = "application/json"

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(eq=False, slots=True)
class Call:
    """One request in flight; all times are those of the event loop's clock.

    Attributes:
        began: When it started.
        due: When it should show progress: a stream at once, a whole answer after half of the
            server's `timeout`.
        answered: When its first content came; 0.0 before that.
        sent: The names of the fields that were sent.
    """

    began: float
    due: float
    answered: float = 0.0
    sent: Collection[str] = ()

    @classmethod
    def of(cls, request: Request, timeout: float) -> Call:
        """A call that starts now, to a server with this `timeout` in seconds."""
        now = asyncio.get_running_loop().time()
        return cls(now, now if request.stream else now + timeout / 2)

    def timeline(self, *, whole: bool) -> Timeline:
        """The timeline seen from here, at the end; it has the network and the server's queue.

        The first stage of a stream ends with its first chunk; a whole answer has only one stage.
        """
        now = asyncio.get_running_loop().time()
        if whole:
            return Timeline({Stage.GENERATE: now - self.began})
        answered = self.answered or now
        return Timeline({Stage.PREFILL: answered - self.began, Stage.GENERATE: now - answered})


def headers_of(request: Request, body: bytes) -> dict[str, str]:
    """The headers: what may come, the request's id and trace, and an idempotency key.

    The key includes a hash of the body: if attempts differ, as when load lowers the images'
    resolution, they are different requests for the server.
    """
    headers = {"accept": EVENTS if request.stream else JSON, **dict(request.trace_headers)}
    if _WELL_FORMED_ID.fullmatch(request.id):
        headers["x-request-id"] = request.id
    if request.idempotency_key:
        digest = hashlib.blake2b(body, digest_size=32, key=request.idempotency_key.encode()[:64])
        headers["idempotency-key"] = digest.hexdigest()
    return headers
