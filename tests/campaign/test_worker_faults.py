"""Cases 36 to 39: workers that are killed, frozen, poisoned or out of memory under load."""

import asyncio
import signal
import time
from collections.abc import Sequence
from dataclasses import replace

import psutil
import pytest

from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History, Outcome
from tests.campaign.load import together
from tests.campaign.questions import Asker, Question
from tests.campaign.sizes import sizes
from tests.campaign.standing import (
    Standing,
    assert_no_defects,
    idle,
    is_ready,
    settled,
    until,
)
from tests.serving import Served, served

WORDS = 15
SECONDS = 20
"""What a request may take."""

MANNER = Manner(deadline_seconds=SECONDS)
FAKE = ("--engine", "fake", "--cache-ttl", "0", "--request-timeout", str(SECONDS))


def options(**more: object) -> tuple[str, str]:
    told = {"answer_words": WORDS, "token_seconds": 0.02, **more}
    return "--engine-options", ",".join(f"{name}={value}" for name, value in told.items())


def several(processes: int) -> tuple[str, str]:
    return "--processes", str(processes)


def case(name: str, processes: int) -> str:
    """Names the figures; the reliability page shows those of one gateway process."""
    return name if processes == 1 else f"{name}-{processes}-processes"


async def warm(running: Served, client: Client, asker: Asker) -> Standing:
    """Lets the gateway learn how fast the engine is; gives how it stands then, at rest."""
    await asked(client, await asker.questions(20), "warm")
    return await idle(running)


async def asked(client: Client, questions: Sequence[Question], prefix: str) -> None:
    await together(client, questions, prefix=prefix, manner=lambda _: MANNER)


async def restored(running: Served, lost: int) -> float:
    """Waits until another worker than the lost one serves; gives the seconds."""

    def replaced() -> bool:
        try:
            return running.worker().pid != lost and is_ready(running.url)
        except (StopIteration, psutil.NoSuchProcess):
            return False

    return await until(replaced, "not ready again")


@pytest.mark.parametrize("kills", sizes(1, 10))
async def test_a_killed_worker_loses_nothing(seed: int, kills: float, processes: int) -> None:
    asker, history = Asker(seed, WORDS), History()
    downtimes = []
    with served(*FAKE, *several(processes), *options(), "--max-batch", "32") as running:
        client = Client(running.host_and_port, history)
        before = await warm(running, client, asker)
        for kill in range(int(kills)):
            questions = await asker.questions(100 if kills == 1 else 200)
            load = asyncio.create_task(asked(client, questions, f"kill-{kill}"))
            await asyncio.sleep(asker.chance.uniform(0.3, 0.8))
            with history.fault("kill -9 the worker"):
                worker = running.worker()
                worker.kill()
                downtimes.append(await restored(running, worker.pid))
            await load
        await settled(running, before)
    assert_no_defects(running)
    record(
        case("36-kill-worker", processes), seed=seed, whole=kills > 1, kills=int(kills),
        requests=len(history.operations), outcomes=history.outcomes(),
        slowest_return_seconds=round(max(downtimes), 2),
    )  # fmt: skip
    assert not violations(history)
    assert len(history.answered()) >= 50 * kills
    assert max(downtimes) <= 10


@pytest.mark.parametrize("bystanders", sizes(20, 200))
async def test_a_poisonous_request_is_quarantined(
    seed: int, bystanders: float, processes: int
) -> None:
    asker, history = Asker(seed, WORDS), History()
    crashing = (await asker.questions(1, streamed=0, text="<<crash>>"))[0]
    poison = replace(crashing, sound=False)
    with served(*FAKE, *several(processes), *options(crash_on_text="<<crash>>")) as running:
        client = Client(running.host_and_port, history)
        before = await warm(running, client, asker)
        questions = await asker.questions(int(bystanders), streamed=0)
        load = asyncio.create_task(asked(client, questions, "mate"))
        codes = [(await client.ask(f"poison-{n}", poison, MANNER)).code for n in range(4)]
        await load
        await until(lambda: is_ready(running.url), "not ready again")
        await settled(running, before)
        restarts = sum("serves after" in line for line in running.log) - 1
    record(
        case("37-poison", processes), seed=seed, whole=bystanders > 20, codes=codes,
        workers_lost=restarts, outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert codes[-1] == "quarantined"
    assert restarts <= 2


@pytest.mark.parametrize("requests", sizes(40, 200))
async def test_a_frozen_worker_is_replaced(seed: int, requests: float, processes: int) -> None:
    asker, history = Asker(seed, WORDS), History()
    with served(*FAKE, *several(processes), *options(), "--hang-timeout", "4") as running:
        client = Client(running.host_and_port, history)
        before = await warm(running, client, asker)
        questions = await asker.questions(int(requests))
        load = asyncio.create_task(asked(client, questions, "frozen"))
        await asyncio.sleep(0.5)
        with history.fault("SIGSTOP the worker"):
            worker = running.worker()
            worker.send_signal(signal.SIGSTOP)
            noticed = await until(lambda: not is_ready(running.url), "it stayed ready", seconds=15)
            returned = await restored(running, worker.pid)
        await load
        await settled(running, before)
    record(
        case("38-frozen-worker", processes), seed=seed, whole=requests > 40, requests=int(requests),
        not_ready_after_seconds=round(noticed, 2), ready_again_after_seconds=round(returned, 2),
        outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)


@pytest.mark.parametrize("requests", sizes(40, 200))
async def test_out_of_memory_ends_one_request_only(
    seed: int, requests: float, processes: int
) -> None:
    asker, history = Asker(seed, WORDS), History()
    greedy = await asker.questions(int(requests) // 10, text="<<oom>>")
    with served(*FAKE, *several(processes), *options(oom_on_text="<<oom>>")) as running:
        client = Client(running.host_and_port, history)
        before = await warm(running, client, asker)
        questions = await asker.questions(int(requests))
        began = time.monotonic()
        await asyncio.gather(asked(client, questions, "mate"), asked(client, greedy, "greedy"))
        took = time.monotonic() - began
        await settled(running, before)
    record(
        case("39-out-of-memory", processes), seed=seed, whole=requests > 40, seconds=round(took, 2),
        outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    for operation in history.operations:
        mate = not operation.id.startswith("greedy")
        assert (operation.outcome is Outcome.ANSWERED) == mate, operation
