"""The OpenVINO engine with the bundled model, in this process and in a worker."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from silkline.core import Feature, Image, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.worker.supervisor import WorkerSupervisor
from silkline.errors import ConfigError, InvalidRequest
from silkline.ingress.identity import image_digest
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, picture, question, request, user
from tests.engines.conformance import Conformance

pytest.importorskip("openvino_genai")

LACKS = frozenset(
    {
        Feature.FREQUENCY_PENALTY,
        Feature.PRESENCE_PENALTY,
        Feature.REPETITION_PENALTY,
        Feature.LOGIT_BIAS,
        Feature.TOP_LOGPROBS,
    }
)
ANSWER_IDS = (38, 643, 689, 293, 271, 429, 313, 19, 1)
"""The tokens of the answer to `question()`: A yellow laptop on a plain background."""

OPTIONS = EngineOptions(model=bundled_folder(), kv_cache_bytes=64 * 1024 * 1024, threads=2)


@pytest.mark.asyncio(loop_scope="class")
class TestOpenVino(Conformance):
    LACKS = LACKS
    ANSWER_IDS = ANSWER_IDS

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        engine = create_engine("openvino", OPTIONS)
        await engine.start()
        yield engine
        await engine.aclose()


@pytest.mark.asyncio(loop_scope="class")
@pytest.mark.slow
class TestOpenVinoInAWorker(Conformance):
    LACKS = LACKS
    ANSWER_IDS = ANSWER_IDS

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        worker = WorkerSupervisor("openvino", OPTIONS, health_interval=0.05)
        await worker.start()
        assert worker.engine is not None
        yield worker.engine
        await worker.aclose()


@pytest.mark.full
@pytest.mark.asyncio(loop_scope="class")
class TestOpenVinoWithItsPrefixCache(Conformance):
    LACKS = LACKS
    ANSWER_IDS = ANSWER_IDS

    @pytest_asyncio.fixture(scope="class", loop_scope="class")
    @classmethod
    async def engine(cls) -> AsyncIterator[Engine]:
        engine = create_engine("openvino", replace(OPTIONS, extra={"reuse": "true"}))
        await engine.start()
        yield engine
        await engine.aclose()


def similar(one: Image, kind: int) -> Image:
    """Another picture, or this one with a single bit, or a square, changed."""
    if kind == 0:
        return picture(int(one.digest[:6], 16), one.width, one.height)
    pixels = bytearray(one.pixels)
    if kind == 1:
        pixels[len(pixels) // 2] ^= 1
    else:
        for row in range(8):
            start = 3 * (row * one.width + 8)
            pixels[start : start + 24] = bytes(24)
    digest = image_digest("RGB", one.width, one.height, bytes(pixels))
    return replace(one, pixels=bytes(pixels), digest=digest)


@pytest.mark.full
@pytest.mark.parametrize("pairs", [15, 200])
async def test_the_prefix_cache_mixes_no_pictures(pairs: int) -> None:
    """The same text about two pictures, and again about the first: as without the cache."""
    with_it = create_engine("openvino", replace(OPTIONS, extra={"reuse": "true"}))
    without = create_engine("openvino", replace(OPTIONS, extra={"reuse": "false"}))
    await with_it.start()
    await without.start()
    differing = 0
    try:
        for number in range(pairs):
            one = picture(number)
            other = similar(one, number % 3)
            asked = [
                request(user(0, "Describe this product."), images=(image,))
                for image in (one, other, one)
            ]
            texts = [(await answer(with_it, each)).text for each in asked]
            assert texts == [(await answer(without, each)).text for each in asked]
            differing += texts[0] != texts[1]
    finally:
        await with_it.aclose()
        await without.aclose()
    assert differing > pairs / 10, "the pictures were too alike to prove anything"


def test_an_option_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match="Valid options: reuse, feature_cache_bytes, kv_precision"
    ):
        create_engine("openvino", replace(OPTIONS, extra={"prefix_cache": "true"}))


@pytest.mark.slow
async def test_a_more_precise_cache_is_priced_and_used() -> None:
    small = replace(OPTIONS, kv_cache_bytes=1024 * 1024)
    room = {}
    for precision in ("u8", "f16", "f32"):
        engine = create_engine("openvino", replace(small, extra={"kv_precision": precision}))
        await engine.start()
        try:
            with pytest.raises(InvalidRequest, match="may have") as refusal:
                await answer(engine, question("7" * 870, seed=None))
            told = await answer(engine, question())
            assert told.text == "A yellow laptop on a plain background."
        finally:
            await engine.aclose()
        room[precision] = int(re.findall(r"may have (\d+)", str(refusal.value))[0])
    assert room == {"u8": 800, "f16": 448, "f32": 256}
    with pytest.raises(ConfigError, match="kv_precision"):
        create_engine("openvino", replace(OPTIONS, extra={"kv_precision": "f8"}))


@pytest.mark.slow
async def test_what_does_not_fit_the_cache_harms_nobody_else() -> None:
    engine = create_engine("openvino", replace(OPTIONS, kv_cache_bytes=1024 * 1024))
    await engine.start()
    try:
        beside = asyncio.create_task(answer(engine, question()))
        with pytest.raises(InvalidRequest, match="may have 800"):
            await answer(engine, question("7" * 870, seed=None))
        long = Sampling(max_tokens=4096)
        asked = question("Count. " * 100, seed=None, sampling=long, timeout_seconds=120)
        assert (await answer(engine, asked)).usage.completion_tokens > 0
        assert (await beside).text == (await answer(engine, question())).text
    finally:
        await engine.aclose()


@pytest.mark.slow
async def test_a_sample_without_a_seed_is_another_one_each_time() -> None:
    engine = create_engine("openvino", OPTIONS)
    await engine.start()
    try:
        samples = {await _sample(engine, seed=None) for _ in range(6)}
        assert len(samples) > 1
        assert await _sample(engine, seed=-7) == await _sample(engine, seed=-7)
    finally:
        await engine.aclose()


async def _sample(engine: Engine, seed: int | None) -> str:
    sampling = Sampling(max_tokens=24, temperature=2.0, seed=seed)
    return (await answer(engine, question("Describe it.", sampling=sampling))).text
