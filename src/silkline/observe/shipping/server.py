"""The log server: Elasticsearch or OpenSearch, as far as bulk requests need it.

Speaks plain HTTP with JSON, which both understand. The official clients accept only their own
vendor's server and content type, and are not needed for one request.
"""

from __future__ import annotations

import base64
import http.client
import ssl
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from silkline.errors import UNDECODABLE

TIMEOUT_SECONDS = 30.0
"""Maximum time without a byte from the server."""

_JSON = "application/json"
_BULK = "application/x-ndjson"
_CREATED = frozenset({200, 201, 409})
"""Statuses of an event that is there; 409: it was already."""

_REFUSED = frozenset({400, 413, 422})
"""Statuses of an event that the server will never take."""

_FAILED = 500
"""Status of an event that may be the cause of the failure, or not."""

_TOO_LARGE = frozenset({400, 413})
"""Statuses of a bulk request that may succeed in smaller parts."""


class Fate(Enum):
    """What became of an event in a bulk request."""

    SHIPPED = "shipped"
    BUSY = "busy"
    FAILED = "failed"
    REFUSED = "refused"


class Item(NamedTuple):
    """An event on its way.

    Attributes:
        id: The document's id, the same whenever the event is sent.
        event: The event as a JSON object.
    """

    id: str
    event: bytes


class Verdict(NamedTuple):
    """The server's answer to an event: its fate, and the status and kind of error behind it."""

    fate: Fate
    status: int
    error: str = ""


class Unavailable(Exception):
    """The server cannot be reached, or refuses requests as a whole; says why."""


class TooLarge(Exception):
    """The server refuses a bulk request that it might accept in smaller parts."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP status {status}")
        self.status = status


class _Error(msgspec.Struct):
    type: str = ""
    reason: str = ""


class _Result(msgspec.Struct):
    status: int
    error: _Error | None = None


class _Reply(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Result]] = []


_DECODER = msgspec.json.Decoder(_Reply)


class LogServer:
    """A connection to a log server; for one thread."""

    def __init__(self, url: str, stream: str, key: str | None) -> None:
        """Takes what is needed to connect; connects at the first request.

        Args:
            url: The server's URL, without a slash at the end.
            stream: The data stream or index that events go to.
            key: An API key, `user:password`, or None.
        """
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port
        self._root = parts.path
        self._bulk = f"{parts.path}/{stream}/_bulk?filter_path=errors,items.*.status,items.*.error"
        self._headers = {"Accept": _JSON}
        if key is not None:
            self._headers["Authorization"] = _authorization(key)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, items: Sequence[Item]) -> list[Verdict]:
        """Sends events in one bulk request; returns the answer to each, in their order.

        Raises:
            Unavailable: The server did not process the request; whether it has created some of the
                events is unknown.
            TooLarge: The request should be sent in smaller parts.
        """
        body = b"".join(
            b'{"create":{"_id":"%s"}}\n%s\n' % (item.id.encode(), item.event) for item in items
        )
        status, answer = self.request("POST", self._bulk, body, _BULK)
        if status in _TOO_LARGE:
            raise TooLarge(status)
        if status not in _CREATED:
            raise Unavailable(f"HTTP status {status}")
        try:
            reply = _DECODER.decode(answer)
        except UNDECODABLE:
            raise Unavailable("its answer is no answer to a bulk request") from None
        if not reply.errors:
            return [Verdict(Fate.SHIPPED, 201)] * len(items)
        verdicts = [_verdict(result) for item in reply.items for result in item.values()]
        if len(verdicts) != len(items):
            raise Unavailable("its answer does not fit the bulk request")
        return verdicts

    def put(self, path: str, document: bytes) -> int:
        """Puts a document at a path below the URL; returns the HTTP status.

        Raises:
            Unavailable: The server cannot be reached.
        """
        status, _ = self.request("PUT", self._root + path, document, _JSON)
        return status

    def request(self, method: str, path: str, body: bytes, media_type: str) -> tuple[int, bytes]:
        """Sends a request; returns status and body.

        Raises:
            Unavailable: The server cannot be reached, or does not answer in time.
        """
        connection = self._connection or self._connect()
        headers = {**self._headers, "Content-Type": media_type}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unavailable(type(error).__name__) from error
        return response.status, answer

    def close(self) -> None:
        """Closes the connection; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls is None:
            self._connection = http.client.HTTPConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS
            )
        else:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._tls
            )
        return self._connection


def _authorization(key: str) -> str:
    if ":" in key:
        return f"Basic {base64.b64encode(key.encode()).decode()}"
    return f"ApiKey {key}"


def _verdict(result: _Result) -> Verdict:
    error = "" if result.error is None else f"{result.error.type}: {result.error.reason}"
    if result.status in _CREATED:
        return Verdict(Fate.SHIPPED, result.status)
    if result.status in _REFUSED:
        return Verdict(Fate.REFUSED, result.status, error)
    return Verdict(Fate.FAILED if result.status == _FAILED else Fate.BUSY, result.status, error)
