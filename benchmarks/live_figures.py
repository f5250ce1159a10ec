"""What the console's live figures cost the gateway: share of a core, with a listener and without.

The gateway gets 10,000 requests a minute in an open loop, from its cache. In turns nobody listens
to /admin/live, and one listener does.

    python -m benchmarks.live_figures [--seconds 20] [--rounds 3] [--engine fake]
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, leave
from benchmarks.report import GATEWAY
from benchmarks.subjects import Server, gateway
from silkline.bench.session import run_bench
from silkline.bench.spec import Arrivals, Spec, Target, Traffic
from silkline.errors import SilklineError

_RATE = 10_000 / 60
_PICTURES = 50


def main() -> None:
    """Measures both in turns, and prints the shares."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, leave)
    try:
        with gateway(place_of(arguments), ["--admin-without-keys", "loopback"]) as server:
            for _ in range(arguments.rounds):
                without = _share(server, arguments.seconds)
                with _listening(server.url) as events:
                    listening = _share(server, arguments.seconds)
                print(
                    f"share of a core: {without:.1%} without a listener, {listening:.1%} with one "
                    f"({len(events)} snapshots), the difference {listening - without:.1%}",
                    flush=True,
                )
    except (BenchmarkError, SilklineError) as error:
        sys.exit(f"benchmark: {error}")


def _share(server: Server, seconds: float) -> float:
    """The gateway's processor time for each second of load."""
    traffic = Traffic(catalogue=_PICTURES, max_tokens=16)
    spec = Spec((Target("A", server.url),), Arrivals(_RATE, seconds), traffic, warm=_PICTURES)
    before = cpu_seconds(server.pid)[GATEWAY]
    uvloop.run(run_bench(spec))
    return (cpu_seconds(server.pid)[GATEWAY] - before) / seconds


@contextmanager
def _listening(url: str) -> Iterator[list[bytes]]:
    """Reads the live figures in a thread; yields the events that have come."""
    events: list[bytes] = []
    response = urllib.request.urlopen(f"{url}/admin/live", timeout=10)

    def read() -> None:
        try:
            events.extend(line for line in response if line.startswith(b"data:"))
        except (OSError, ValueError):  # closed
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield events
    finally:
        response.close()


def _arguments() -> argparse.Namespace:
    parser = base_parser("What the console's live figures cost.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
