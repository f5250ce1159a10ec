"""A simulated engine, clients that send to it through the real admission, and what came of it."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.tenant import Tenant
from silkline.aio.virtual import now
from silkline.core import Delta, EngineInfo, FinishReason, Stage, Timeline, Usage
from silkline.errors import CapacityError

INFO = EngineInfo("simulated", "simulated", "0", "none", context_length=8192, image_tokens=64)
CHARACTERS = 40
PROMPT_TOKENS = 10 + INFO.image_tokens


class Engine:
    """A batch in which every request gets a token a step; a step is longer the more take part."""

    def __init__(
        self, places: int = 16, *, step: float = 0.005, per_request: float = 0.001
    ) -> None:
        self.places = places
        self.slowness = 1.0
        self.running = 0
        self.most_running = 0
        self._step = step
        self._per_request = per_request

    def capacity(self) -> int:
        return self.places

    async def generate(self, tokens: int) -> AsyncGenerator[Delta, None]:
        begun = now()
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self._steps(4)
            prefilled = now()
            await self._steps(tokens)
            seconds = {Stage.PREFILL: prefilled - begun, Stage.GENERATE: now() - prefilled}
            usage = Usage(PROMPT_TOKENS, tokens, INFO.image_tokens)
            yield Delta("", FinishReason.STOP, usage, Timeline(seconds))
        finally:
            self.running -= 1

    async def _steps(self, count: int) -> None:
        for _ in range(count):
            step = self._step + self._per_request * self.running
            await asyncio.sleep(step * self.slowness)


@dataclass(slots=True)
class Outcome:
    """What became of one request: when it was first sent, when it ended, how."""

    tenant: str
    sent: float
    ended: float
    error: CapacityError | None = None
    tries: int = 1

    @property
    def seconds(self) -> float:
        return self.ended - self.sent


@dataclass(slots=True)
class Traffic:
    """Open-loop clients, and a record of what they got."""

    admission: Admission
    engine: Engine
    timeout: float = 30.0
    seed: int = 1
    preparing: dict[str, float] = field(default_factory=dict)  # seconds, by tenant
    outcomes: list[Outcome] = field(default_factory=list)
    refusal_seconds: list[float] = field(default_factory=list)

    async def send(
        self,
        tenant: Tenant,
        rate: float,
        seconds: float,
        *,
        tokens: tuple[int, int] = (8, 24),
        retries: int = 0,
        patience: float = math.inf,
    ) -> None:
        """Sends at a mean rate, Poisson, and waits for all the answers."""
        dice = random.Random(f"{self.seed}{tenant.name}{rate}")
        end = now() + seconds
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(dice.expovariate(rate))
                if now() >= end:
                    return
                count = dice.randint(*tokens)
                group.create_task(self._client(tenant, count, retries, patience))

    async def _client(self, tenant: Tenant, tokens: int, retries: int, patience: float) -> None:
        outcome = Outcome(tenant.name, now(), math.inf)
        self.outcomes.append(outcome)
        for outcome.tries in range(1, retries + 2):
            begun = now()
            try:
                async with asyncio.timeout(patience if patience < math.inf else None):
                    await self._ask(tenant, tokens)
            except CapacityError as error:
                outcome.error = error
                self.refusal_seconds.append(now() - begun)
                await asyncio.sleep(0.05)
            except TimeoutError:
                outcome.error = CapacityError("The client left.")
            else:
                outcome.error = None
                outcome.ended = now()
                return

    async def _ask(self, tenant: Tenant, tokens: int) -> None:
        size = Size(CHARACTERS, (None,), max_tokens=64)
        with self.admission.admit(tenant, size, INFO, timeout_seconds=self.timeout) as ticket:
            await asyncio.sleep(self.preparing.get(tenant.name, 0.002))  # decoding
            async for _ in self.admission.computed(ticket, lambda: self.engine.generate(tokens)):
                pass

    def answered(self, begin: float, end: float, tenant: str | None = None) -> list[Outcome]:
        """The answers to what was sent in an interval."""
        return [
            outcome
            for outcome in self.outcomes
            if begin <= outcome.sent < end
            and outcome.error is None
            and tenant in {None, outcome.tenant}
        ]

    def goodput(self, begin: float, end: float, slo: float) -> float:
        """Answers within the SLO, a second, of what ended in an interval."""
        good = sum(
            outcome.error is None and begin <= outcome.ended < end and outcome.seconds <= slo
            for outcome in self.outcomes
        )
        return good / (end - begin)


def percentile(outcomes: list[Outcome], share: float) -> float:
    """Seconds that so many of the answers took at most."""
    ranked = sorted(outcome.seconds for outcome in outcomes)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]
