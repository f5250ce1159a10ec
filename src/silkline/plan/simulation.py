"""Simulates a fleet: Silkline's own admission and routing in virtual time, with simulated engines.

Every request that the cache does not answer passes the same `Admission` and `EnginePool` that serve
real traffic; only the engine, the clients and the clock are simulated. Answers from the cache take
a fixed time and need no slot, so they are counted by their expected number.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from array import array
from collections.abc import Callable, Sequence
from contextlib import aclosing

import msgspec

from silkline.admission.admission import Admission
from silkline.admission.cost import Size
from silkline.admission.tenant import ANYONE
from silkline.aio import virtual
from silkline.bench.percentiles import ranked
from silkline.config import AdmissionSettings
from silkline.core import Message, Request, Role, Sampling, TextPart
from silkline.errors import SilklineError
from silkline.plan.autoscaler import SYNC_SECONDS, Autoscaler, Policy, Signals
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulated import INFO, SimulatedReplica
from silkline.plan.traffic import Curve
from silkline.routing.pool import EnginePool
from silkline.routing.replica import ReplicaState

_MINUTE = 60.0
_CHARACTERS = 40
_PAUSE_SECONDS = 0.1
"""Pause of a client after a refusal, as in the load test."""


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What is simulated.

    Attributes:
        times: The times of a replica's engine.
        slo: Seconds within which an answer is good; infinite for none.
        hit_rate: Share of the requests that the cache answers, 0 to 1.
        minimum: Fewest replicas; the simulation begins with as many as the policy would want.
        maximum: Most replicas.
        start_seconds: Seconds from the decision until a new replica serves.
        losses_per_day: How often a replica is taken away without notice (spot machines), on average
            per replica and day.
        clients: Clients that each send their next request when the last one was answered; the
            curve then only says how long. 0 sends by the curve's rates.
        hit_seconds: Seconds of an answer from the cache.
        timeout: Seconds after which a client gives up.
        seed: Equal seeds give equal results.
    """

    times: ServiceTimes
    slo: float
    hit_rate: float = 0.0
    minimum: int = 2
    maximum: int = 10
    start_seconds: float = 60.0
    losses_per_day: float = 0.0
    clients: int = 0
    hit_seconds: float = 0.0
    timeout: float = 30.0
    seed: int = 1


class Minute(msgspec.Struct):
    """What happened in a minute, by the time at which requests arrived.

    Attributes:
        requests: Requests that the cache did not answer.
        good: Those answered within the SLO.
        refused: Those refused, or failed.
        replicas: Replicas that serve, at the end of the minute.
    """

    requests: int = 0
    good: int = 0
    refused: int = 0
    replicas: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a simulation.

    Attributes:
        policy: Name of the policy.
        requests: All requests, answers from the cache included.
        attainment: Share of all requests that were answered within the SLO.
        computed_attainment: The same, of those that the cache did not answer.
        refused: Requests that were refused or failed.
        mean: Mean latency of all answers, in seconds.
        p99_all: The 99th percentile of the latency of all answers, in seconds.
        p99: The same of the computed answers.
        replica_hours: Hours of replicas, from the decision to start one until it is stopped.
        peak: Maximum replicas at a time.
        lost: Replicas that were taken away.
        minutes: What happened in each minute.
    """

    policy: str
    requests: float
    attainment: float
    computed_attainment: float
    refused: int
    mean: float
    p99_all: float
    p99: float
    replica_hours: float
    peak: int
    lost: int
    minutes: list[Minute]


def simulate(
    curve: Curve,
    fleet: Fleet,
    policy: Policy | None,
    on_progress: Callable[[float, float], None] = lambda _done, _total: None,
    arrivals: Sequence[float] = (),
) -> Outcome:
    """Runs traffic against a fleet, and waits for all answers.

    Args:
        curve: All requests, those that the cache answers included.
        fleet: The fleet.
        policy: How it is scaled; None keeps `fleet.minimum` replicas.
        on_progress: Gets the simulated seconds that have passed, and their total, every minute.
        arrivals: When the requests come that the cache does not answer, ascending; empty draws
            them by the curve.

    Raises:
        ValueError: The fleet has no replica.
    """

    async def main() -> Outcome:  # the clock of all parts is that of the running loop
        return await _Simulation(curve, fleet, policy, on_progress, arrivals).run()

    return virtual.run(main())


class _Simulation:
    """One run; all its times are those of the virtual loop."""

    def __init__(
        self,
        curve: Curve,
        fleet: Fleet,
        policy: Policy | None,
        on_progress: Callable[[float, float], None],
        arrivals: Sequence[float],
    ) -> None:
        self._arrivals = arrivals
        self._curve, self._fleet, self._on_progress = curve, fleet, on_progress
        self._policy_name = policy.name if policy else f"{fleet.minimum} replicas"
        self._scaler = (
            Autoscaler(policy, fleet.minimum, fleet.maximum, fleet.start_seconds)
            if policy
            else None
        )
        count = fleet.maximum if policy else fleet.minimum
        self._replicas = [SimulatedReplica(f"r{n}", fleet.times) for n in range(count)]
        self._pool = EnginePool(self._replicas, seed=fleet.seed, clock=virtual.now)
        settings = AdmissionSettings(slo=fleet.slo if math.isfinite(fleet.slo) else 0.0)
        self._admission = Admission(settings, self._pool.capacity, clock=virtual.now)
        self._dice = random.Random(fleet.seed)  # noqa: S311 - a repeatable draw, not a secret
        self.minutes = [Minute() for _ in range(math.ceil(curve.end / _MINUTE) or 1)]
        self.latencies = array("d")
        self._arrived = self.lost = self.peak = 0
        self._paid_seconds = self._paid_at = 0.0
        self._busy_before = 0.0
        self._numbers = itertools.count()

    async def run(self) -> Outcome:
        await self._pool.start()
        for replica in self._replicas[: self._first_replicas()]:
            replica.become(ReplicaState.SERVING)
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._rescale(group))]
            if self._fleet.losses_per_day:
                helpers.append(group.create_task(self._lose(group)))
            async with asyncio.TaskGroup() as clients:
                await self._send(clients)
            self._pay()
            for helper in helpers:
                helper.cancel()
        await self._pool.aclose()
        return self._outcome()

    def _first_replicas(self) -> int:
        fleet = self._fleet
        if self._scaler is None:
            return fleet.minimum
        rate = self._curve.rate(0) * (1 - fleet.hit_rate)
        wanted = math.ceil(rate / fleet.times.answers_per_second() / self._scaler.policy.target)
        return max(fleet.minimum, min(fleet.maximum, wanted))

    async def _send(self, clients: asyncio.TaskGroup) -> None:
        """Sends requests by a Poisson process whose rate follows the curve, or by clients."""
        end, peak = self._curve.end, max(self._curve.rates)
        if self._fleet.clients:
            for _ in range(self._fleet.clients):
                clients.create_task(self._ask(end))
            return
        for at in self._arrivals:
            await asyncio.sleep(at - virtual.now())
            clients.create_task(self._client())
        if self._arrivals:
            return
        rate = peak * (1 - self._fleet.hit_rate)
        while (left := end - virtual.now()) > 0:
            wait = self._dice.expovariate(rate) if rate else left
            await asyncio.sleep(min(wait, left))
            if wait < left and self._dice.random() * peak < self._curve.rate(virtual.now()):
                clients.create_task(self._client())

    async def _ask(self, end: float) -> None:
        """A client that sends its next request when its last one was answered."""
        while virtual.now() < end:
            if not await self._client():
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _client(self) -> bool:
        """Sends a request; returns whether it was answered."""
        fleet, begun = self._fleet, virtual.now()
        minute = self.minutes[int(begun / _MINUTE)]
        minute.requests += 1
        self._arrived += 1
        tokens, limit = self._length()
        size = Size(_CHARACTERS, (None,), max_tokens=limit)
        text = f"Describe product {next(self._numbers)}."  # a crash must not blame them all
        messages = (Message(Role.USER, (TextPart(text),)),)
        request = Request("", messages, (), Sampling(max_tokens=tokens), fleet.timeout)
        try:
            with self._admission.admit(ANYONE, size, INFO, timeout_seconds=fleet.timeout) as ticket:
                await asyncio.sleep(fleet.times.prepare)
                computed = self._admission.computed(ticket, lambda: self._pool.generate(request))
                async with aclosing(computed) as deltas:
                    async for _ in deltas:
                        pass
        except SilklineError:
            minute.refused += 1
            return False
        seconds = virtual.now() - begun
        self.latencies.append(seconds)
        minute.good += seconds <= fleet.slo
        return True

    def _length(self) -> tuple[int, int]:
        """Tokens of the next answer, and the maximum that its request asks for."""
        times = self._fleet.times
        if times.lengths:
            return self._dice.choice(times.lengths), max(times.lengths)
        longest = round(2 * times.answer_tokens)
        return 1 + int(self._dice.random() * (longest - 1)), longest

    async def _rescale(self, group: asyncio.TaskGroup) -> None:
        """Notes how many replicas serve, and lets the autoscaler decide."""
        samples: list[float] = []
        beat = 0
        while True:
            await asyncio.sleep(1.0)
            beat += 1
            self._admission.serve()
            slots = max(1, len(self._serving()) * self._fleet.times.batch)
            samples.append(self._admission.demand / slots)
            if beat % SYNC_SECONDS == 0:
                if self._scaler is not None:
                    self._scale(sum(samples) / len(samples), group)
                samples.clear()
            if beat % _MINUTE == 0:
                index = min(len(self.minutes), int(beat / _MINUTE)) - 1
                self.minutes[index].replicas = len(self._serving())
                self._on_progress(virtual.now(), self._curve.end)

    def _scale(self, saturation: float, group: asyncio.TaskGroup) -> None:
        if self._scaler is None:
            return
        serving = self._serving()
        count = max(1, len(serving))
        busy = sum(replica.simulated.measure() for replica in self._replicas)
        share = (busy - self._busy_before) / SYNC_SECONDS / count
        able = self._fleet.times.answers_per_second() * SYNC_SECONDS * count
        signals = Signals(
            virtual.now(), len(serving), min(1.0, share), saturation, self._arrived / able
        )
        self._busy_before, self._arrived = busy, 0
        wanted = self._scaler.decide(signals, len(self._paid()))
        self._pay()
        while len(self._paid()) > wanted:
            self._paid()[-1].become(ReplicaState.STOPPED)
        for replica in self._replicas:
            if len(self._paid()) >= wanted:
                break
            if replica.state is ReplicaState.STOPPED:
                self._begin(replica, group)

    def _begin(self, replica: SimulatedReplica, group: asyncio.TaskGroup) -> None:
        replica.become(ReplicaState.STARTING)

        async def start() -> None:
            await asyncio.sleep(self._fleet.start_seconds)
            if replica.state is ReplicaState.STARTING:
                replica.become(ReplicaState.SERVING)
                self._admission.serve()

        group.create_task(start())

    async def _lose(self, group: asyncio.TaskGroup) -> None:
        """Takes replicas away at random; each is replaced at once by one that starts."""
        rate = self._fleet.losses_per_day / 86_400
        while True:
            await asyncio.sleep(self._dice.expovariate(rate * max(1, len(self._serving()))))
            if serving := self._serving():
                replica = self._dice.choice(serving)
                replica.become(ReplicaState.LOST)
                replica.simulated.lose()
                self.lost += 1
                self._begin(replica, group)

    def _serving(self) -> list[SimulatedReplica]:
        return [replica for replica in self._replicas if replica.ready]

    def _paid(self) -> list[SimulatedReplica]:
        return [replica for replica in self._replicas if replica.state is not ReplicaState.STOPPED]

    def _pay(self) -> None:
        now, count = virtual.now(), len(self._paid())
        self._paid_seconds += (now - self._paid_at) * count
        self._paid_at = now
        self.peak = max(self.peak, count)

    def _outcome(self) -> Outcome:
        computed = sum(minute.requests for minute in self.minutes)
        good = sum(minute.good for minute in self.minutes)
        share = good / max(1, computed)
        hit_rate = self._fleet.hit_rate
        ordered = sorted(self.latencies)
        computed_mean = sum(ordered) / max(1, len(ordered))
        late = 0.01 / (1 - hit_rate) if hit_rate < 1 else 1.0  # of the computed answers
        return Outcome(
            policy=self._policy_name,
            requests=self._curve.total(),
            attainment=hit_rate + (1 - hit_rate) * share,
            computed_attainment=share,
            refused=sum(minute.refused for minute in self.minutes),
            mean=hit_rate * self._fleet.hit_seconds + (1 - hit_rate) * computed_mean,
            p99_all=ranked(ordered, 1 - late) if late < 1 else self._fleet.hit_seconds,
            p99=ranked(ordered, 0.99),
            replica_hours=self._paid_seconds / 3600,
            peak=self.peak,
            lost=self.lost,
            minutes=self.minutes,
        )
