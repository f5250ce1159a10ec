"""Case 45: one of two servers behind a gateway gets slow, breaks, or has too much to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from silkline.bench.percentiles import percentile
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.fault_proxy import Ending, FaultProxy, Toxics, fault_proxy
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.load import arrivals
from tests.campaign.questions import Asker
from tests.campaign.sizes import Param, sizes
from tests.campaign.standing import assert_no_defects, idle, metric, settled, until
from tests.serving import Served, served

WORDS = 10
RATE = 30.0
DEADLINE_SECONDS = 20
ENGINE = ("--engine", "fake", "--engine-options", f"answer_words={WORDS},token_seconds=0.01")
PLAIN = ("--cache-ttl", "0", "--request-timeout", str(DEADLINE_SECONDS))

FAULTS = {
    "slow": Toxics(latency_seconds=1.5),
    "resets": Toxics(limit_bytes=0, ending=Ending.RESET),
    "cuts answers": Toxics(limit_bytes=300, ending=Ending.CLOSE),
    "black hole": Toxics(black_hole=True),
}


@dataclass
class Shop:
    """A gateway in front of two servers, one of which is reached through a fault proxy."""

    front: Served
    sick: FaultProxy

    def ejected(self) -> bool:
        """Whether the sick one gets nothing any more."""
        name = {"replica": "sick"}
        return (
            metric(self.front.url, "silkline_replica_ejected", **name) == 1
            or metric(self.front.url, "silkline_replica_ready", **name) == 0
        )


@asynccontextmanager
async def shop(seed: int, *sick_options: str) -> AsyncIterator[Shop]:
    with ExitStack() as stack:
        far = [
            stack.enter_context(served(*ENGINE, *PLAIN, *options)) for options in ((), sick_options)
        ]
        async with fault_proxy(far[1].host_and_port[1], seed=seed) as proxy:
            remotes = (
                "--remotes", f"{far[0].url} name=well",
                "--remotes", f"http://127.0.0.1:{proxy.port} name=sick timeout=3",
            )  # fmt: skip
            front = stack.enter_context(served("--engine", "remote", *remotes, *PLAIN))
            assert_both = lambda: metric(front.url, "silkline_replica_ready") == 2  # noqa: E731
            await until(assert_both, "not both servers are there")
            yield Shop(front, proxy)


def cases() -> list[Param]:
    """One fault in the sample, all in the whole size."""
    return [
        pytest.param(*size.values, name, id=f"{size.id}-{name}", marks=size.marks)
        for name in FAULTS
        for size in sizes(2, 30)
        if name == "resets" or size.marks
    ]


@pytest.mark.parametrize(("seconds", "fault"), cases())
async def test_a_sick_server_is_left_out(seed: int, seconds: float, fault: str) -> None:
    asker, history = Asker(seed, WORDS), History()
    questions = await asker.questions(200, streamed=0.3)
    async with shop(seed) as running:
        client = Client(running.front.host_and_port, history)
        manner = Manner(deadline_seconds=DEADLINE_SECONDS)
        stop = asyncio.Event()

        async def come(place: int) -> None:
            await client.ask(f"op-{place}", questions[place % len(questions)], manner)

        await arrivals(RATE, 2, asker.chance, lambda place: come(-1 - place))
        before = await idle(running.front)
        load = asyncio.create_task(arrivals(RATE, 1e9, asker.chance, come, stop))
        await asyncio.sleep(1)
        with history.fault(fault):
            running.sick.down = FAULTS[fault]
            left_out = await until(running.ejected, "the sick server still gets requests")
            began = len(history.operations)
            await asyncio.sleep(seconds)
            meanwhile = history.operations[began:]
            running.sick.down = Toxics()
        back = await until(lambda: not running.ejected(), "it does not come back", seconds=60)
        stop.set()
        await load
        await settled(running.front, before, spare_fds=70)
    assert_no_defects(running.front)
    record(
        f"45-{fault.replace(' ', '-')}-server", seed=seed, whole=seconds > 10,
        left_out_after_seconds=round(left_out, 2), back_after_seconds=round(back, 2),
        p99_seconds_meanwhile=round(percentile([each.seconds for each in meanwhile], 0.99), 3),
        outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert left_out <= 15


@pytest.mark.parametrize("seconds", sizes(3, 30))
async def test_a_server_that_refuses_is_not_ejected(seed: int, seconds: float) -> None:
    asker, history = Asker(seed, WORDS), History()
    questions = await asker.questions(100, streamed=0)
    async with shop(seed, "--max-queue", "1", "--max-batch", "1") as running:
        client = Client(running.front.host_and_port, history)
        manner = Manner(deadline_seconds=DEADLINE_SECONDS)

        async def come(place: int) -> None:
            await client.ask(f"op-{place}", questions[place % len(questions)], manner)

        load = asyncio.create_task(arrivals(RATE, seconds, asker.chance, come))
        was_ejected = False
        while not load.done():
            was_ejected = was_ejected or await asyncio.to_thread(running.ejected)
            await asyncio.sleep(0.1)
        await load
    assert_no_defects(running.front)
    record("45-refusing-server", seed=seed, whole=seconds > 3, outcomes=history.outcomes())
    assert not violations(history)
    assert not was_ejected
