"""Case 46: requests and replies that are lost on the way, asked again under one key."""

import asyncio
from dataclasses import replace

import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy
from tests.campaign.figures import record
from tests.campaign.history import History, Outcome
from tests.campaign.questions import Asker, Question
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled
from tests.serving import served

ENGINE = ("--engine", "fake", "--engine-options", "token_seconds=0.01", "--cache-ttl", "0")
MOST_ATTEMPTS = 60


def spoil(proxy: FaultProxy, asker: Asker) -> str:
    """The next connections lose the request, the reply, or both in the middle."""
    where = asker.chance.choice(("request", "reply", "nothing"))
    limit = asker.chance.choice((0, 200, 900))
    ending = asker.chance.choice((Ending.RESET, Ending.CLOSE))
    broken = Toxics(limit_bytes=limit, ending=ending)
    proxy.up = broken if where == "request" else Toxics()
    proxy.down = broken if where == "reply" else Toxics()
    return where


@pytest.mark.parametrize("keys", sizes(15, 300))
async def test_a_key_is_one_execution(seed: int, keys: float) -> None:
    asker, history = Asker(seed), History()
    questions = await asker.questions(int(keys), streamed=0.3)
    with served(*ENGINE) as running:
        before = await idle(running)
        async with fault_proxy(running.host_and_port[1], seed=seed) as proxy:
            client = Client(("127.0.0.1", proxy.port), history)
            with history.fault("requests and replies are lost") as fault:
                for place, question in enumerate(questions):
                    await _insist(client, proxy, asker, question, place)
                fault.cut = frozenset(proxy.cut)
        once = metric(running.url, "silkline_tokens_total", kind="completion")
        direct = Client(running.host_and_port, history)
        for place, question in enumerate(questions):
            await direct.ask(f"plain-{place}", question)
        plain = metric(running.url, "silkline_tokens_total", kind="completion") - once
        await settled(running, before)
    assert_no_defects(running)
    attempts = sum(each.id.startswith("key-") for each in history.operations)
    record(
        "46-lost-on-the-way", seed=seed, whole=keys > 15, keys=int(keys), attempts=attempts,
        connections_cut=len(proxy.cut), tokens_computed_for_the_keys=once,
        tokens_of_one_execution_each=plain, outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert once == plain
    assert attempts > keys


async def _insist(
    client: Client, proxy: FaultProxy, asker: Asker, question: Question, place: int
) -> None:
    """Asks under one key until it is answered."""
    manner = Manner(headers=(("idempotency-key", f"key-{place}"),))
    for attempt in range(MOST_ATTEMPTS):
        spoil(proxy, asker)
        told = await client.ask(f"key-{place}-{attempt}", question, manner)
        if told.outcome is Outcome.ANSWERED:
            return
        if told.code == "duplicate_in_progress":
            await asyncio.sleep(0.05)
    pytest.fail(f"no answer for key-{place} in {MOST_ATTEMPTS} attempts")


async def test_another_request_under_a_used_key_and_a_duplicate_in_progress(seed: int) -> None:
    asker, history = Asker(seed), History()
    one, other = await asker.questions(2, streamed=0)
    slow = ("--engine", "fake", "--engine-options", "token_seconds=0.1", "--cache-ttl", "0")
    with served(*slow) as running:
        client = Client(running.host_and_port, history)
        manner = Manner(headers=(("idempotency-key", "the key"),))
        first = asyncio.create_task(client.ask("first", one, manner))
        await asyncio.sleep(0.4)
        duplicate = await client.ask("duplicate", one, manner)
        changed = await client.ask("changed", replace(other, sound=False), manner)
        answer = await first
        replay = await client.ask("replay", one, manner)
    assert not violations(history)
    assert (duplicate.status, duplicate.code) == (409, "duplicate_in_progress")
    assert changed.code == "idempotency_key_reused"
    assert answer.text == replay.text == one.expected
