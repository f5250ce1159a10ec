"""Exempts long-lived objects from garbage collection."""

from __future__ import annotations

import gc


def freeze_heap() -> None:
    """Exempts every existing object from garbage collection; call it once, after startup.

    A full collection walks all objects that could be part of a cycle. Most of them are modules,
    settings and routes, which live until the process ends: walking them frees nothing and blocks
    the event loop.
    """
    gc.collect()
    gc.freeze()
