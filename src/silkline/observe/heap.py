"""Keeps the garbage collector away from what a process holds as long as it serves."""

from __future__ import annotations

import gc


def freeze_heap() -> None:
    """Exempts every object that exists now from garbage collection; call it once, after start-up.

    A full collection walks all objects that could be part of a cycle. Modules, settings and
    routes are most of them and live to the end of the process, so walking them frees nothing and
    stops the event loop for as long as it takes.
    """
    gc.collect()
    gc.freeze()
