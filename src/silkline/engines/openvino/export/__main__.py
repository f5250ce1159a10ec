"""The exporting process: takes an order on standard input, and says on standard output how far.

It ends when its standard input does, so it never outlives who asked. What libraries print goes to
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

from silkline.engines.openvino.export.protocol import Ended, Order, Said, Step
from silkline.errors import EXIT, ConfigError, EnvironmentFault, SilklineError

logger = logging.getLogger("silkline.export")

_Kind: TypeAlias = Literal["full", "environment", "failed"]
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MIN_FREE = 16 * 1024 * 1024
"""Less free than this after a failure of a native library says that the disk was full."""


def main() -> None:
    """Exports; the exit code is 0 when the bundle is whole."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python's handler would wait for native code to return, for minutes, and crash where
        # OpenVINO has taken this thread's signal stack away.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    words = _take_stdout()
    logging.basicConfig(stream=sys.stderr)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["HF_HUB_OFFLINE"] = "1"  # whatever a library looks for, it looks here only
    ended = _export(order, words)
    _say(words, ended)
    sys.exit(0 if ended.kind == "done" else EXIT.failed)


def _export(order: Order, words: int) -> Ended:
    folder = Path(order.folder)

    def say(stage: str, done: int, total: int) -> None:
        _say(words, Step(stage, done, total))

    try:
        from silkline.engines.openvino.export.exporter import export  # noqa: PLC0415 - after the order

        export(order.plan, folder, say)
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
    """Keeps standard output for words; what else is written there goes to standard error."""
    words = os.dup(1)
    os.dup2(2, 1)
    return words


def _say(words: int, said: Said) -> None:
    os.write(words, msgspec.json.encode(said) + b"\n")


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(EXIT.failed)


if __name__ == "__main__":
    main()
