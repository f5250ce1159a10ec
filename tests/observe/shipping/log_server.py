"""A real log server (osmem, an OpenSearch in memory), and a proxy before it that fails as told."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import osmem_server
from opensearchpy import OpenSearch, helpers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def osmem() -> Iterator[str]:
    """The URL of a server that ends with the block."""
    port = free_port()
    server = subprocess.Popen(
        [osmem_server.resolve_binary(), "-addr", f"127.0.0.1:{port}", "-no-stdin-watch", "-no-ja"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: _answers(url), 10)
        yield url
    finally:
        server.kill()
        server.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.02)


def documents(url: str, index: str) -> list[dict[str, Any]]:
    """All documents of an index by the official client, in the order of their sequence."""
    with OpenSearch(url) as client:
        if not client.indices.exists(index=index):
            return []
        client.indices.refresh(index=index)
        hits = helpers.scan(client, index=index, size=5000, query={"query": {"match_all": {}}})
        found = [hit["_source"] for hit in hits]
    return sorted(found, key=lambda event: int(event["event.sequence"]))


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        down: Connections are closed without an answer.
        status: The status that every request gets; 0 passes them on.
        refuse: Returns the status that an event gets instead of being passed on, or 0.
        lose_answers: Share of bulk requests whose answer is lost after they were processed.
        max_bytes: Larger requests get a 413.
    """

    down: bool = False
    status: int = 0
    refuse: Callable[[dict[str, Any]], int] = lambda event: 0
    lose_answers: float = 0.0
    max_bytes: int = 2**40
    random: random.Random = field(default_factory=lambda: random.Random(7))


@dataclass
class Seen:
    """What came to the proxy: methods and paths, keys, and the bytes of the largest request."""

    largest: int = 0
    paths: list[tuple[str, str]] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    @property
    def requests(self) -> int:
        return len(self.paths)

    def note(self, method: str, path: str, body: bytes, authorization: str) -> None:
        self.largest = max(self.largest, len(body))
        self.paths.append((method, path))
        self.authorizations.add(authorization)


@dataclass
class Proxy:
    """A proxy before a log server.

    Attributes:
        url: Its address.
        target: The address of the server behind it.
        faults: What goes wrong from now on.
        seen: What has come.
    """

    url: str
    target: str
    faults: Faults
    seen: Seen


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection of a `_ProxyServer`."""

    protocol_version = "HTTP/1.1"
    server: _ProxyServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        faults, target = self.server.faults, self.server.target + self.path
        self.server.seen.note(self.command, self.path, body, self.headers.get("Authorization", ""))
        if faults.down:
            self._hang_up()
        elif faults.status or len(body) > faults.max_bytes:
            self._answer(faults.status or 413, b"{}")
        elif "_bulk" not in self.path:
            self._answer(*_passed_on(self.command, target, body))
        else:
            status, answer = _bulk(faults, target, body)
            if faults.random.random() < faults.lose_answers:
                self._hang_up()
            else:
                self._answer(status, answer)

    do_PUT = do_POST  # noqa: N815 - the library's name

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _ProxyServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.faults = Faults()
        self.seen = Seen()

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy before the server at a URL, which ends with the block."""
    with _ProxyServer(target) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield Proxy(f"http://127.0.0.1:{server.server_port}", target, server.faults, server.seen)
        server.shutdown()


def _bulk(faults: Faults, url: str, body: bytes) -> tuple[int, bytes]:
    """Passes on the events that are not refused, and merges the answers."""
    lines = body.splitlines()
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    refused = [faults.refuse(json.loads(event)) for _, event in pairs]
    kept = [pair for pair, status in zip(pairs, refused, strict=True) if not status]
    items: Iterator[Any] = iter(())
    if kept:
        status, answer = _passed_on("POST", url, b"".join(b"%s\n%s\n" % pair for pair in kept))
        if status != 200:
            return status, answer
        reply = json.loads(answer)
        items = iter(reply.get("items") or [{"create": {"status": 201}}] * len(kept))
    merged = [
        {"create": {"status": status, "error": {"type": "injected", "reason": "test"}}}
        if status
        else next(items)
        for status in refused
    ]
    errors = any("error" in item["create"] for item in merged)
    return 200, json.dumps({"errors": errors, "items": merged}).encode()


def _passed_on(method: str, url: str, body: bytes) -> tuple[int, bytes]:
    kind = "application/x-ndjson" if "_bulk" in url else "application/json"
    request = urllib.request.Request(url, body, {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
