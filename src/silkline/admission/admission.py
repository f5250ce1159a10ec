"""The room's door: who is let in, who goes on to the engines when, and who is refused why."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass, replace
from functools import partial

from silkline.admission.cost import CostModel, Size
from silkline.admission.counts import AdmissionCounts, Refusal, TenantCounts
from silkline.admission.engine_slots import EngineSlots
from silkline.admission.limits import Breach, Limits
from silkline.admission.resolution import Resolution, reduced
from silkline.admission.scheduler import Scheduler
from silkline.admission.tenant import Tenant
from silkline.admission.throughput import LookupCredit
from silkline.admission.ticket import Phase, Ticket, Turn
from silkline.config import AdmissionSettings
from silkline.core import Delta, EngineInfo, Stage, Timeline, Usage
from silkline.errors import RateLimited


@dataclass(frozen=True, slots=True)
class AdmissionSnapshot:
    """How admission gets on.

    Attributes:
        preparing: Requests that were let in and may still come to wait.
        waiting: Requests that wait for a turn.
        running: Requests that have one.
        capacity: Requests that may have a turn at present: as many as the engines hold, or fewer
            where a full batch would miss the SLO.
        queue_tokens: Tokens of those that wait, as estimated.
        predicted_wait_seconds: Until all that waits has had its turn; None while it is not known.
        pixel_share: The smallest share of the pixel budget that a tenant gets at present.
        tenants: What became of each tenant's requests.
    """

    preparing: int
    waiting: int
    running: int
    capacity: int
    queue_tokens: int
    predicted_wait_seconds: float | None
    pixel_share: float
    tenants: Mapping[str, TenantCounts]


class Admission:
    """Decides about each request twice: at the door, and, unless the cache answers it, in a queue.

    It belongs to one event loop and starts no task.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        capacity: Callable[[], int],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the settings.

        Args:
            settings: How to decide.
            capacity: Requests that the engines can hold at present, 0 while there are none; called
                often, so it must be quick.
            clock: Seconds that never go back, at the pace of the event loop's own.

        Raises:
            ConfigError: The curve of the pixel budget does not fall.
        """
        self._slo = settings.slo
        self._clock = clock
        self._costs = CostModel()
        self._limits = Limits(clock)
        self._counts = AdmissionCounts()
        self._lookup_credit = LookupCredit()
        self._resolution = Resolution(settings.resolution_curve, clock)
        self._slots = EngineSlots(capacity, clock, slo=settings.slo)
        self._scheduler = Scheduler(
            self._slots,
            clock,
            self._refused_later,
            lambda ticket: self._costs.price(ticket.size, ticket.info, ticket.pixel_budget),
            max_queue=settings.max_queue,
            slo=settings.slo,
        )

    @contextmanager
    def admit(
        self,
        tenant: Tenant,
        size: Size,
        info: EngineInfo,
        *,
        timeout_seconds: float,
        elapsed_seconds: float = 0.0,
        lookup: bool = False,
    ) -> Iterator[Ticket]:
        """Lets a request in, or refuses it before anything is done for it; never waits.

        The block is left when the request has its answer, or has failed. A refused request is
        charged nothing, one that fails before its turn no tokens; one that fails in its turn has
        cost what was estimated.

        Args:
            tenant: Who asks.
            size: What is asked.
            info: Of the engine that is asked.
            timeout_seconds: What is left of the request's own time.
            elapsed_seconds: How long ago its head came.
            lookup: Whether the cache may have its answer and can be asked without fetching; such
                requests may ask it even when they would be refused otherwise (`cache_missed`).

        Raises:
            RateLimited: The tenant's own limit is reached.
            Overloaded: It would not be answered in time, or too many wait.
        """
        ticket = self._let_in(tenant, size, info, (timeout_seconds, elapsed_seconds), lookup=lookup)
        try:
            yield ticket
        finally:
            if ticket.phase is Phase.PREPARED:
                self._scheduler.leave(ticket, Phase.OVER)
                self._give_back(ticket)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[Turn]:
        """Waits until the engines have room for a request, and holds its place while inside.

        The place does not depend on the `admit` block: it may be held longer, for others who wait
        for the same answer.

        Raises:
            Overloaded: The turn would not come in time.
            DeadlineExceeded: The request's own time was over before it came.
            ShuttingDown: `close` was called.
        """
        if ticket.phase is Phase.SPARED:  # what should have answered it did not
            self._charge(ticket)
        arrived = self._clock()
        try:
            await self._scheduler.wait(ticket)
        except BaseException:
            self._give_back(ticket)
            raise
        begun = self._clock()
        try:
            yield Turn(begun - arrived, partial(self._answered, ticket, begun))
        finally:
            self._scheduler.release(ticket)

    async def computed(
        self,
        ticket: Ticket,
        compute: Callable[[], AsyncGenerator[Delta, None]],
        held: AbstractContextManager[object] | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """Computes an answer in a turn; the time until the turn is added to its queue stage.

        Args:
            ticket: The request's.
            compute: Computes the answer.
            held: Stays open until the answer is computed or given up, such as what the images hold.

        Raises:
            Overloaded, DeadlineExceeded, ShuttingDown: As `turn` does.
            SilklineError: What `compute` raises.
        """
        last: Delta | None = None
        with held or nullcontext():
            async with self.turn(ticket) as turn, aclosing(compute()) as deltas:
                async for delta in deltas:
                    if delta.usage is None or delta.timeline is None:
                        yield delta
                        continue
                    turn.answered(delta.usage, delta.timeline)
                    waited = Timeline({Stage.QUEUE: turn.waited})
                    # Read on to the end: for those below, a stream that is left did not end well.
                    last = replace(delta, timeline=delta.timeline.plus(waited))
            if last is not None:  # the slot is free before anyone reads this
                yield last

    def cache_missed(self, ticket: Ticket) -> None:
        """Tells that the cache has no answer.

        Who was let in only to ask it goes no further, unless what was full has room meanwhile, or
        makes some: nobody is put out for an answer that is kept.

        Raises:
            Overloaded: It goes no further.
        """
        reason, ticket.looks = ticket.looks, None
        if reason is None:
            return
        self._scheduler.leave(ticket, Phase.OVER)
        wait = self._scheduler.predicted_wait(ticket.tenant)
        if reason is Refusal.QUEUE_FULL and self._has_room(ticket, wait):
            self._scheduler.expect(ticket)
            return
        self._refused_later(ticket, reason)
        raise self._scheduler.error(ticket, reason, wait)

    def close(self) -> None:
        """Ends what waits with `ShuttingDown`; further turns end so as well."""
        self._scheduler.close()

    def snapshot(self) -> AdmissionSnapshot:
        """How it gets on; never waits."""
        return AdmissionSnapshot(
            preparing=self._scheduler.preparing,
            waiting=self._scheduler.waiting,
            running=self._slots.taken,
            capacity=self._slots.count(),
            queue_tokens=self._scheduler.queue_tokens,
            predicted_wait_seconds=self._scheduler.backlog_seconds(),
            pixel_share=self._resolution.lowest(),
            tenants=self._counts.counts(),
        )

    def _let_in(
        self,
        tenant: Tenant,
        size: Size,
        info: EngineInfo,
        times: tuple[float, float],
        *,
        lookup: bool,
    ) -> Ticket:
        """The door: its two checks, then the charge."""
        wait = self._scheduler.predicted_wait(tenant)
        ticket = self._ticket(tenant, size, info, times, wait)
        if breach := self._limits.check(tenant, ticket.tokens):
            self._counts.refused(tenant.name, breach.reason)
            raise _rate_limited(breach)
        if reason := self._scheduler.check(ticket, wait):
            if lookup and self._lookup_credit.allow():
                ticket.looks = reason
            elif reason is not Refusal.QUEUE_FULL or not self._scheduler.make_room(ticket):
                self._counts.refused(tenant.name, reason)
                raise self._scheduler.error(ticket, reason, wait)
        self._limits.charge(tenant, requests=1, tokens=0)
        self._charge(ticket)
        self._scheduler.expect(ticket)
        self._counts.admitted(tenant.name)
        return ticket

    def _ticket(
        self,
        tenant: Tenant,
        size: Size,
        info: EngineInfo,
        times: tuple[float, float],
        wait: float | None,
    ) -> Ticket:
        now = self._clock()
        timeout_seconds, elapsed_seconds = times
        share = 1.0
        if info.pixels_per_token is not None and self._slo:
            share = self._resolution.share(tenant.name, (wait or 0.0) / self._slo)
        budget = reduced(info.pixel_budget, share)
        started, expires = now - elapsed_seconds, now + timeout_seconds
        return Ticket(
            tenant=tenant,
            size=size,
            info=info,
            price=self._costs.price(size, info, budget),
            pixel_budget=budget,
            pixel_share=share,
            started=started,
            due=min(expires, started + self._slo) if self._slo else expires,
            expires=expires,
            looks=None,
            _spare=self._spare,
        )

    def _has_room(self, ticket: Ticket, wait: float | None) -> bool:
        """Whether a request may still come in that found the queue full at the door."""
        reason = self._scheduler.check(ticket, wait)
        return reason is None or (
            reason is Refusal.QUEUE_FULL and self._scheduler.make_room(ticket)
        )

    def _spare(self, ticket: Ticket) -> None:
        if ticket.phase is not Phase.PREPARED:
            return
        self._scheduler.spare(ticket)
        self._lookup_credit.found(allowed=ticket.looks is not None)
        self._give_back(ticket)

    def _answered(self, ticket: Ticket, begun: float, usage: Usage, timeline: Timeline) -> None:
        work = self._costs.learn(ticket.size, usage, timeline)
        self._scheduler.answered(ticket, work, self._clock() - begun)
        real = usage.total_tokens - usage.cached_tokens
        self._limits.charge(ticket.tenant, requests=0, tokens=real - ticket.charged)
        ticket.charged = real

    def _charge(self, ticket: Ticket) -> None:
        self._limits.charge(ticket.tenant, requests=0, tokens=ticket.tokens)
        ticket.charged = ticket.tokens

    def _give_back(self, ticket: Ticket) -> None:
        """Gives back the tokens of a request that the engines did nothing for."""
        self._limits.charge(ticket.tenant, requests=0, tokens=-ticket.charged)
        ticket.charged = 0

    def _refused_later(self, ticket: Ticket, reason: Refusal) -> None:
        self._limits.charge(ticket.tenant, requests=-1, tokens=0)
        self._give_back(ticket)
        self._counts.refused(ticket.tenant.name, reason)


def _rate_limited(breach: Breach) -> RateLimited:
    what = "requests" if breach.reason is Refusal.REQUESTS else "tokens"
    seconds = max(1, math.ceil(breach.seconds))
    return RateLimited(
        f"The limit of {breach.limit} {what} a minute is reached; try again in {seconds} s.",
        retry_after=seconds,
    )
