"""The child processes of a test, told apart from those that other tests' tools have running."""

from __future__ import annotations

import asyncio
import gc

import psutil

WORKER = "silkline.engines.worker"
DECODER = "silkline.ingress"


def children(of: str) -> list[psutil.Process]:
    """This process' living children of a kind: `WORKER` or `DECODER`."""
    return [child for child in psutil.Process().children() if of in _command(child)]


def waits_given_up() -> int:
    """Futures that somebody still remembers although nobody waits for them any more."""
    gc.collect()
    return sum(type(each) is asyncio.Future and each.cancelled() for each in gc.get_objects())


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""
