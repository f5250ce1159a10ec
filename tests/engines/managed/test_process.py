"""A server's process, whichever server it is."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from silkline.engines.managed.process import ServerProcess


async def test_a_log_without_lines_is_kept_in_small_pieces(tmp_path: Path) -> None:
    """Its last words are searched, and a search in a long line takes long."""
    command = [sys.executable, "-c", "print('Error ' * 100_000)"]
    logger = logging.getLogger("silkline.test")
    process = await ServerProcess.spawn(command, tmp_path, os.environ, "secret", logger)
    await process.wait()
    await process.end()
    assert process.lines
    assert max(len(line) for line in process.lines) <= 2000
