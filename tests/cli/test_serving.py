"""From settings to replicas."""

import os

import pytest

from silkline.cli.serving import create_pool, limit_of_worker, threads_of_worker
from silkline.config import EngineSettings, Settings
from tests.processes import WORKER, children


def test_the_cores_are_divided_among_the_workers() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_of_worker(EngineSettings()) == 0
    assert threads_of_worker(EngineSettings(threads=3)) == 3
    assert threads_of_worker(EngineSettings(workers=cores)) == 1
    assert threads_of_worker(EngineSettings(workers=64)) == 1
    assert threads_of_worker(EngineSettings(workers=2, threads=5)) == 5


@pytest.mark.parametrize("max_batch", [1, 2, 16, 256])
def test_a_worker_gets_its_batch_and_a_few_more(max_batch: int) -> None:
    assert max_batch + 1 < limit_of_worker(max_batch) <= max_batch * 1.25 + 2


async def test_several_workers_are_several_replicas() -> None:
    engine = EngineSettings(engine="fake", workers=3, max_batch=4)
    pool = await create_pool(Settings(engine=engine))
    try:
        await pool.start()
        assert [replica.name for replica in pool.health().replicas] == ["0", "1", "2"]
        assert len({replica.pid for replica in pool.health().replicas}) == 3
        assert pool.capacity() == 3 * limit_of_worker(4)
    finally:
        await pool.aclose()
    assert not children(WORKER)
