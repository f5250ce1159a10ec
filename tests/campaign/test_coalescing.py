"""Case 35: one question that many ask at once costs one fetch, one decoding and one computation."""

import asyncio

import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.questions import Asker, picture, pointed
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled
from tests.ingress.network import gives, raw_origin
from tests.serving import served

ENGINE = ("--engine", "fake", "--engine-options", "answer_words=10,token_seconds=0.05")


@pytest.mark.parametrize("clients", sizes(100, 500))
async def test_identical_misses_are_one_computation(seed: int, clients: float) -> None:
    asker, history = Asker(seed, 10), History()
    question = (await asker.questions(1, streamed=0))[0]
    async with raw_origin(gives(picture(question), "Content-Type: image/png")) as origin:
        asked = pointed(question, f"http://127.0.0.1:{origin.port}/p.png")
        allowed = ("--private-hosts", f"127.0.0.1:{origin.port}", "--max-queue", "1000")
        with served(*ENGINE, *allowed) as running:
            client = Client(running.host_and_port, history)
            before = await idle(running)
            # The leader goes away in the middle: a follower takes over.
            leader = asyncio.create_task(client.ask("leader", asked, Manner(leave_seconds=0.4)))
            await asyncio.sleep(0.15)
            await asyncio.gather(
                *(client.ask(f"follower-{place}", asked) for place in range(int(clients)))
            )
            await leader
            await settled(running, before)
            decodings = metric(running.url, "silkline_intake_decodes_total")
    assert_no_defects(running)
    states = [each.state for each in history.answered()]
    record(
        "35-coalescing", seed=seed, whole=clients > 100, clients=int(clients),
        fetches=len(origin.hits), decodings=decodings,
        states={state: states.count(state) for state in set(states)}, outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert len(history.answered()) == clients
    assert states.count("miss") <= 1
    assert len(origin.hits) == 1
    assert decodings == 1
