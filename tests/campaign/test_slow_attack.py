"""Case 25: slowhttptest with all its connections, and clients beside it that ask in earnest."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History, Outcome
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled
from tests.serving import served

CHAT = "/v1/chat/completions"
ATTACKS = {
    "heads": ("-H", "-i", "2"),
    "bodies": ("-B", "-i", "2", "-s", "8192", "-f", "application/json"),
    "reads": ("-X", "-k", "3", "-w", "10", "-y", "20", "-n", "2", "-z", "8"),
}
TIMEOUTS = ("--head-timeout", "3", "--body-timeout", "3", "--write-timeout", "3")


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("connections", sizes(150, 1000))
async def test_slow_clients_keep_nobody_from_asking(
    seed: int, connections: float, attack: str
) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.fail("No slowhttptest. Run: apt-get update && apt-get install -y slowhttptest")
    whole = connections > 150
    seconds = 30 if whole else 5
    asker, history = Asker(seed), History()
    questions = await asker.questions(4000 if whole else 400)
    # As many connections as attackers: each who asks needs one of them to give way.
    room = ("--max-connections", str(int(connections)), *(() if whole else TIMEOUTS))
    with served("--engine", "fake", "--cache-ttl", "0", *room) as running:
        client = Client(running.host_and_port, history)
        before = await idle(running)
        path = "/openapi.json" if attack == "reads" else CHAT
        process = await asyncio.create_subprocess_exec(
            program, *ATTACKS[attack], "-c", str(int(connections)),
            "-r", "200", "-l", str(seconds), "-p", "3", "-u", f"{running.url}{path}",
            stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        began = time.monotonic()
        for place, question in enumerate(questions):
            if time.monotonic() - began > seconds:
                break
            await client.ask(f"asked-{place}", question, Manner(deadline_seconds=10))
            await asyncio.sleep(0.005)
        await process.wait()
        ended = metric(running.url, "silkline_connections_ended_total")
        await settled(running, before)
    answered = sum(each.outcome is Outcome.ANSWERED for each in history.operations)
    share = answered / len(history.operations)
    record(
        f"25-slow-{attack}", seed=seed, whole=whole, connections=int(connections),
        asked=len(history.operations), answered_share=share, connections_ended=ended,
        slowest_seconds=max(each.seconds for each in history.operations),
    )  # fmt: skip
    assert_no_defects(running)
    assert not violations(history)
    assert share >= 0.999
