"""Case 54: each place where the gateway reads from or writes to a network fails, by seed.

After FoundationDB's BUGGIFY, from outside: the connections to the pictures' origin and to Redis go
through proxies that break, delay and slice them at random places, other ones for each seed.
"""

import asyncio
import random
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cache.redis_server import RedisServer
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.questions import Asker, picture, pointed
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, settled
from tests.ingress.network import Hit, raw_origin
from tests.serving import served

DEADLINE_SECONDS = 10
OPTIONS = (
    "--engine", "fake", "--cache-memory-bytes", "0", "--fetch-ttl", "0", "--fetch-timeout", "2",
    "--identity-memory-bytes", "0", "--request-timeout", str(DEADLINE_SECONDS),
)  # fmt: skip


def bugs(chance: random.Random) -> Toxics:
    """Something that goes wrong in one direction; often nothing."""
    if chance.random() < 0.3:
        return Toxics()
    return Toxics(
        latency_seconds=chance.choice((0.0, 0.0, 0.01, 0.06)),
        slice_bytes=chance.choice((None, 1, 7, 100)),
        limit_bytes=chance.choice((None, 0, 1, 10, 60, 200, 1000)),
        ending=chance.choice(tuple(Ending)),
    )


@pytest.mark.parametrize("seeds", sizes(15, 1000, minutes=60))
async def test_every_connection_may_break_anywhere(seed: int, seeds: float, tmp_path: Path) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(8, streamed=0.4)
    pictures = {f"/{place}.png": picture(question) for place, question in enumerate(questions)}

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        body = pictures[hit.line.split()[1]]
        head = f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    async with AsyncExitStack() as stack:
        redis = stack.enter_context(closing(RedisServer(tmp_path)))
        origin = await stack.enter_async_context(raw_origin(respond))
        to_origin = await stack.enter_async_context(fault_proxy(origin.port, seed=seed))
        to_redis = await stack.enter_async_context(fault_proxy(redis.port, seed=seed))
        allowed, url = f"127.0.0.1:{to_origin.port}", f"redis://127.0.0.1:{to_redis.port}"
        running = stack.enter_context(
            served(*OPTIONS, "--private-hosts", allowed, "--cache-redis", url)
        )
        client = Client(running.host_and_port, history)
        before = await idle(running)
        asked = [
            # Its picture may not come, and then it is told so.
            replace(pointed(question, f"http://{allowed}/{place}.png"), sound=False)
            for place, question in enumerate(questions)
        ]
        for number in range(int(seeds)):
            _spoil(random.Random(seed + number), to_origin, to_redis)
            manner = Manner(deadline_seconds=DEADLINE_SECONDS)
            await asyncio.gather(
                *(
                    client.ask(f"bug-{number}-{place}", question, manner)
                    for place, question in enumerate(asked)
                )
            )
        for proxy in (to_origin, to_redis):
            proxy.up = proxy.down = Toxics()
        final = [await client.ask(f"sound-{place}", each) for place, each in enumerate(asked)]
        await settled(running, before, spare_fds=12)
    assert_no_defects(running)
    record(
        "54-buggify", seed=seed, whole=seeds > 100, seeds=int(seeds),
        requests=len(history.operations), outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert all(each.text == each.expected for each in final)


def _spoil(chance: random.Random, *proxies: FaultProxy) -> None:
    for proxy in proxies:
        proxy.up, proxy.down = bugs(chance), bugs(chance)
        if chance.random() < 0.3:
            proxy.reset_all()
