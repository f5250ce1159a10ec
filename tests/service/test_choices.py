"""Several answers to one question, through the real parts, without HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest

from silkline.admission.tenant import Tenant
from silkline.cache.create import create_cache
from silkline.config import AdmissionSettings, FetchSettings, LimitSettings, Settings
from silkline.core import (
    Delta,
    FinishReason,
    ImagePart,
    Message,
    Request,
    Role,
    Sampling,
    TextPart,
    Timeline,
    Usage,
)
from silkline.errors import InternalFault, RateLimited
from silkline.ingress.source import uploaded
from silkline.routing.pool import EnginePool
from silkline.service.answering import Answering
from silkline.service.choices import answers, deltas
from silkline.service.create import create_answering
from silkline.service.local import create_intake
from silkline.service.models import ServedModels
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from tests.pictures import encoded
from tests.routing.scripted import ScriptedEngine, ScriptedReplica
from tests.service.models import served_by

SETTINGS = Settings(
    limits=LimitSettings(
        max_inflight_bytes=1024 * 1024, max_image_pixels=200_000, max_request_pixels=200_000
    ),
    fetch=FetchSettings(fetch_timeout=0.2),
)
PICTURE = encoded(300, 200)  # 180,000 bytes of pixels


class SeedEngine(ScriptedEngine):
    """Answers with its seed; with the seed `short`, its stream ends without a finish reason."""

    short: int | None = None

    async def generate(self, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        yield Delta(f"{request.sampling.seed}")
        await asyncio.sleep(self.seconds)
        if request.sampling.seed != self.short:
            yield Delta("", FinishReason.STOP, Usage(1, 1), Timeline({}))


@asynccontextmanager
async def answering(settings: Settings = SETTINGS) -> AsyncIterator[tuple[Answering, SeedEngine]]:
    replica = ScriptedReplica("scripted")
    replica.script = engine = SeedEngine("scripted")
    models = ServedModels([served_by(lambda: EnginePool([replica]))])
    async with create_intake(settings) as intake, aclosing(create_cache(settings.cache)) as cache:
        await models.start()
        yield create_answering(settings, models, intake=intake, cache=cache), engine
        await models.aclose()


def asked(choices: int, seed: int | None = 10) -> Question:
    return Question(
        model=None,
        messages=(Message(Role.USER, (ImagePart(0), TextPart("what"))),),
        sources=(uploaded(PICTURE, param="image"),),
        sampling=Sampling(max_tokens=8, temperature=1.0, seed=seed),
        stream=False,
        choices=choices,
    )


async def test_a_choice_that_ends_early_fails_the_request() -> None:
    async with answering() as (one, engine), asyncio.timeout(10):
        engine.short = 11
        with pytest.raises(InternalFault, match="without a finish reason"):
            await answers(one, asked(3), RequestRecord("whole"))
        for choices in (1, 3):
            question = replace(asked(choices, seed=20 * choices), stream=True)
            engine.short = 20 * choices + choices - 1
            with pytest.raises(InternalFault, match="without a finish reason"):
                async for _ in deltas(one, question, RequestRecord("stream")):
                    pass


async def test_choices_share_the_memory_of_the_images() -> None:
    async with answering() as (one, engine):
        engine.seconds = 0.4
        found = await answers(one, asked(8), RequestRecord("a"))
        assert [answer.text for answer in found] == [str(seed) for seed in range(10, 18)]
        assert len({id(request.images) for request in engine.asked}) == 1


async def test_choices_are_one_request() -> None:
    shop = Tenant("shop", requests_per_minute=2)
    async with answering() as (one, _):
        for count in (1, 2):
            record = RequestRecord("a", tenant=shop)
            assert len(await answers(one, asked(4, seed=100 * count), record)) == 4
        with pytest.raises(RateLimited, match="limit of 2 requests"):
            await answers(one, asked(4, seed=300), RequestRecord("a", tenant=shop))
        counts = one.models.choose(None).admission.snapshot().tenants["shop"]
        assert counts.admitted == 2
        assert sum(counts.refused.values()) == 1


async def test_choices_do_not_count_against_the_queue_one_by_one() -> None:
    settings = SETTINGS.model_copy(update={"admission": AdmissionSettings(max_queue=1)})
    async with answering(settings) as (one, engine):
        engine.seconds = 0.1
        assert len(await answers(one, asked(8), RequestRecord("a"))) == 8
