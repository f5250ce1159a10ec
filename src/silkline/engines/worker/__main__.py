"""The worker process: serves one engine on a unix socket until SIGTERM or its parent's end.

It reads the engine's options as one line of JSON from standard input, and writes one line of JSON,
a `wire.StartReport`, to standard output when it is ready or has failed to start. Logs go to
standard error, in the format of `logs`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker import wire
from silkline.engines.worker.logs import configure_worker_logging
from silkline.engines.worker.parent import tie_to
from silkline.engines.worker.server import WorkerServer
from silkline.engines.worker.start_errors import kind_of
from silkline.errors import EXIT, SilklineError, exit_code
from silkline.observe.heap import freeze_heap

logger = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""Seconds for running requests to end after SIGTERM; the gateway drains before it sends one."""

NICENESS = 10
"""The niceness of the engine's threads.

The gateway and the decoders use little CPU time, answer from the cache, and feed the engine: when
they wait for a core, all requests wait (docs/decisions/0012).
"""


def main() -> None:
    """Runs the worker; the exit code is that of the command line's table."""
    parser = argparse.ArgumentParser(prog="python -m silkline.engines.worker", description=__doc__)
    parser.add_argument("--engine", required=True, help="registered name of the engine")
    parser.add_argument("--socket", required=True, type=Path, help="unix socket to serve on")
    parser.add_argument(
        "--parent", required=True, type=int, help="parent process; this one ends with it"
    )
    arguments = parser.parse_args()
    if not tie_to(arguments.parent):
        sys.exit(EXIT.failed)
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which drains first
    report = _take_stdout()
    configure_worker_logging()
    try:
        options = wire.decode_options(sys.stdin.buffer.readline())
        usable = asyncio.run(_serve(arguments.engine, options, arguments.socket, report))
    except SilklineError as error:
        _send_report(report, kind_of(error), error.message)
        sys.exit(exit_code(error))
    except Exception:
        logger.exception("the worker failed")
        sys.exit(EXIT.failed)
    if not usable:
        os._exit(EXIT.failed)  # skips cleanup, which a failed engine may hang


async def _serve(name: str, options: EngineOptions, socket: Path, report: int) -> bool:
    """Serves until SIGTERM or until the engine fails; returns False if the engine failed."""
    engine = create_engine(name, options)
    await engine.start()
    server = WorkerServer(engine, socket)
    await server.start()
    stop = asyncio.Event()
    # Before this, SIGTERM kills the process: there is no other way to interrupt loading a model.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    freeze_heap()
    _send_report(report, "ready")
    ends = [asyncio.ensure_future(end) for end in (stop.wait(), engine.failed())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await server.stop(GRACE_SECONDS)
    for end in ends:
        end.cancel()
    if not stop.is_set():
        return False
    await engine.aclose()
    return True


def _take_stdout() -> int:
    """Reserves standard output for the report; prints of libraries go to the log instead."""
    report = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return report


def _send_report(report: int, kind: wire.StartKind, message: str = "") -> None:
    os.write(report, msgspec.json.encode(wire.StartReport(kind, message)) + b"\n")


if __name__ == "__main__":
    main()
