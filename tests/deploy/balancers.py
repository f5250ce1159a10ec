"""A real nginx or HAProxy with the rendered configuration, and servers behind it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cache.redis_server import free_port
from tests.deploy.promtool import rendered

INSTALL = "apt-get update && apt-get install -y nginx-light haproxy"

_NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx/silkline.conf;
}}
"""


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.fail(f"No {name} on PATH. Run: {INSTALL}")
    return found


def _command(name: str, folder: Path) -> list[str]:
    if name == "haproxy":
        return [program(name), "-db", "-f", str(folder / "haproxy" / "haproxy.cfg")]
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX.format(user=user, folder=folder), encoding="utf-8")
    return [program(name), "-p", str(folder), "-c", str(config)]


@contextmanager
def balancer(
    name: str, folder: Path, upstreams: Sequence[str], *, deploy: str = "", settings: str = ""
) -> Iterator[str]:
    """Runs a balancer with what `silkline render NAME` writes; gives its URL."""
    port = free_port()
    listed = ", ".join(f'"{each}"' for each in upstreams)
    text = f"[deploy]\nupstreams = [{listed}]\ningress_port = {port}\n{deploy}\n{settings}"
    rendered(folder, text, name)
    process = subprocess.Popen(
        _command(name, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the load balancer did not start"
        assert time.monotonic() < limit, "the load balancer does not listen"
        time.sleep(0.02)


class _Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent: the headers, and its port."""

    protocol_version = "HTTP/1.1"
    server: Upstream

    def _answer(self) -> None:
        sent = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/ready":
            self._send(200, b"{}")
            return
        self.server.requests += 1
        if self.server.breaks:  # after the request was read whole
            self.close_connection = True
            return
        if self.path == "/stream":
            self._stream()
            return
        headers = {name.lower(): text for name, text in self.headers.items()}
        body = {"port": self.server.server_port, "headers": headers, "bytes": len(sent)}
        self._send(200, json.dumps(body).encode())

    do_GET = do_POST = _answer  # noqa: N815 - the library's names

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        """An event, and the second one only when the test says that it has the first."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"data: 1\n\n")
        if self.server.proceed.wait(timeout=20):
            self.wfile.write(b"data: 2\n\n")
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


class Upstream(ThreadingHTTPServer):
    """A server behind the balancer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.requests = 0
        self.breaks = False
        self.proceed = threading.Event()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_port}"


@contextmanager
def upstream_servers(count: int) -> Iterator[list[Upstream]]:
    made = [Upstream() for _ in range(count)]
    threads = [
        threading.Thread(target=each.serve_forever, args=(0.02,), daemon=True) for each in made
    ]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        for each in made:
            each.shutdown()
            each.server_close()
        for thread in threads:
            thread.join(timeout=5)
