"""The path of a question through the real rooms, without HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from silkline.cache.create import create_cache
from silkline.cache.policy import CacheState
from silkline.cache.redis import TIMEOUT_SECONDS
from silkline.config import CacheSettings, FetchSettings, LimitSettings, Settings
from silkline.core import Answer, ImagePart, Message, Role, Sampling, Stage, TextPart
from silkline.errors import Overloaded
from silkline.ingress.intake import Intake
from silkline.ingress.source import uploaded
from silkline.routing.pool import EnginePool
from silkline.service.answering import Answering
from silkline.service.create import create_answering
from silkline.service.models import ServedModels
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from tests.engines.asking import eventually
from tests.pictures import encoded
from tests.routing.scripted import ScriptedEngine, ScriptedReplica
from tests.service.models import served_by

MIB = 1024 * 1024
LITTLE_ROOM = Settings(
    limits=LimitSettings(
        max_inflight_bytes=MIB, max_image_pixels=200_000, max_request_pixels=200_000
    ),
    fetch=FetchSettings(fetch_timeout=0.2),
)
PICTURE = encoded(300, 200)  # 180,000 bytes of pixels


@asynccontextmanager
async def answering(settings: Settings) -> AsyncIterator[tuple[Answering, ScriptedEngine]]:
    replica = ScriptedReplica("said")
    models = ServedModels([served_by(lambda: EnginePool([replica]))])
    intake = Intake(settings.limits, settings.fetch, settings.decode)
    cache = create_cache(settings.cache)
    async with intake, aclosing(cache):
        await models.start()
        made = create_answering(settings, models, intake=intake, cache=cache)
        yield made, replica.script
        await models.aclose()


def about(text: str) -> Question:
    return Question(
        model=None,
        messages=(Message(Role.USER, (ImagePart(0), TextPart(text))),),
        sources=(uploaded(PICTURE, param="image"),),
        sampling=Sampling(max_tokens=8),
        stream=False,
    )


async def test_pictures_count_as_long_as_they_are_computed_with() -> None:
    """Also when who sent them has left, and another waits for the answer."""
    async with answering(LITTLE_ROOM) as (one, engine):

        def ask(text: str) -> asyncio.Task[Answer]:
            return asyncio.create_task(one.answer(about(text), RequestRecord(text)))

        await ask("known")
        engine.seconds = 2.0
        leaders = [ask(text) for text in "abc"]
        await eventually(lambda: engine.running == 3)
        followers = [RequestRecord(text) for text in "abc"]
        following = [
            asyncio.create_task(one.answer(about(record.id), record)) for record in followers
        ]
        await eventually(lambda: all(record.cache != "bypass" for record in followers))
        assert {record.cache for record in followers} == {CacheState.COALESCED}
        for leader in leaders:
            leader.cancel()
        await asyncio.gather(*leaders, return_exceptions=True)
        with pytest.raises(Overloaded, match="no memory left for this request"):
            await ask("d")
        assert {answer.text for answer in await asyncio.gather(*following)} == {"said"}
        engine.seconds = 0.0
        assert (await ask("d")).text == "said"
        assert len(engine.asked) == 5


async def test_the_time_in_which_a_tier_had_no_answer_is_told() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1") as redis:
        port = redis.sockets[0].getsockname()[1]
        settings = Settings(cache=CacheSettings(cache_redis=f"redis://127.0.0.1:{port}"))
        async with answering(settings) as (one, _):
            await one.answer(about("new"), RequestRecord("new"))
            known = await one.answer(about("known"), RequestRecord("known"))
    assert known.timeline.seconds[Stage.CACHE] > TIMEOUT_SECONDS / 2
