"""What holds for every test."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("quick", settings.get_profile("ci"), max_examples=40)
"""What `make test` draws: the same examples each time, fewer than the profile `ci`."""


class _SignalStack(ctypes.Structure):
    """`stack_t` of <signal.h>."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def _signal_stack() -> tuple[int | None, int]:
    """Where this thread's signal handlers run, and how many bytes they have there."""
    stack = _SignalStack()
    if ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)):
        raise OSError("sigaltstack failed")
    return stack.address, stack.size


@pytest.fixture(scope="session")
def signal_stacks() -> list[tuple[int | None, int]]:
    """Those that the main thread has had, the last one being what it had when last looked at."""
    return [_signal_stack()]


@pytest.fixture(autouse=True)
def signals_can_be_handled(signal_stacks: list[tuple[int | None, int]]) -> Iterator[None]:
    """Tells of a test that takes the main thread's signal stack away.

    OpenVINO's CPU plug-in gives the thread that loads it a signal stack of its own, and unmaps that
    memory when it is released, in whichever thread and order. A later signal to the main thread
    then kills the process: tests load OpenVINO in another thread, as the engine does.
    """
    yield
    now = _signal_stack()
    if now != signal_stacks[-1]:
        signal_stacks.append(now)
        pytest.fail("OpenVINO was loaded or released in the main thread")
