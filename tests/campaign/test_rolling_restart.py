"""Case 47: gateways behind nginx that are ended at full load, one after the other."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cache.redis_server import free_port
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History
from tests.campaign.load import arrivals
from tests.campaign.nginx import Upstream, nginx
from tests.campaign.questions import Asker
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects
from tests.serving import Served, served

WORDS = 20
RATE = 15.0
"""Requests per second: what one gateway of sixteen places with answers of 0.7 s can just take."""

PAUSE_SECONDS = 2.5
"""Between two restarts: longer than nginx leaves a gateway alone that it could not reach."""

OPTIONS = (
    "--engine", "fake", "--engine-options", f"answer_words={WORDS},token_seconds=0.03",
    "--cache-ttl", "0", "--max-batch", "16", "--drain-timeout", "20", "--lame-duck", "1",
)  # fmt: skip


class Rollout:
    """Two gateways on ports of their own, each of which may be replaced."""

    def __init__(self) -> None:
        self.ports = (free_port(), free_port())
        self._stacks = [ExitStack(), ExitStack()]
        self.running: list[Served] = []
        self.ended: list[Served] = []
        for place in (0, 1):
            self.running.append(self._start(place))

    def _start(self, place: int) -> Served:
        return self._stacks[place].enter_context(served(*OPTIONS, "--port", str(self.ports[place])))

    def replace(self, place: int) -> float:
        """Ends a gateway by SIGTERM and starts another; gives the seconds that its end took."""
        gateway = self.running[place]
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        code = gateway.process.wait(timeout=40)
        took = time.monotonic() - began
        assert code == 0, "".join(gateway.log[-20:])
        self._stacks[place].close()
        self.ended.append(gateway)
        self._stacks[place] = ExitStack()
        self.running[place] = self._start(place)
        return took

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()
        self.ended += self.running


@contextmanager
def rollout() -> Iterator[Rollout]:
    made = Rollout()
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("restarts", sizes(2, 20))
async def test_rolling_restarts_behind_nginx_lose_nothing(
    seed: int, tmp_path: Path, restarts: float
) -> None:
    asker, history = Asker(seed, WORDS), History()
    drains: list[float] = []
    with rollout() as gateways:
        questions = await asker.questions(int(RATE * 15 * restarts))
        upstreams = [Upstream(gateways.ports[0], 2), Upstream(gateways.ports[1], 1)]
        with nginx(tmp_path, upstreams) as port:
            client = Client(("127.0.0.1", port), history)
            manner = Manner(deadline_seconds=30)

            async def come(place: int) -> None:
                await client.ask(f"rolling-{place}", questions[place], manner)

            load = asyncio.create_task(
                arrivals(RATE, 1e9, asker.chance, come, stop := asyncio.Event())
            )
            for number in range(int(restarts)):
                await asyncio.sleep(PAUSE_SECONDS)
                with history.fault("SIGTERM a gateway"):
                    drains.append(await asyncio.to_thread(gateways.replace, number % 2))
            await asyncio.sleep(1)
            stop.set()
            await load
    for gateway in gateways.ended:
        assert_no_defects(gateway)
    record(
        "47-rolling-restarts", seed=seed, whole=restarts > 2, restarts=int(restarts),
        requests=len(history.operations), outcomes=history.outcomes(),
        slowest_end_seconds=round(max(drains), 2),
    )  # fmt: skip
    assert not violations(history)
    # A gateway that has just begun may be asked for more than it takes; nobody is told of an end.
    assert history.outcomes().keys() <= {"answered", "refused overloaded"}
    assert len(history.answered()) >= 0.99 * len(history.operations)
