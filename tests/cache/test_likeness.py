"""Answers of similar pictures: when they are given, and how they are checked."""

from silkline.cache.near import NearDuplicates
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.core import Request, Sampling
from tests.cache.asking import HOUR, ask, asked_of, cached, info
from tests.engines.asking import picture, request, user

HIT, MISS, NEAR = CacheState.HIT, CacheState.MISS, CacheState.NEAR
DIGEST = 0x0F0F_1234_5678_9ABC
LIKE = DIGEST ^ 0b101
UNLIKE = DIGEST ^ 0b1111_1111


def about(seed: int, text: str = "What is this?", max_tokens: int = 24) -> Request:
    """A question about a picture; the fake engine's answer follows from both."""
    sampling = Sampling(max_tokens=max_tokens)
    return request(user(0, text), images=(picture(seed),), sampling=sampling)


def similar(sample: float = 0.0) -> NearDuplicates:
    return NearDuplicates(3, sample, ttl_seconds=HOUR)


async def test_a_similar_picture_gets_the_same_answer() -> None:
    async with cached(near=similar()) as (cache, engine):
        first = await ask(cache, engine, about(1), perceptual=DIGEST)
        again = await ask(cache, engine, about(2), perceptual=LIKE)
        assert (first[0], again[0]) == (MISS, NEAR)
        assert again[1].text == first[1].text
        assert again[1].usage.cached_tokens == again[1].usage.prompt_tokens
        assert engine.asked == 1


async def test_its_answer_is_never_kept_as_the_pictures_own() -> None:
    async with cached(near=similar()) as (cache, engine):
        await ask(cache, engine, about(1), perceptual=DIGEST)
        states = [(await ask(cache, engine, about(2), perceptual=LIKE))[0] for _ in range(2)]
        assert states == [NEAR, NEAR]


async def test_what_is_not_similar_or_not_the_same_question_is_computed() -> None:
    async with cached(near=similar()) as (cache, engine):
        await ask(cache, engine, about(1), perceptual=DIGEST)
        assert (await ask(cache, engine, about(2), perceptual=UNLIKE))[0] is MISS
        assert (await ask(cache, engine, about(3, "Why?"), perceptual=LIKE))[0] is MISS
        assert (await ask(cache, engine, about(4, max_tokens=3), perceptual=LIKE))[0] is MISS
        other = CachePolicy(tenant=b"another")
        assert (await ask(cache, engine, about(5), other, perceptual=LIKE))[0] is MISS
        assert (await ask(cache, engine, about(6), perceptual=LIKE, revision="r2"))[0] is MISS
        assert (await ask(cache, engine, about(7)))[0] is MISS


async def test_a_client_that_wants_a_new_answer_gets_one() -> None:
    async with cached(near=similar()) as (cache, engine):
        await ask(cache, engine, about(1), perceptual=DIGEST)
        for use, state in ((CacheUse.RENEW, MISS), (CacheUse.NONE, CacheState.BYPASS)):
            policy = CachePolicy(use=use)
            assert (await ask(cache, engine, about(2), policy, perceptual=LIKE))[0] is state


async def test_a_sampled_hit_is_computed_and_compared() -> None:
    async with cached(near=similar(sample=1.0)) as (cache, engine):
        await ask(cache, engine, about(1), perceptual=DIGEST)
        state, answer = await ask(cache, engine, about(2), perceptual=LIKE)
        assert state is MISS
        assert engine.asked == 2
        near = cache.snapshot().near
        assert near is not None
        assert (near.hits, near.samples, near.false_hits) == (1, 1, 1)
        own = await ask(cache, engine, about(2), perceptual=LIKE)
        assert own == (HIT, own[1])
        assert own[1].text == answer.text


async def test_an_answer_that_is_gone_is_computed() -> None:
    async with cached(near=similar(), memory_bytes=0) as (cache, engine):
        await ask(cache, engine, about(1), perceptual=DIGEST)
        assert (await ask(cache, engine, about(2), perceptual=LIKE))[0] is MISS


async def test_an_answer_seen_in_less_detail_is_not_that_of_the_full_picture() -> None:
    async with cached(near=similar()) as (cache, engine):
        for budget, expected in ((1000, MISS), (4000, MISS), (4000, NEAR)):
            seen = asked_of(about(budget + engine.asked), DIGEST, pixel_budget=budget)
            compute = engine.compute(about(budget + engine.asked))
            async with cache.serve(seen, info(), CachePolicy(), compute) as served:
                assert served.state is expected
                assert [delta async for delta in served.deltas]
