"""The cache in front of a real engine: who computes, who is spared it, and what they are told."""

import asyncio
import random
import statistics
import time
from dataclasses import replace
from pathlib import Path

import pytest

from silkline.cache.disk import DiskTier
from silkline.cache.policy import CachePolicy, CacheState, CacheUse
from silkline.cache.redis import TIMEOUT_SECONDS, RedisTier
from silkline.core import Sampling, Stage
from silkline.errors import InvalidRequest, Overloaded
from tests.cache.asking import MIB, ask, asked_of, cached, info
from tests.cache.redis_server import RedisServer
from tests.engines.asking import answer as answer_of_engine
from tests.engines.asking import eventually, question

HIT, MISS = CacheState.HIT, CacheState.MISS
COALESCED, BYPASS = CacheState.COALESCED, CacheState.BYPASS
RENEW = CachePolicy(use=CacheUse.RENEW)
NONE = CachePolicy(use=CacheUse.NONE)


@pytest.mark.parametrize("stream", [True, False])
async def test_the_second_time_it_is_there(stream: bool) -> None:
    async with cached() as (cache, engine):
        asked = question(stream=stream)
        first, computed = await ask(cache, engine, asked)
        second, kept = await ask(cache, engine, asked)
        assert (first, second) == (MISS, HIT)
        assert engine.asked == 1
        assert kept.text == computed.text == (await answer_of_engine(engine.engine, asked)).text
        assert kept.finish_reason is computed.finish_reason


async def test_usage_and_timeline_say_what_was_spent() -> None:
    async with cached(prefill_seconds="0.5") as (cache, engine):
        _, computed = await ask(cache, engine)
        _, kept = await ask(cache, engine)
        assert computed.usage.cached_tokens == 0
        assert kept.usage == replace(computed.usage, cached_tokens=computed.usage.prompt_tokens)
        assert computed.timeline.seconds[Stage.PREFILL] >= 0.5
        assert {Stage.CACHE, Stage.QUEUE, Stage.PREFILL} <= set(computed.timeline.seconds)
        assert set(kept.timeline.seconds) == {Stage.CACHE}
        assert 0 <= kept.timeline.seconds[Stage.CACHE] < 0.5


async def test_another_question_is_another_answer() -> None:
    async with cached() as (cache, engine):
        await ask(cache, engine)
        for other in (question("Where is this?"), question(seed=1), question(seed=None)):
            assert (await ask(cache, engine, other))[0] is MISS
        assert (await ask(cache, engine, revision="r2"))[0] is MISS
        assert (await ask(cache, engine, precision="int4"))[0] is MISS


async def test_tenants_do_not_share() -> None:
    async with cached() as (cache, engine):
        one, other = CachePolicy(tenant=b"one"), CachePolicy(tenant=b"other")
        assert (await ask(cache, engine, policy=one))[0] is MISS
        assert (await ask(cache, engine, policy=other))[0] is MISS
        assert (await ask(cache, engine, policy=one))[0] is HIT
        slow = question("Slowly")
        states = await asyncio.gather(
            *(ask(cache, engine, slow, policy) for policy in (one, other, one, other))
        )
        assert sorted(state for state, _ in states) == [COALESCED, COALESCED, MISS, MISS]


async def test_only_deterministic_requests_have_a_part() -> None:
    async with cached() as (cache, engine):
        free = question(sampling=Sampling(temperature=0.8))
        seeded = question(sampling=Sampling(temperature=0.8, seed=3))
        outcomes = await asyncio.gather(*(ask(cache, engine, free) for _ in range(3)))
        assert [state for state, _ in outcomes] == [BYPASS] * 3
        assert engine.asked == 3
        assert [(await ask(cache, engine, seeded))[0] for _ in range(2)] == [MISS, HIT]


async def test_no_cache_computes_again_and_keeps_it() -> None:
    async with cached() as (cache, engine):
        await ask(cache, engine)
        assert (await ask(cache, engine, policy=RENEW))[0] is MISS
        assert engine.asked == 2
        assert (await ask(cache, engine))[0] is HIT


async def test_no_store_neither_reads_nor_writes() -> None:
    async with cached() as (cache, engine):
        assert (await ask(cache, engine, policy=NONE))[0] is BYPASS
        assert (await ask(cache, engine))[0] is MISS
        assert (await ask(cache, engine, policy=NONE))[0] is BYPASS
        assert engine.asked == 3


async def test_five_hundred_at_once_are_computed_once(redis: RedisServer) -> None:
    commands = redis.admin.info()["total_commands_processed"]
    async with cached(RedisTier(redis.url), token_seconds="0.002") as (cache, engine):
        requests = [question(stream=place % 2 == 0) for place in range(500)]
        outcomes = await asyncio.gather(*(ask(cache, engine, asked) for asked in requests))
        states = [state for state, _ in outcomes]
        assert engine.asked == 1
        assert (states.count(MISS), states.count(COALESCED)) == (1, 499)
        assert len({given.text for _, given in outcomes}) == 1
        followers = [given for state, given in outcomes if state is COALESCED]
        for given in followers:
            assert given.usage.cached_tokens == given.usage.prompt_tokens
            assert set(given.timeline.seconds) == {Stage.CACHE, Stage.QUEUE}
        await eventually(lambda: cache.snapshot().computing == 0)
    assert redis.admin.info()["total_commands_processed"] - commands < 10


async def test_when_the_first_leaves_the_others_are_answered() -> None:
    async with cached(token_seconds="0.005") as (cache, engine):
        leader = asyncio.create_task(ask(cache, engine, question(stream=True)))
        await eventually(lambda: engine.asked == 1)
        followers = [
            asyncio.create_task(ask(cache, engine, question(stream=place % 2 == 0)))
            for place in range(50)
        ]
        await asyncio.sleep(0.02)
        leader.cancel()
        outcomes = await asyncio.gather(*followers)
        assert leader.cancelled()
        assert {state for state, _ in outcomes} == {COALESCED}
        assert engine.asked == 1
        assert (await ask(cache, engine))[0] is HIT


@pytest.mark.slow
async def test_when_all_leave_the_engine_stops() -> None:
    async with cached(token_seconds="0.15", answer_words="24") as (cache, engine):
        readers = [asyncio.create_task(ask(cache, engine)) for _ in range(20)]
        await eventually(lambda: engine.asked == 1)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        await eventually(lambda: engine.idle, seconds=3)
        assert cache.snapshot().computing == 0
        assert (await ask(cache, engine))[0] is MISS


async def test_readers_come_and_go_at_random() -> None:
    dice = random.Random(35)
    async with cached(token_seconds="0.001") as (cache, engine):
        expected: dict[int, str] = {}
        for seed in range(5):
            asked = question(seed=seed)
            expected[seed] = (await answer_of_engine(engine.engine, asked)).text

        async def one() -> None:
            await asyncio.sleep(dice.random() * 0.3)
            seed = dice.randrange(5)
            policy = RENEW if dice.random() < 0.2 else CachePolicy()
            asked = question(seed=seed, stream=dice.random() < 0.5)
            task = asyncio.create_task(ask(cache, engine, asked, policy))
            if dice.random() < 0.6:
                await asyncio.sleep(dice.random() * 0.03)
                task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                assert task.result()[1].text == expected[seed]

        await asyncio.gather(*(one() for _ in range(400)))
        await eventually(lambda: engine.idle)
        assert cache.snapshot().computing == 0


async def test_what_fails_is_told_to_all_and_not_kept() -> None:
    async with cached(oom_on_text="<<oom>>", fault_after_tokens="2") as (cache, engine):
        asked = question("<<oom>>")
        outcomes = await asyncio.gather(
            *(ask(cache, engine, asked) for _ in range(10)), return_exceptions=True
        )
        assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
        assert engine.asked == 1
        with pytest.raises(Overloaded):
            await ask(cache, engine, asked)
        assert engine.asked == 2
        with pytest.raises(InvalidRequest):
            await ask(cache, engine, question("many words " * 9000))


async def test_answers_cut_by_their_length_are_kept_too() -> None:
    async with cached() as (cache, engine):
        asked = question(sampling=Sampling(max_tokens=2))
        states = [await ask(cache, engine, asked) for _ in range(2)]
        assert [state for state, _ in states] == [MISS, HIT]
        assert states[0][1].finish_reason is states[1][1].finish_reason


async def test_an_answer_survives_the_process(disk_path: Path) -> None:
    async with cached(DiskTier(disk_path, 64 * MIB)) as (cache, engine):
        _, computed = await ask(cache, engine)
    async with cached(DiskTier(disk_path, 64 * MIB)) as (cache, engine):
        outcomes = await asyncio.gather(*(ask(cache, engine) for _ in range(10)))
        assert {state for state, _ in outcomes} == {HIT}
        assert {given.text for _, given in outcomes} == {computed.text}
        assert engine.asked == 0
        assert cache.snapshot().tiers[1].hits == 1


async def test_two_gateways_share_through_redis(redis: RedisServer) -> None:
    async with (
        cached(RedisTier(redis.url)) as (one, engine),
        cached(RedisTier(redis.url)) as (other, idle),
    ):
        assert (await ask(one, engine))[0] is MISS
        await eventually(lambda: bool(redis.admin.keys("silkline:answer:*")))
        assert (await ask(other, idle))[0] is HIT
        assert idle.asked == 0


async def test_no_cache_does_not_read_a_further_tier_either(disk_path: Path) -> None:
    async with cached(DiskTier(disk_path, 64 * MIB), memory_bytes=0) as (cache, engine):
        await ask(cache, engine)
        await eventually(lambda: cache.snapshot().tiers[1].waiting == 0)
        await asyncio.sleep(0.05)
        assert (await ask(cache, engine))[0] is HIT
        assert (await ask(cache, engine, policy=RENEW))[0] is MISS
        assert engine.asked == 2


async def test_a_broken_redis_costs_time_only(own_redis: RedisServer) -> None:
    async with cached(RedisTier(own_redis.url), memory_bytes=0) as (cache, engine):
        assert (await ask(cache, engine))[0] is MISS
        for break_it in (own_redis.freeze, own_redis.kill):
            break_it()
            taken = []
            for number in range(100):
                asked = question(f"{break_it.__name__} {number}")
                started = time.monotonic()
                state, _ = await ask(cache, engine, asked)
                taken.append(time.monotonic() - started)
                assert state is MISS
            assert statistics.median(taken) < TIMEOUT_SECONDS, "each waited for Redis"
            assert cache.snapshot().tiers[1].health.degraded
            own_redis.thaw()
        own_redis.start()

        async def is_back() -> bool:
            await ask(cache, engine)
            await asyncio.sleep(0.05)
            return (await ask(cache, engine))[0] is HIT

        limit = time.monotonic() + 5
        while not await is_back():
            assert time.monotonic() < limit


async def test_leaving_before_the_first_delta_gives_the_place_up() -> None:
    async with cached(token_seconds="0.01") as (cache, engine):
        request = question()
        asked, compute = asked_of(request), engine.compute(request)
        async with cache.serve(asked, info(), CachePolicy(), compute) as served:
            assert served.state is MISS
        await eventually(lambda: engine.idle)
        await ask(cache, engine)
        async with cache.serve(asked, info(), CachePolicy(), compute) as served:
            assert served.state is HIT


async def test_the_engine_is_asked_with_the_request_as_it_is() -> None:
    async with cached() as (cache, engine):
        asked = question()
        await ask(cache, engine, asked)
        assert engine.requests == [asked]


async def test_closing_while_it_computes() -> None:
    async with cached(token_seconds="0.05") as (cache, engine):
        reader = asyncio.create_task(ask(cache, engine))
        await eventually(lambda: engine.asked == 1)
        await cache.aclose()
        with pytest.raises(Exception, match="shutting down"):
            await reader
        await eventually(lambda: engine.idle)


async def test_what_was_looked_for_is_not_looked_for_again(disk_path: Path) -> None:
    async with cached(DiskTier(disk_path, MIB)) as (cache, engine):
        request = question()
        asked, compute = asked_of(request), engine.compute(request)
        async with cache.find(asked, info(), CachePolicy()) as found:
            assert found is None
        async with cache.serve(asked, info(), CachePolicy(), compute, looked=True) as served:
            assert served.state is MISS
            assert [delta async for delta in served.deltas]
        assert [tier.misses for tier in cache.snapshot().tiers] == [1, 1]
        async with cache.find(asked, info(), CachePolicy()) as found:
            assert found is not None
            assert found.state is HIT
