"""One served model: unloaded when idle, started by the next request, drained when replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from silkline.errors import Overloaded, ShuttingDown
from silkline.service.models import ServedModels
from silkline.service.served_model import ModelState, ServedModel
from tests.engines.asking import eventually
from tests.service.models import Replicas, served_by


@asynccontextmanager
async def model_of(replicas: Replicas, **wanted: Any) -> AsyncIterator[ServedModel]:
    model = served_by(replicas, **({"served_name": "it"} | wanted))
    try:
        await model.start()
        yield model
    finally:
        await model.aclose()


async def test_an_idle_model_is_unloaded_and_the_next_request_starts_it() -> None:
    replicas = Replicas()
    async with model_of(replicas, idle_s=0.05) as model:
        with model.used():
            await asyncio.sleep(0.2)
            assert model.state is ModelState.SERVING
        await eventually(lambda: model.state is ModelState.UNLOADED)
        await eventually(lambda: not replicas.made[0].up)
        assert model.info.model == "it"
        assert model.ready
        assert model.admission.snapshot().capacity == 0
        replicas.seconds = 0.1
        with model.used():
            await asyncio.gather(*(model.awake(30) for _ in range(5)))
            assert model.state is ModelState.SERVING
            assert len(replicas.made) == 2
            assert model.admission.snapshot().capacity == 100


async def test_without_idle_s_a_model_stays() -> None:
    async with model_of(Replicas()) as model:
        with model.used():
            pass
        await asyncio.sleep(0.1)
        assert model.state is ModelState.SERVING


@pytest.mark.parametrize("bound", ["cold_start_wait_s", "the request's timeout"])
async def test_a_cold_start_is_waited_for_within_a_bound_and_goes_on(bound: str) -> None:
    replicas, is_setting = Replicas(), bound == "cold_start_wait_s"
    wait = 0.05 if is_setting else 30.0
    async with model_of(replicas, idle_s=0.01, cold_start_wait_s=wait) as model:
        await eventually(lambda: model.state is ModelState.UNLOADED)
        replicas.seconds = 0.3
        with model.used():
            with pytest.raises(Overloaded) as refused:
                await model.awake(30.0 if is_setting else 0.05)
            assert refused.value.retry_after
            assert model.state is ModelState.STARTING
            await eventually(lambda: model.state is ModelState.SERVING)
            await model.awake(0.0)
        assert len(replicas.made) == 2


async def test_a_failed_cold_start_refuses_requests_without_its_reason() -> None:
    replicas = Replicas()
    async with model_of(replicas, idle_s=0.01) as model:
        await eventually(lambda: model.state is ModelState.UNLOADED)
        replicas.fault = "/secret/folder is gone"
        with model.used():
            for _ in range(3):
                with pytest.raises(Overloaded) as refused:
                    await model.awake(30)
                assert "secret" not in refused.value.message
        assert len(replicas.made) == 2, "each refused request started it again"
        assert model.state is ModelState.UNLOADED


async def test_a_replaced_model_finishes_its_requests() -> None:
    old, new = served_by(Replicas(), served_name="it"), served_by(Replicas(), served_name="it")
    models = ServedModels([old])
    await models.start()
    await new.start()
    chosen = models.choose("it")
    with chosen.used():
        models.put(new, drain_seconds=30)
        assert models.choose("it") is new
        assert models.retiring == (old,)
        await asyncio.sleep(0.05)
        assert chosen.pool.ready
        assert chosen.state is ModelState.DRAINING
    await eventually(lambda: models.retiring == ())
    assert not old.ready
    await models.aclose()


async def test_draining_ends_after_its_timeout() -> None:
    old = served_by(Replicas(), served_name="it")
    models = ServedModels([old, served_by(Replicas(), served_name="other")])
    await models.start()
    with old.used():
        models.remove(old, drain_seconds=0.05)
        await eventually(lambda: models.retiring == ())
        assert not old.ready
    assert [model.name for model in models] == ["other"]
    await models.aclose()


async def test_a_start_ends_when_the_model_is_closed() -> None:
    replicas = Replicas()
    replicas.seconds = 60.0
    model = served_by(replicas)
    starting = asyncio.create_task(model.start())
    await asyncio.sleep(0.05)
    await model.aclose()
    starting.cancel()
    with pytest.raises((asyncio.CancelledError, ShuttingDown)):
        await starting
    with pytest.raises(ShuttingDown):
        await model.start()


async def test_several_models_are_ready_when_all_have_started_and_one_answers() -> None:
    makers = [Replicas(), Replicas()]
    models = ServedModels(
        [served_by(each, served_name=name) for each, name in zip(makers, "ab", strict=True)]
    )
    ready = [models.ready]
    await models.start()
    ready.append(models.ready)
    for each in makers:
        each.made[0].turn(up=False)
        ready.append(models.ready)
    assert ready == [False, True, True, False]
    await models.aclose()
