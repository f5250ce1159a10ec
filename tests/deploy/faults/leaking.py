"""Runs `silkline` on a machine with 1 GB, and leaks memory once a file exists.

python leaking.py FILE BYTES_PER_SECOND up ...
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from silkline.__main__ import main
from silkline.service import machine_metrics

MACHINE_BYTES = 10**9
_STEP_SECONDS = 0.1
_kept: list[bytes] = []


def _leak(file: Path, rate: int) -> None:
    while not file.exists():
        time.sleep(_STEP_SECONDS)
    while True:
        _kept.append(b"x" * round(rate * _STEP_SECONDS))
        time.sleep(_STEP_SECONDS)


if __name__ == "__main__":
    _, name, given, *options = sys.argv
    machine_metrics._memory = lambda root: MACHINE_BYTES  # type: ignore[assignment]
    threading.Thread(target=_leak, args=(Path(name), int(given)), daemon=True).start()
    sys.argv = ["silkline", *options]
    main()
