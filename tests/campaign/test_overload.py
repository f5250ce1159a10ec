"""Cases 42 to 44: more is asked than can be answered.

The fake engine sets the capacity, so that little of the machine is needed to exceed it. *Goodput*
is right answers within the SLO per second; *peak* is its maximum over a step test.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from silkline.bench.percentiles import percentile
from silkline.gateway.keys import fragment, new_key
from tests.campaign.checker import violations
from tests.campaign.client import Client, Manner
from tests.campaign.figures import record
from tests.campaign.history import History, Operation, Outcome
from tests.campaign.load import arrivals
from tests.campaign.questions import Asker, Question
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, settled
from tests.serving import served

WORDS, SLOTS, TOKEN_SECONDS = 10, 8, 0.02
SLO_SECONDS = 1.0
CAPACITY = SLOTS / (TOKEN_SECONDS * 12)
"""Requests per second that the engine can answer at most, about: 33."""

ENGINE = (
    "--engine", "fake", "--engine-options", f"answer_words={WORDS},token_seconds={TOKEN_SECONDS}",
    "--max-batch", str(SLOTS), "--cache-ttl", "0", "--slo", str(SLO_SECONDS),
    "--request-timeout", "10",
)  # fmt: skip
MANNER = Manner(deadline_seconds=10)


class Load:
    """Questions to one gateway at given rates."""

    def __init__(self, client: Client, asker: Asker, history: History) -> None:
        self._client = client
        self._asker = asker
        self._history = history
        self._questions: Sequence[Question] = ()

    async def at(self, rate: float, seconds: float, name: str) -> list[Operation]:
        """Asks so many per second; gives what became of them."""
        if not self._questions:
            self._questions = await self._asker.questions(500, streamed=0.3)
        began = len(self._history.operations)

        async def come(place: int) -> None:
            question = self._questions[place % len(self._questions)]
            await self._client.ask(f"{name}-{place}", question, MANNER)

        await arrivals(rate, seconds, self._asker.chance, come)
        return self._history.operations[began:]


def good(operations: Sequence[Operation]) -> list[Operation]:
    """Those that were answered within the SLO."""
    return [
        each
        for each in operations
        if each.outcome is Outcome.ANSWERED and each.seconds <= SLO_SECONDS
    ]


def latency(operations: Sequence[Operation], outcome: Outcome, share: float) -> float:
    """A percentile, in seconds."""
    taken = [each.seconds for each in operations if each.outcome is outcome]
    return round(percentile(taken, share), 4)


async def back_to_normal(load: Load, normal: float) -> float:
    """Seconds after which answers take what they took before."""
    began = time.monotonic()
    while time.monotonic() < began + 30:
        window = await load.at(CAPACITY / 2, 1.0, f"after-{time.monotonic():.1f}")
        usual = latency(window, Outcome.ANSWERED, 0.5) <= normal * 1.3
        if usual and all(each.outcome is Outcome.ANSWERED for each in window):
            return time.monotonic() - began
    return float("inf")


@pytest.mark.parametrize("seconds", sizes(6, 300, minutes=15))
async def test_four_times_the_capacity(seed: int, seconds: float) -> None:
    asker, history = Asker(seed, WORDS), History()
    with served(*ENGINE) as running:
        load = Load(Client(running.host_and_port, history), asker, history)
        step = 2.0 if seconds < 60 else 10.0
        await load.at(CAPACITY / 2, step, "warm")
        before = await idle(running)
        normal = latency(await load.at(CAPACITY / 2, step, "normal"), Outcome.ANSWERED, 0.5)
        steps = {
            share: len(good(await load.at(CAPACITY * share, step, f"step-{share}"))) / step
            for share in (0.8, 1.0, 1.2)
        }
        peak = max(steps.values())
        with history.fault("4x overload"):
            flood = await load.at(CAPACITY * 4, seconds, "flood")
        recovered = await back_to_normal(load, normal)
        await settled(running, before)
    assert_no_defects(running)
    goodput = len(good(flood)) / seconds
    record(
        "42-overload", seed=seed, whole=seconds > 60, seconds=seconds, offered=len(flood),
        slo_seconds=SLO_SECONDS, goodput_by_share_of_capacity=steps, peak=round(peak, 1),
        goodput=round(goodput, 1), goodput_to_peak=round(goodput / peak, 3),
        answered_p99_seconds=latency(flood, Outcome.ANSWERED, 0.99),
        refused_p50_seconds=latency(flood, Outcome.REFUSED, 0.5),
        refused_p99_seconds=latency(flood, Outcome.REFUSED, 0.99),
        back_to_normal_seconds=round(recovered, 1), outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert goodput >= 0.6 * peak
    assert latency(flood, Outcome.REFUSED, 0.5) <= 0.5
    assert recovered <= 20


@pytest.mark.parametrize("seconds", sizes(5, 120, minutes=10))
async def test_impatient_clients_do_not_keep_an_overload_alive(seed: int, seconds: float) -> None:
    """Each comes back at once, up to five times, whatever it was told."""
    asker, history = Asker(seed, WORDS), History()
    with served(*ENGINE) as running:
        client = Client(running.host_and_port, history)
        load = Load(client, asker, history)
        normal = latency(await load.at(CAPACITY / 2, 4.0, "normal"), Outcome.ANSWERED, 0.5)
        before = await idle(running)
        questions = await asker.questions(500, streamed=0)

        async def impatient(place: int) -> None:
            question = questions[place % len(questions)]
            for attempt in range(6):
                manner = Manner(deadline_seconds=10, leave_seconds=asker.chance.uniform(0.8, 1.6))
                told = await client.ask(f"impatient-{place}-{attempt}", question, manner)
                if told.outcome is Outcome.ANSWERED:
                    return
                await asyncio.sleep(0.2)

        with history.fault("impatient clients"):
            came = await arrivals(CAPACITY * 1.5, seconds, asker.chance, impatient)
        recovered = await back_to_normal(load, normal)
        await settled(running, before)
    assert_no_defects(running)
    answered = sum(each.id.startswith("impatient") for each in good(history.operations))
    record(
        "43-impatient-clients", seed=seed, whole=seconds > 60, clients=came, answered=answered,
        goodput=round(answered / seconds, 1), outcomes=history.outcomes(),
        back_to_normal_seconds=round(recovered, 1),
    )  # fmt: skip
    assert not violations(history)
    assert answered / seconds >= 0.5 * CAPACITY
    assert recovered <= 20


@pytest.mark.parametrize("seconds", sizes(4, 60))
async def test_a_greedy_tenant_does_not_slow_another(
    seed: int, seconds: float, tmp_path: Path
) -> None:
    asker, history = Asker(seed, WORDS), History()
    keys = {name: new_key() for name in ("modest", "greedy", "operator")}
    file = tmp_path / "keys.toml"
    lines = [fragment(name, key, None) for name, key in keys.items()]
    file.write_text('[tenants.operator]\npaths = ["/metrics"]\n\n' + "".join(lines))
    questions = await asker.questions(300, streamed=0.3)
    with served(*ENGINE, "--keys-file", str(file)) as running:
        client = Client(running.host_and_port, history)

        async def tenant(name: str, rate: float, part: str) -> list[Operation]:
            headers = (("authorization", f"Bearer {keys[name]}"),)
            manner = Manner(deadline_seconds=10, headers=headers)

            async def come(place: int) -> None:
                question = questions[place % len(questions)]
                await client.ask(f"{name}-{part}-{place}", question, manner)

            await arrivals(rate, seconds, asker.chance, come)
            prefix = f"{name}-{part}-"
            return [each for each in history.operations if each.id.startswith(prefix)]

        await tenant("modest", CAPACITY / 4, "warm")
        before = await idle(running, keys["operator"])
        alone = await tenant("modest", CAPACITY / 4, "alone")
        modest, greedy = await asyncio.gather(
            tenant("modest", CAPACITY / 4, "beside"), tenant("greedy", CAPACITY * 2.5, "beside")
        )
        await settled(running, before, key=keys["operator"])
    assert_no_defects(running)
    p99 = {"alone": latency(alone, Outcome.ANSWERED, 0.99)}
    p99["beside"] = latency(modest, Outcome.ANSWERED, 0.99)
    record(
        "44-two-tenants", seed=seed, whole=seconds > 30, seconds=seconds, modest_p99_seconds=p99,
        modest_p99_ratio=round(p99["beside"] / p99["alone"], 2),
        modest_answered=f"{_answered(modest)} of {len(modest)}",
        greedy_answered=f"{_answered(greedy)} of {len(greedy)}", outcomes=history.outcomes(),
    )  # fmt: skip
    assert not violations(history)
    assert _answered(modest) >= 0.9 * len(modest)


def _answered(operations: Sequence[Operation]) -> int:
    return sum(each.outcome is Outcome.ANSWERED for each in operations)
