"""Has a model exported by a child process, into the store, once."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from silkline.engines.openvino.export.plan import Plan
from silkline.engines.openvino.export.protocol import Ended, Order, Said, Step
from silkline.errors import ConfigError, EnvironmentFault, InternalFault
from silkline.models.bundle import Bundle
from silkline.models.store import Store, check_space, full_disk

logger = logging.getLogger("silkline.export")

Watch = Callable[[str], None]
"""Told what is being done, in words."""

COMMAND = (sys.executable, "-P", "-m", "silkline.engines.openvino.export")
_LAST_BYTES = 4096
_FLOAT16_BYTES = 2
_A_RATE = 2
"""Parts done, from which on a rate says something."""


def export_model(
    plan: Plan, store: Store, watch: Watch, command: Sequence[str] = COMMAND
) -> Bundle:
    """The bundle of a plan: from the store, or made now.

    Args:
        plan: What to make.
        store: Where it is kept.
        watch: Told what is being done.
        command: What runs the export, and speaks as `said` has it.

    Raises:
        ConfigError: The model cannot be exported, or the export answers something else.
        EnvironmentFault: A library, disk space or memory is missing.
        InternalFault: The export failed.
    """
    if (bundle := store.find(plan.key)) is not None:
        return bundle
    began = time.monotonic()

    def build(folder: Path) -> None:
        # Only now: who waits for another needs no space, and what dead ones left is gone.
        check_space(store.folder, plan.disk_bytes)
        _run(command, Order(plan, str(folder)), watch, store)
        watch(f"exported in {time.monotonic() - began:.0f} s; checking it")

    def waiting() -> None:
        seconds = time.monotonic() - began
        watch(f"another process exports {plan.name}; waiting for it, {seconds:.0f} s")

    return store.make(plan.key, build, waiting)


def _run(command: Sequence[str], order: Order, watch: Watch, store: Store) -> None:
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(  # noqa: S603 - our own module, or a test's
            command, stdin=pipe, stdout=pipe, stderr=log
        ) as child:
            try:
                ended = _follow(child, order, watch)
            finally:
                child.kill()  # it has ended, or is not wanted any more
        if ended.kind == "done":
            return
        logger.warning("the export failed; its last words: %s", _tail(log))
    if ended.kind == "config":
        raise ConfigError(ended.message)
    if ended.kind == "environment":
        raise EnvironmentFault(ended.message)
    if ended.kind == "full":
        raise full_disk(store.folder)
    raise InternalFault(
        f"The export of {order.plan.name} failed: {ended.message}. Serve the model with --engine "
        "torch meanwhile."
    )


def _follow(child: subprocess.Popen[bytes], order: Order, watch: Watch) -> Ended:
    """Tells what the child does until it ends."""
    if child.stdin is None or child.stdout is None:
        raise InternalFault("The export was started without its pipes.")
    with suppress(BrokenPipeError):  # it has ended already; its exit code says how
        # Past the buffer, which would be written once more when the pipe is closed.
        os.write(child.stdin.fileno(), msgspec.json.encode(order) + b"\n")
    began, stage, since = time.monotonic(), "", 0.0
    for line in child.stdout:
        said = msgspec.json.decode(line, type=Said)
        if isinstance(said, Ended):
            return said
        if said.stage != stage:
            stage, since = said.stage, time.monotonic()
            logger.info("exporting %s: %s", order.plan.name, stage)
        watch(_words(said, time.monotonic() - began, time.monotonic() - since))
    if child.wait() == -signal.SIGKILL:
        return Ended("environment", _killed(order.plan))
    return Ended("failed", f"its process was lost (exit code {child.returncode})")


def _killed(plan: Plan) -> str:
    weights = plan.parameters * _FLOAT16_BYTES / 1e9
    return (
        f"The export of {plan.name} was killed, as the system does when memory runs out: it holds "
        f"the model, {weights:.1f} GB or more. Free some memory, or take a machine with more."
    )


def _words(step: Step, seconds: float, in_stage: float) -> str:
    parts = f" {step.done} of {step.total}" if step.total else ""
    rate = f", {step.done / in_stage:.1f}/s" if step.done >= _A_RATE and in_stage > 0 else ""
    return f"exporting, {seconds:.0f} s: {step.stage}{parts}{rate}"


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, 2) - _LAST_BYTES))
    return log.read().decode(errors="replace").strip()
