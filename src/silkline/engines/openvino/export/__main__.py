"""The exporting process: reads an order from standard input, reports progress on standard output.

It ends when its standard input closes, so it never outlives its parent. Prints of libraries go to
standard error.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from silkline.engines.openvino.export.protocol import Ended, Order, Report, Step
from silkline.errors import EXIT, ConfigError, EnvironmentFault, SilklineError

logger = logging.getLogger("silkline.export")

_Kind: TypeAlias = Literal["full", "environment", "failed"]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MIN_FREE = 16 * 1024 * 1024
"""If fewer bytes are free after a native library failed, a full disk counts as the cause."""


def main() -> None:
    """Runs the export; exits with 0 if the bundle is complete."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python's handler would wait minutes for native code to return, and crash if OpenVINO has
        # replaced this thread's signal stack.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    output = _take_stdout()
    logging.basicConfig(stream=sys.stderr)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HF_HUB_OFFLINE"] = "1"  # no library may download anything
    ended = _export(order, output)
    _send(output, ended)
    sys.exit(0 if ended.kind == "done" else EXIT.failed)


def _export(order: Order, output: int) -> Ended:
    folder = Path(order.folder)

    def on_progress(stage: str, done: int, total: int) -> None:
        _send(output, Step(stage, done, total))

    try:
        from silkline.engines.openvino.export.exporter import export  # noqa: PLC0415 - after the order

        export(order.plan, folder, on_progress)
    except ConfigError as error:
        return Ended("config", error.message)
    except EnvironmentFault as error:
        return Ended(_or_full("environment", folder), error.message)
    except SilklineError as error:
        return Ended("failed", error.message)
    except OSError as error:
        logger.exception("the export failed")
        return Ended("full" if error.errno in _FULL else "failed", error.strerror or "")
    except Exception as error:
        logger.exception("the export failed")
        return Ended(_or_full("failed", folder), f"{type(error).__name__}: {error}")
    return Ended("done")


def _or_full(kind: _Kind, folder: Path) -> _Kind:
    return "full" if shutil.disk_usage(folder).free < _MIN_FREE else kind


def _take_stdout() -> int:
    """Reserves standard output for reports; other output to it goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def _send(output: int, report: Report) -> None:
    os.write(output, msgspec.json.encode(report) + b"\n")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(EXIT.failed)


if __name__ == "__main__":
    main()
