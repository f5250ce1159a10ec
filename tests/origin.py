"""A small web server that pictures are fetched from in tests."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Origin:
    """Serves what was put under a path, on a free loopback port."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[int, bytes, str]] = {}
        self._locations: dict[str, str] = {}
        self._asked: Counter[str] = Counter()
        answers, locations, asked = self._answers, self._locations, self._asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked[self.path] += 1
                status, body, kind = answers.get(self.path, (404, b"nothing", "text/plain"))
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                if self.path in locations:
                    self.send_header("location", locations[self.path])
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, path: str, body: bytes, status: int = 200, kind: str = "image/jpeg") -> str:
        """Serves a body; gives its URL."""
        self._answers[path] = (status, body, kind)
        return self.url + path

    def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return self._asked[path]

    def redirect(self, path: str, location: str) -> str:
        """Redirects to another URL; gives its own."""
        self._locations[path] = location
        return self.put(path, b"", status=302)

    def __enter__(self) -> Origin:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
