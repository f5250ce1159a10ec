"""An answer of the server, with what is known about it."""

from __future__ import annotations

import msgspec


class Asked(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        text: Its content.
        request_id: The request's id, for feedback.
        model: Which model answered.
        cache: What the server's cache did: hit, miss, ...; batch for an answer of a batch.
    """

    text: str
    request_id: str
    model: str
    cache: str
