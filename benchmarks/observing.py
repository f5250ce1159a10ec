"""Measures the shipper, and what shipped logs and traces cost the gateway, on and off in turns.

Each round starts two gateways with the fake engine, one with shipped logs and with traces at their
default ratio, and one without, and asks for cached answers: with many connections (answers a
second) and with one (median latency). The gateway's processor time for an answer is compared too:
other work on the machine changes it little. The log server and the collector are nginx, which takes
everything. Before that, the shipper alone ships events to it as fast as it can.

    python -m benchmarks.observing [--rounds 5] [--seconds 5] [--events 200000]
"""

from __future__ import annotations

import argparse
import logging
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from benchmarks.cached import cached_answers
from benchmarks.options import base_parser, place_of
from benchmarks.processes import cpu_seconds, free_port
from benchmarks.report import GATEWAY
from benchmarks.subjects import Server, gateway
from silkline.bench.spec import Form, Target, Traffic
from silkline.config import LogSettings
from silkline.observe.logs import EcsFormatter
from silkline.observe.shipping.handler import ShippingHandler

_NGINX = """
daemon off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 100m; client_body_buffer_size 4m;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location /v1/traces {{ default_type application/x-protobuf; return 200 ""; }}
    location / {{ default_type application/json; return 200 '{{"errors":false}}'; }}
  }}
}}
"""
_OK = 200
_PICTURES = 200
_PIXELS = 128


@contextmanager
def _sink(folder: Path) -> Iterator[str]:
    """A server that takes every bulk request and every span."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        raise SystemExit("benchmark: nginx is needed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port))
    server = subprocess.Popen([program, "-c", config, "-p", folder])
    time.sleep(0.5)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _shipper(url: str, folder: Path, events: int) -> None:
    settings = LogSettings(log_ship_url=url, log_spool=str(folder / "spool"), log_queue_bytes=2**30)
    handler = ShippingHandler(settings, {}, {})
    handler.setFormatter(EcsFormatter())
    fields = {
        "http.request.id": "a" * 32,
        "http.request.method": "POST",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "event.duration": 123_456_789,
        "silkline.cache": "hit",
        "silkline.model": "silkline-mini",
    }
    record = logging.LogRecord("silkline.access", logging.INFO, __file__, 1, "request", (), None)
    record.ecs = fields
    began = time.monotonic()
    for _ in range(events):
        handler.handle(record)
    logged = time.monotonic() - began
    while handler.snapshot().counts.shipped < events:
        time.sleep(0.01)
    shipped = time.monotonic() - began
    handler.close()
    print(f"shipper: {events} events logged in {logged:.2f} s, shipped in {shipped:.2f} s")
    print(f"shipper: {events / shipped:.0f} events/s", flush=True)


def main() -> None:
    """Measures the shipper, then the gateway with and without."""
    arguments = _arguments()
    results: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as name, _sink(Path(name)) as url:
        folder = Path(name)
        _shipper(url, folder, arguments.events)
        ways = {
            "off": [],
            "on": [
                *("--log-ship-url", url, "--log-spool", str(folder / "gateway")),
                *("--trace-url", url),
            ],
        }
        for number in range(arguments.rounds):
            for way in sorted(ways, reverse=number % 2 == 1):
                with gateway(place_of(arguments), ways[way]) as server:
                    for connections in (32, 1):
                        value, cpu = _measured(server, connections, arguments)
                        results.setdefault((way, connections), []).append(value)
                        results.setdefault((way, 0), []).extend([cpu] if connections > 1 else [])
                        shown = f"{value:.3f}, {cpu:.0f} µs of processor"
                        print(f"round {number + 1}, {way}, {connections}: {shown}", flush=True)
    rate = {way: statistics.median(results[way, 32]) for way in ways}
    latency = {way: statistics.median(results[way, 1]) for way in ways}
    cpu_us = {way: statistics.median(results[way, 0]) for way in ways}
    change = rate["on"] / rate["off"] - 1
    print(f"answers/s: off {rate['off']:.0f}, on {rate['on']:.0f} ({change:+.1%})")
    print(
        f"median ms: off {latency['off']:.3f}, on {latency['on']:.3f} "
        f"({latency['on'] - latency['off']:+.3f})"
    )
    print(
        f"processor time of an answer: off {cpu_us['off']:.0f} µs, on {cpu_us['on']:.0f} µs "
        f"({cpu_us['on'] / cpu_us['off'] - 1:+.1%})"
    )


def _measured(
    server: Server, connections: int, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Answers a second, or with one connection the median milliseconds; and processor time.

    That is the gateway's, for each request, in microseconds.
    """
    arguments.connections = connections
    traffic = Traffic(catalogue=_PICTURES, pixels=_PIXELS, form=Form.DATA_URL, max_tokens=16)
    before = cpu_seconds(server.pid)[GATEWAY]
    target = Target("A", server.url)
    measured, _ = uvloop.run(cached_answers(target, traffic, free_port(), arguments))
    cpu_us = (cpu_seconds(server.pid)[GATEWAY] - before) / len(measured.asked) * 1e6
    asked = [one for one in measured.asked if one.began >= 0]
    seconds = [one.ended - one.began for one in asked if one.reply.status == _OK]
    if len(seconds) < len(asked):
        raise SystemExit("benchmark: some requests failed")
    if connections > 1:
        return len(seconds) / measured.window, cpu_us
    return statistics.median(seconds) * 1000, cpu_us


def _arguments() -> argparse.Namespace:
    parser = base_parser(__doc__.partition("\n")[0])
    parser.set_defaults(engine="fake")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--max-rate", type=float, default=10_000)
    return parser.parse_args()


if __name__ == "__main__":
    main()
