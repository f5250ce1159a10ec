"""A remote server of the OpenAI API that can fail, hang, and change its certificate."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_LISTING = {"object": "list", "data": [{"id": "org/model", "max_model_len": 4096}]}
_CHUNK = {
    "id": "1",
    "object": "chat.completion.chunk",
    "model": "org/model",
    "choices": [{"index": 0, "delta": {"content": "Yes"}, "finish_reason": "stop"}],
}
_USAGE = {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}
_EVENTS = (
    f"data: {json.dumps(_CHUNK)}\n\n"
    f"data: {json.dumps(_CHUNK | {'choices': [], 'usage': _USAGE})}\n\n"
    "data: [DONE]\n\n"
).encode()


class _Handler(BaseHTTPRequestHandler):
    server: Remote

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            self._send(404, "application/json", b"{}")
        else:
            self._send(200, "application/json", json.dumps(_LISTING).encode())

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        if self.server.hangs.is_set():
            self.server.ended.wait()
        elif self.server.status == 200:
            self._send(200, "text/event-stream", _EVENTS)
        else:
            self._send(self.server.status, "application/json", b"{}")

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Remote(ThreadingHTTPServer):
    """The server; each connection serves one request.

    Attributes:
        status: The status of answers.
        hangs: While this is set, no answer comes.
        ended: Set at the end.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.hangs = threading.Event()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def end(self) -> None:
        """Ends the server; idempotent."""
        if not self.ended.is_set():
            self.ended.set()
            self.shutdown()
            self.server_close()

    def handle_error(self, *_: object) -> None:
        pass  # a client that left


@contextmanager
def remote(tls: ssl.SSLContext | None = None) -> Iterator[Remote]:
    """A remote server until the block ends."""
    server = Remote()
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.end()


def certificate(folder: Path, days: int) -> Path:
    """A key and its own certificate for localhost, in one file."""
    key, cert = folder / f"{days}.key", folder / f"{days}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", str(days), "-subj", f"/CN=localhost-{days}",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    cert.write_text(key.read_text() + cert.read_text())
    return cert
