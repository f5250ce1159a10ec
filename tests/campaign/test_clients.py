"""Cases 40 and 41: clients that go away, and clients that hardly read."""

import asyncio
from dataclasses import replace

import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History, Outcome
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import (
    assert_no_defects,
    idle,
    metric,
    pss_bytes,
    settled,
    standing,
    until,
)
from tests.serving import served

WORDS = 20
ENGINE = ("--engine", "fake", "--engine-options")
SLOW_READER = 1024.0
"""Bytes per second."""

PATIENCE_SECONDS = 10
"""How long after its deadline a slow reader is still there."""


@pytest.mark.parametrize("clients", sizes(100, 1000))
async def test_clients_that_leave_free_all_they_held(seed: int, clients: float) -> None:
    asker, history = Asker(seed, WORDS), History()
    questions = await asker.questions(int(clients))
    with served(*ENGINE, f"answer_words={WORDS},token_seconds=0.02", "--cache-ttl", "0") as running:
        client = Client(running.host_and_port, history)
        before = await idle(running)
        running_at_once = asyncio.Semaphore(50)

        async def leaving(place: int) -> None:
            async with running_at_once:
                # From before the connection stands to after the answer is whole.
                manner = Manner(leave_seconds=asker.chance.uniform(0.0, 1.2))
                await client.ask(f"leaving-{place}", questions[place], manner)

        await asyncio.gather(*(leaving(place) for place in range(int(clients))))
        rest = await until(
            lambda: standing(running).in_use <= before.in_use, "slots are not free", seconds=10
        )
        await settled(running, before)
        defects = metric(running.url, "silkline_requests_total", code="500")
    assert_no_defects(running)
    record(
        "40-disconnects", seed=seed, whole=clients > 100, clients=int(clients),
        outcomes=history.outcomes(), slots_free_after_seconds=round(rest, 2),
    )  # fmt: skip
    assert not violations(history)
    assert defects == 0
    assert history.outcomes()["left"] > clients / 4


@pytest.mark.parametrize("readers", sizes(20, 200))
async def test_slow_readers_are_cut_and_cost_little(seed: int, readers: float) -> None:
    words, seconds = 30_000, 6
    asker, history = Asker(seed, words), History()
    question = (await asker.questions(1, streamed=1.0))[0]
    limits = (
        "--request-timeout", str(seconds), "--max-answer-tokens", "100000", "--write-timeout", "3",
    )  # fmt: skip
    options = f"answer_words={words},context_length=200000"
    body = question.body.replace(b'"max_tokens": 256', b'"max_tokens": 100000')
    long = replace(question, body=body)
    # They stay much longer than they may: it is the server that has to let go.
    manner = Manner(seconds, bytes_per_second=SLOW_READER, leave_seconds=seconds + PATIENCE_SECONDS)
    with served(*ENGINE, options, "--cache-ttl", "0", *limits) as running:
        client = Client(running.host_and_port, history)
        before, memory = await idle(running), pss_bytes(running)
        load = asyncio.gather(
            *(client.ask(f"slow-{place}", long, manner) for place in range(int(readers)))
        )
        most = memory
        for _ in range(seconds):
            await asyncio.sleep(1)
            most = max(most, await asyncio.to_thread(pss_bytes, running))
        at_rest = await settled(running, before, seconds=PATIENCE_SECONDS - 2)
        assert not load.done()
        await load
    assert_no_defects(running)
    record(
        "41-slow-readers", seed=seed, whole=readers > 20, readers=int(readers),
        growth_bytes_each=round((most - memory) / readers), outcomes=history.outcomes(),
        at_rest_seconds_after_the_deadline=round(at_rest, 2),
    )  # fmt: skip
    assert {each.outcome for each in history.operations} <= {Outcome.CUT, Outcome.LEFT}
    assert all(each.expected.startswith(each.text) for each in history.operations)
    assert (most - memory) / readers < 2 * 1024**2
