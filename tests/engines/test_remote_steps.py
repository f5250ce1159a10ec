"""The time limits of network steps."""

from __future__ import annotations

import asyncio
import time

import pytest

from silkline.engines.remote.steps import Steps
from silkline.errors import WorkerLost


async def test_all_steps_can_be_ended_while_one_runs_out() -> None:
    steps, loop = Steps(60.0), asyncio.get_running_loop()
    failures: list[Exception] = []

    async def wait() -> None:
        async with steps.step(loop.time() + 60.0, seconds=0.001):
            await asyncio.sleep(60.0)

    def end() -> None:
        try:
            steps.end()
        except Exception as error:  # noqa: BLE001 - the event loop would only log it
            failures.append(error)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    loop.call_later(0.01, end)
    time.sleep(0.05)  # noqa: ASYNC251 - both timers are due before the step's task runs again
    with pytest.raises(WorkerLost, match="no longer used"):
        await waiting
    assert not failures
