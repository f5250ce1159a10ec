"""Reads the lines of a child process without waiting forever for the next one."""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterator
from typing import IO

_IDLE_SECONDS = 1.0
_CHUNK_BYTES = 65536


def read_lines(output: IO[bytes], idle: Callable[[], None]) -> Iterator[bytes]:
    """Yields the lines of a pipe until it is closed.

    Args:
        output: The pipe, from which nothing was read yet.
        idle: Called after each second without output. What it raises ends the reading, so that a
            long silent step can be cancelled.
    """
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            if not selector.select(_IDLE_SECONDS):
                idle()
                continue
            chunk = os.read(output.fileno(), _CHUNK_BYTES)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines
    if rest:
        yield rest
