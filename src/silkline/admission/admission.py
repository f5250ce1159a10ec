"""The entry to admission control: admits or refuses requests, and gives turns in fair order."""

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
from silkline.admission.ticket import Phase, Ticket, TicketGroup, Turn
from silkline.config import AdmissionSettings
from silkline.core import Delta, EngineInfo, Stage, Timeline, Usage
from silkline.errors import RateLimited


@dataclass(frozen=True, slots=True)
class AdmissionSnapshot:
    """The status of admission.

    Attributes:
        preparing: Requests that were admitted and may still need a turn.
        waiting: Requests that wait for a turn.
        running: Requests that have a turn.
        capacity: Maximum requests that may have a turn now: as many as the engines hold, or fewer
            where a full batch would miss the SLO.
        queue_tokens: Estimated tokens of the waiting requests.
        backlog_seconds: Time that the engines need for the work of the waiting requests, at their
            measured rate; None while it is not known.
        predicted_wait_seconds: Time until all waiting requests have had a turn; None while it is
            not known.
        pixel_share: The smallest share of the pixel budget that a tenant gets now.
        tenants: Admitted and refused requests of each tenant.
    """

    preparing: int
    waiting: int
    running: int
    capacity: int
    queue_tokens: int
    backlog_seconds: float | None
    predicted_wait_seconds: float | None
    pixel_share: float
    tenants: Mapping[str, TenantCounts]


class Admission:
    """Admits or refuses each request, and queues it for a turn unless the cache answers it.

    It belongs to one event loop and starts no task.
    """

    def __init__(
        self,
        settings: AdmissionSettings,
        capacity: Callable[[], int],
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the settings.

        Args:
            settings: The SLO, the queue's length and the resolution curve.
            capacity: Maximum requests that the engines can hold now, 0 while there are none; called
                often, so it must be quick.
            limits: The tenants' rate limits, to share them with other models; by default its own.
            clock: Monotonic seconds, at the rate of the event loop's clock.

        Raises:
            ConfigError: The resolution curve rises.
        """
        self._slo = settings.slo
        self._clock = clock
        self._costs = CostModel()
        self._limits = Limits(clock) if limits is None else limits
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
        group: TicketGroup | None = None,
    ) -> Iterator[Ticket]:
        """Admits a request, or refuses it before any work is done for it; never waits.

        The block must end when the request has its answer, or has failed. A refused request is
        charged nothing. A request that fails before its turn is charged no tokens, and one that
        fails during its turn is charged the estimate.

        Args:
            tenant: The tenant of the request.
            size: The size of the request.
            info: The engine's description.
            timeout_seconds: What is left of the request's timeout.
            elapsed_seconds: How long ago the request's head arrived.
            lookup: Whether the cache may have the answer and can be read without fetching images;
                such requests may read it even if they would be refused otherwise (see
                `cache_missed`).
            group: The tickets of the request, if it asks for several answers; call this for each of
                them. The first call admits or refuses the request, with the tokens of all answers.

        Raises:
            RateLimited: The tenant's rate limit is reached.
            Overloaded: The answer would be late, or the queue is full.
        """
        group = group or TicketGroup()
        if group.first is None:
            times = (timeout_seconds, elapsed_seconds)
            ticket = self._admit(group, tenant, size, info, times, lookup=lookup)
        else:
            ticket = replace(group.first, charged=0, begun=0.0)
        self._charge(ticket)
        self._scheduler.expect(ticket)
        try:
            yield ticket
        finally:
            if ticket.phase is Phase.PREPARED:
                self._scheduler.leave(ticket, Phase.OVER)
                self._give_back(ticket)

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncIterator[Turn]:
        """Waits until the engines have room for a request, and holds a slot during the block.

        The slot does not depend on the `admit` block: it may be held longer, for other requests
        that wait for the same answer.

        Raises:
            Overloaded: The turn would come too late.
            DeadlineExceeded: The request's timeout ended before its turn came.
            ShuttingDown: `close` was called.
        """
        if ticket.phase is Phase.NO_TURN:  # an answer from elsewhere was expected, but failed
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
        """Computes an answer in a turn; the wait for the turn is added to its queue stage.

        Args:
            ticket: The request's ticket.
            compute: Computes the answer.
            held: A context that stays open until the answer is computed or cancelled, such as the
                images' memory.

        Raises:
            Overloaded, DeadlineExceeded, ShuttingDown: The same as `turn`.
            SilklineError: The errors of `compute`.
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
                    # Keep reading to the end: lower layers treat a closed stream as a failure.
                    last = delta.timed(delta.timeline.plus(waited))
            if last is not None:  # the slot is free before the last delta is read
                yield last

    def measured(self, ticket: Ticket, size: Size) -> None:
        """Prices a request again by its actual images, before it waits for its turn."""
        ticket.size = size
        ticket.price = self._costs.price(size, ticket.info, ticket.pixel_budget)

    def cache_missed(self, ticket: Ticket) -> None:
        """Reports that the cache has no answer.

        A request that was admitted only to read the cache is now refused, unless it found the queue
        full and the queue has room meanwhile, or can drop another request. It drops one only now,
        so no request is dropped for an answer that is in the cache.

        Raises:
            Overloaded: The request is refused.
        """
        reason, ticket.cache_only_reason = ticket.cache_only_reason, None
        if reason is None:
            return
        self._scheduler.leave(ticket, Phase.OVER)
        wait = self._scheduler.predicted_wait(ticket.tenant)
        if reason is Refusal.QUEUE_FULL and (ticket.group.queued or self._has_room(ticket, wait)):
            ticket.group.queued = True
            self._scheduler.expect(ticket)
            return
        self._refused_later(ticket, reason)
        raise self._scheduler.error(ticket, reason, wait)

    @property
    def demand(self) -> int:
        """Requests that have a turn or wait for one."""
        return self._slots.taken + self._scheduler.waiting

    def serve(self) -> None:
        """Gives turns to waiting requests; must be called when the capacity may have grown."""
        self._scheduler.serve()

    def close(self) -> None:
        """Ends all waiting requests, and all later ones, with `ShuttingDown`."""
        self._scheduler.close()

    def snapshot(self) -> AdmissionSnapshot:
        """A snapshot of the status; never waits."""
        return AdmissionSnapshot(
            preparing=self._scheduler.preparing,
            waiting=self._scheduler.waiting,
            running=self._slots.taken,
            capacity=self._slots.count(),
            queue_tokens=self._scheduler.queue_tokens,
            backlog_seconds=self._slots.work_seconds(self._scheduler.queued_work),
            predicted_wait_seconds=self._slots.seconds(self._scheduler.queued_work),
            pixel_share=self._resolution.lowest(),
            tenants=self._counts.counts(),
        )

    def _admit(
        self,
        group: TicketGroup,
        tenant: Tenant,
        size: Size,
        info: EngineInfo,
        times: tuple[float, float],
        *,
        lookup: bool,
    ) -> Ticket:
        """Checks the rate limits and the queue, then charges the tenant one request."""
        wait = self._scheduler.predicted_wait(tenant)
        ticket = self._ticket(group, tenant, size, info, times, wait)
        if breach := self._limits.check(tenant, ticket.tokens * group.answers):
            self._count_refused(ticket, breach.reason)
            raise _rate_limited(breach)
        if reason := self._scheduler.check(ticket, wait):
            if lookup and self._lookup_credit.allow():
                ticket.cache_only_reason = reason
            elif reason is not Refusal.QUEUE_FULL or not self._scheduler.make_room(ticket):
                self._count_refused(ticket, reason)
                raise self._scheduler.error(ticket, reason, wait)
        self._limits.charge(tenant, requests=1, tokens=0)
        self._counts.admitted(tenant.name)
        group.first = ticket
        return ticket

    def _ticket(
        self,
        group: TicketGroup,
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
            group=group,
            tenant=tenant,
            size=size,
            info=info,
            price=self._costs.price(size, info, budget),
            pixel_budget=budget,
            pixel_share=share,
            started=started,
            due=min(expires, started + self._slo) if self._slo else expires,
            expires=expires,
            cache_only_reason=None,
            _no_turn=self._no_turn,
        )

    def _has_room(self, ticket: Ticket, wait: float | None) -> bool:
        """Whether a request that found the queue full on arrival may be queued now."""
        reason = self._scheduler.check(ticket, wait)
        return reason is None or (
            reason is Refusal.QUEUE_FULL and self._scheduler.make_room(ticket)
        )

    def _no_turn(self, ticket: Ticket) -> None:
        if ticket.phase is not Phase.PREPARED:
            return
        self._scheduler.no_turn_needed(ticket)
        self._lookup_credit.found(allowed=ticket.cache_only_reason is not None)
        self._give_back(ticket)

    def _answered(self, ticket: Ticket, begun: float, usage: Usage, timeline: Timeline) -> None:
        if ticket.size.max_tokens:  # tokenizing a prompt tells nothing about the engine's speed
            work = self._costs.learn(ticket.size, usage, timeline)
            self._scheduler.answered(ticket, work, self._clock() - begun)
        real = usage.total_tokens - usage.cached_tokens
        self._limits.charge(ticket.tenant, requests=0, tokens=real - ticket.charged)
        ticket.charged = real

    def _charge(self, ticket: Ticket) -> None:
        self._limits.charge(ticket.tenant, requests=0, tokens=ticket.tokens)
        ticket.charged = ticket.tokens

    def _give_back(self, ticket: Ticket) -> None:
        """Refunds the tokens of a request for which the engines did no work."""
        self._limits.charge(ticket.tenant, requests=0, tokens=-ticket.charged)
        ticket.charged = 0

    def _refused_later(self, ticket: Ticket, reason: Refusal) -> None:
        if not ticket.group.refused:
            self._limits.charge(ticket.tenant, requests=-1, tokens=0)
        self._give_back(ticket)
        self._count_refused(ticket, reason)

    def _count_refused(self, ticket: Ticket, reason: Refusal) -> None:
        if not ticket.group.refused:
            self._counts.refused(ticket.tenant.name, reason)
        ticket.group.refused = True


def _rate_limited(breach: Breach) -> RateLimited:
    unit = "requests" if breach.reason is Refusal.REQUESTS else "tokens"
    seconds = max(1, math.ceil(breach.seconds))
    return RateLimited(
        f"The limit of {breach.limit} {unit} per minute is reached; try again in {seconds} s.",
        retry_after=seconds,
    )
