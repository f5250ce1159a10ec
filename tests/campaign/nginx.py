"""A real nginx in front of gateways, on a free loopback port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cache.redis_server import free_port

INSTALL = "apt-get update && apt-get install -y nginx-light"

_CONFIG = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 32m;
    client_body_buffer_size 1m;
    large_client_header_buffers 4 64k;
    upstream gateways {{
        {servers}
        keepalive 32;
        keepalive_timeout {keepalive_seconds}s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://gateways;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_buffering off;
            proxy_read_timeout 120s;
            proxy_connect_timeout 2s;
            # An answer has no side effects, so a question may be asked twice: a POST whose
            # connection broke before anything came back goes to the other gateway.
            proxy_next_upstream error non_idempotent;
            proxy_next_upstream_tries 2;
        }}
    }}
}}
"""


class Upstream(NamedTuple):
    """A gateway and its share of the requests."""

    port: int
    weight: int = 1


@contextmanager
def nginx(
    folder: Path, upstreams: Sequence[Upstream], *, keepalive_seconds: int = 2
) -> Iterator[int]:
    """Runs nginx before the gateways; gives its port.

    Args:
        folder: Where its configuration, logs and temporary files go.
        upstreams: The gateways; one that fails is tried again after a second.
        keepalive_seconds: How long nginx keeps an idle connection; less than the gateways do, so
            that it never sends on one that they are about to close.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.fail(f"No nginx on PATH. Run: {INSTALL}")
    port = free_port()
    servers = "\n".join(
        f"server 127.0.0.1:{each.port} weight={each.weight} max_fails=1 fail_timeout=1s;"
        for each in upstreams
    )
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            servers=servers,
            port=port,
            keepalive_seconds=keepalive_seconds,
        ),
        encoding="utf-8",
    )
    process = subprocess.Popen([program, "-p", str(folder), "-c", str(config)], stderr=-3)
    try:
        _wait(process, port)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    limit = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "nginx did not start"
        assert time.monotonic() < limit, "nginx does not listen"
        time.sleep(0.02)
