"""Exports a model once, in a child process, into the store."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from silkline.engines.openvino.export.child import read_lines
from silkline.engines.openvino.export.environment import OnProgress, export_environment
from silkline.engines.openvino.export.plan import Plan
from silkline.engines.openvino.export.protocol import Ended, Order, Report, Step
from silkline.errors import ConfigError, EnvironmentFault, InternalFault
from silkline.models.bundle import Bundle
from silkline.models.store import Store, check_space, full_disk

logger = logging.getLogger("silkline.export")

MODULE = ("-P", "-m", "silkline.engines.openvino.export")
"""The arguments of the Python that exports."""

Command = Callable[[Plan, OnProgress], Sequence[str]]
"""Returns the command of the exporting process, after what it needs has been made."""

_LAST_BYTES = 4096
_FLOAT16_BYTES = 2
_MIN_FOR_RATE = 2
"""Minimum number of parts done for a meaningful rate."""


def exporting_command(plan: Plan, on_progress: OnProgress) -> Sequence[str]:
    """The command in the plan's environment, which is made if it is missing.

    Raises:
        EnvironmentFault: It cannot be made.
    """
    environment = export_environment(plan.environment, os.environ)
    return (str(environment.python(on_progress)), *MODULE)


def export_model(
    plan: Plan, store: Store, on_progress: OnProgress, command: Command = exporting_command
) -> Bundle:
    """Returns the bundle of a plan from the store; exports the model if it is not there.

    Args:
        plan: The plan of the export.
        store: The store for the bundle.
        on_progress: Called with the status of the export at least every second; what it raises
            ends the export.
        command: Makes the command of the exporting process, which must follow `protocol`.

    Raises:
        ConfigError: The model cannot be exported, or the export's answers differ from its own.
        EnvironmentFault: A library, disk space or memory is missing.
        InternalFault: The export failed.
    """
    if (bundle := store.find(plan.key)) is not None:
        return bundle
    began = time.monotonic()

    def build(folder: Path) -> None:
        # Not earlier: waiting for another process needs no space, and orphans are removed by now.
        check_space(store.folder, plan.disk_bytes)
        _run(command(plan, on_progress), Order(plan, str(folder)), on_progress, store)
        on_progress(f"exported in {time.monotonic() - began:.0f} s; checking it")

    def waiting() -> None:
        seconds = time.monotonic() - began
        on_progress(f"another process exports {plan.name}; waiting for it, {seconds:.0f} s")

    return store.make(plan.key, build, waiting)


def _run(command: Sequence[str], order: Order, on_progress: OnProgress, store: Store) -> None:
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as log:
        with subprocess.Popen(  # noqa: S603 - Silkline's module, or a test's
            command, stdin=pipe, stdout=pipe, stderr=log
        ) as child:
            try:
                ended = _follow(child, order, on_progress)
            finally:
                child.kill()  # it has ended, or is no longer needed
        if ended.kind == "done":
            return
        logger.warning("the export failed; its log ends with: %s", _tail(log))
    if ended.kind == "config":
        raise ConfigError(ended.message)
    if ended.kind == "environment":
        raise EnvironmentFault(ended.message)
    if ended.kind == "full":
        raise full_disk(store.folder)
    raise InternalFault(
        f"The export of {order.plan.name} failed: {ended.message}. Serve the model with --engine "
        "torch instead."
    )


def _follow(child: subprocess.Popen[bytes], order: Order, on_progress: OnProgress) -> Ended:
    """Sends the order and reports the child's progress until it ends."""
    if child.stdin is None or child.stdout is None:
        raise InternalFault("The export was started without pipes.")
    with suppress(BrokenPipeError):  # it has ended already; its exit code says how
        # Bypasses the buffer, which would be written again when the pipe is closed.
        os.write(child.stdin.fileno(), msgspec.json.encode(order) + b"\n")
    began, step, since = time.monotonic(), Step("starting"), time.monotonic()

    def show() -> None:
        on_progress(_describe(step, time.monotonic() - began, time.monotonic() - since))

    for line in read_lines(child.stdout, show):
        report = msgspec.json.decode(line, type=Report)
        if isinstance(report, Ended):
            return report
        if report.stage != step.stage:
            since = time.monotonic()
            logger.info("exporting %s: %s", order.plan.name, report.stage)
        step = report
        show()
    if child.wait() == -signal.SIGKILL:
        return Ended("environment", _killed(order.plan))
    return Ended("failed", f"its process was lost (exit code {child.returncode})")


def _killed(plan: Plan) -> str:
    weights = plan.parameters * _FLOAT16_BYTES / 1e9
    return (
        f"The export of {plan.name} was killed, probably because memory ran out: it needs "
        f"{weights:.1f} GB or more for the model. Free some memory, or use a machine with more."
    )


def _describe(step: Step, seconds: float, in_stage: float) -> str:
    parts = f" {step.done} of {step.total}" if step.total else ""
    rate = f", {step.done / in_stage:.1f}/s" if step.done >= _MIN_FOR_RATE and in_stage > 0 else ""
    return f"exporting, {seconds:.0f} s: {step.stage}{parts}{rate}"


def _tail(log: IO[bytes]) -> str:
    log.seek(max(0, log.seek(0, 2) - _LAST_BYTES))
    return log.read().decode(errors="replace").strip()
