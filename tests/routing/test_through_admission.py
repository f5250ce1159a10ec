"""What the pool learns from requests that come the way they do in the gateway."""

import asyncio
from contextlib import aclosing

import pytest

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.tenant import ANYONE
from silkline.config import AdmissionSettings
from silkline.core import Request
from silkline.errors import WorkerLost
from silkline.routing import ejection
from silkline.routing.pool import EnginePool
from tests.engines.asking import question
from tests.routing.scripted import INFO, ScriptedReplica


async def answered(admission: Admission, pool: EnginePool, request: Request) -> None:
    with admission.admit(ANYONE, Size(1, (), 8), INFO, timeout_seconds=5) as ticket:
        async with aclosing(admission.computed(ticket, lambda: pool.generate(request))) as deltas:
            async for _ in deltas:
                pass


@pytest.mark.parametrize("stream", [True, False])
async def test_good_answers_bring_a_replica_back(
    stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ejection, "FIRST_SECONDS", 0.05)
    bad, good = ScriptedReplica("bad"), ScriptedReplica("good")
    pool = EnginePool([bad, good], seed=1)
    admission = Admission(AdmissionSettings(), pool.capacity)
    await pool.start()
    try:
        bad.script.error = WorkerLost("gone")
        while not pool.health().replicas[0].ejected:
            await answered(admission, pool, question(seed=None, stream=stream))
        bad.script.error = None
        await asyncio.sleep(0.1)
        for _ in range(10):
            await answered(admission, pool, question(seed=None, stream=stream))
        assert not pool.health().replicas[0].ejected
    finally:
        await pool.aclose()
