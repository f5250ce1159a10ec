"""The scheduler: sends waiting requests to the engines, in fair order, while slots are free.

One timer runs while requests wait: it starts requests when the engines have more room, and sheds
requests that can no longer be answered in time.

Two things keep a tenant that floods the server from slowing down a tenant that uses less than its
share. The latter has credit for one full batch in the fair queue, so a burst of its requests goes
first. And while more than one tenant is active, the requests of tenants without credit start at
least the mean time between two answers apart: requests that start together end together, and a
request that arrives in between would wait for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from silkline.admission.cost import Price, Ratio
from silkline.admission.counts import Refusal
from silkline.admission.engine_slots import EngineSlots
from silkline.admission.pacing import Pacing
from silkline.admission.queue import Entry, FairQueue
from silkline.admission.tenant import Tenant
from silkline.admission.throughput import RetryTimes
from silkline.admission.ticket import ADMIT_FACTOR, SHED_FACTOR, Phase, Ticket
from silkline.errors import CapacityError, DeadlineExceeded, Overloaded, shutting_down

MAX_QUEUES = 2
"""Maximum requests that are prepared or wait, of all tenants, as a factor of `max_queue`."""

_MAX_OVERTAKING = 0.75
_LONGEST_TICK = 0.1
_SHORTEST_TICK = 0.01
_TICKS_PER_SLO = 20

_REASONS = {
    Refusal.QUEUE_FULL: "Too many requests wait in the queue",
    Refusal.TOO_LATE: "This request would not be answered in time",
    Refusal.SHED: "This request waited, but can no longer be answered in time",
}


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request in the queue; its outcome is None for a turn, or the error that refuses it."""

    ticket: Ticket
    outcome: asyncio.Future[CapacityError | None]


class Scheduler:
    """The slots in the engines, the requests that hold one, and the queue for them."""

    def __init__(
        self,
        slots: EngineSlots,
        clock: Callable[[], float],
        refused: Callable[[Ticket, Refusal], None],
        price: Callable[[Ticket], Price],
        *,
        max_queue: int,
        slo: float,
    ) -> None:
        """Needs no event loop, and starts no timer, until a request waits.

        Args:
            slots: The engines' slots.
            clock: Monotonic seconds.
            refused: Called with each request that is refused here.
            price: Prices a request again, when more is known than on arrival.
            max_queue: Requests that may be prepared or wait before each tenant is limited to its
                share of them.
            slo: Seconds in which answers should be complete; 0 for none.
        """
        self._slots = slots
        self._clock = clock
        self._refused = refused
        self._price = price
        self._guesses = 0
        self._max_queue = max_queue
        self._tick_seconds = _LONGEST_TICK
        if slo:
            self._tick_seconds = min(_LONGEST_TICK, max(_SHORTEST_TICK, slo / _TICKS_PER_SLO))
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._retry_times = RetryTimes(clock)
        self._turn_share = Ratio(1, 1)
        self._pacing = Pacing(clock)
        self._overtaking = Ratio()
        """The share of recent work that had credit, and so overtook waiting requests."""
        self._pause: asyncio.TimerHandle | None = None
        self._preparing = 0
        self._queue_tokens = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def preparing(self) -> int:
        """Requests that were admitted and may still need a turn."""
        return self._preparing

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def queue_tokens(self) -> int:
        """Estimated tokens of the waiting requests."""
        return self._queue_tokens

    @property
    def queued_work(self) -> float:
        """Work of the waiting requests."""
        return self._queue.work

    def predicted_wait(self, tenant: Tenant) -> float | None:
        """Seconds that the tenant's next request would wait; None while that is not known."""
        ahead = self._queue.ahead(tenant.name, tenant.weight)
        if not self._queue.has_credit(tenant.name):
            ahead /= 1.0 - min(_MAX_OVERTAKING, self._overtaking.value or 0.0)
        return self._slots.seconds(ahead)

    def check(self, ticket: Ticket, wait: float | None) -> Refusal | None:
        """Why a request must be refused, given its predicted wait; None when it can be admitted.

        From `max_queue` requests on, each tenant is limited to its share of `max_queue` by weight,
        among the tenants that have requests; so a tenant that fills the queue fills it only for
        itself. From `MAX_QUEUES` times `max_queue` on, all requests are refused.
        """
        if self._excess(ticket, wait, ADMIT_FACTOR) > 0:
            return Refusal.TOO_LATE
        total = self._preparing + len(self._queue)
        if total < self._max_queue:
            return None
        tenant = ticket.tenant
        share = max(1.0, self._max_queue * self._queue.share(tenant.name, tenant.weight))
        within = self._queue.held(tenant.name) + 1 <= share
        return None if within and total < MAX_QUEUES * self._max_queue else Refusal.QUEUE_FULL

    def make_room(self, ticket: Ticket) -> bool:
        """Drops a waiting request in favour of one that finds the queue full, if that is fair.

        It drops the last request of the most crowded tenant, if that tenant has more requests per
        weight than this request's tenant would have. Returns whether it dropped one.
        """
        name = self._queue.fullest()
        entry = None if name is None else self._queue.last(name)
        own = (self._queue.held(ticket.tenant.name) + 1) / ticket.tenant.weight
        if name is None or entry is None or self._queue.crowd(name) <= own:
            return False
        self._shed(entry, Refusal.QUEUE_FULL)
        return True

    def error(self, ticket: Ticket, reason: Refusal, wait: float | None) -> CapacityError:
        """The error for a refused request, with the seconds after which to try again."""
        if reason is Refusal.EXPIRED:
            return DeadlineExceeded(
                "The request's timeout ended while it waited for the engine; allow more time, or "
                "try again when there is less load."
            )
        tenant, rate = ticket.tenant, self._slots.rate()
        service = 0.0
        if rate is not None:
            service = ticket.price.work / (rate * self._queue.share(tenant.name, tenant.weight))
        excess = self._excess(ticket, wait, ADMIT_FACTOR)
        seconds = self._retry_times.seconds(tenant.name, excess, service)
        return Overloaded(
            f"{_REASONS[reason]}; try again in {seconds} s.",
            retry_after=seconds,
        )

    def expect(self, ticket: Ticket) -> None:
        """Counts a request that was admitted."""
        ticket.phase = Phase.PREPARED
        self._preparing += 1
        tenant = ticket.tenant
        # A guess can be a hundred times too large, and cannot be corrected in this sum later.
        probability = self._turn_share.value or 1.0
        ticket.expected = 0.0 if ticket.price.guessed else ticket.price.work * probability
        self._pacing.arrived(tenant.name)
        self._queue.expect(tenant.name, tenant.weight, ticket.expected)

    def no_turn_needed(self, ticket: Ticket) -> None:
        """Records that a request needs no turn."""
        self._turn_share.note(0, 1)
        self.leave(ticket, Phase.NO_TURN)

    def leave(self, ticket: Ticket, phase: Phase) -> None:
        """Stops counting a request that was expected to need a turn."""
        if ticket.phase is Phase.PREPARED:
            self._preparing -= 1
            self._queue.no_longer_expect(ticket.tenant.name, ticket.expected)
        ticket.phase = phase

    async def wait(self, ticket: Ticket) -> None:
        """Waits for a turn; the caller must call `release` at its end.

        Raises:
            Overloaded: The turn would come too late.
            DeadlineExceeded: The request's timeout ended.
            ShuttingDown: `close` was called.
        """
        if self._closed:
            raise shutting_down()
        self.leave(ticket, Phase.WAITING)
        self._turn_share.note(1, 1)
        if ticket.price.guessed:
            ticket.price = self._price(ticket)
        free = self._slots.free and not self._queue
        if not free and (reason := self._refuse_reason(ticket)):
            raise self._refusal(ticket, reason)
        tenant = ticket.tenant
        waiter = _Waiter(ticket, asyncio.get_running_loop().create_future())
        self._queue.credit = self._slots.batch_work
        entry = self._queue.push(tenant.name, tenant.weight, ticket.price.work, waiter)
        self._queue_tokens += ticket.tokens
        self._guesses += ticket.price.guessed
        if free:  # no other request gains from refusing it, even if it is late
            self._start(entry)
        else:
            self._dispatch()
        try:
            error = await waiter.outcome
        except asyncio.CancelledError:
            if ticket.phase is Phase.WAITING:
                self._remove(entry)
            elif ticket.phase is Phase.RUNNING:  # the turn came at the same moment
                self.release(ticket)
            ticket.phase = Phase.OVER
            raise
        if error is not None:
            raise error

    def release(self, ticket: Ticket) -> None:
        """Ends a turn, and frees its slot."""
        ticket.phase = Phase.OVER
        self._slots.leave()
        self._dispatch()

    def answered(self, ticket: Ticket, work: float, seconds: float) -> None:
        """Learns from an answer.

        Args:
            ticket: A request that still has its turn.
            work: The actual work.
            seconds: How long it has had its turn.
        """
        self._slots.answered(ticket.begun, work, seconds)
        tenant = ticket.tenant
        self._queue.settle(tenant.name, tenant.weight, work - ticket.price.work)
        if self._guesses:
            self._reprice()

    def serve(self) -> None:
        """Gives turns to waiting requests while slots are free."""
        if self._queue:
            self._dispatch()

    def close(self) -> None:
        """Ends all waiting requests; later ones fail too."""
        self._closed = True
        for entry in list(self._queue.order()):
            self._end(entry, shutting_down())
        self._update_timers()

    def _start(self, entry: Entry[_Waiter]) -> None:
        overtook = len(self._queue) > 1 and self._queue.has_credit(entry.tenant)
        self._overtaking.note(entry.work if overtook else 0.0, entry.work)
        self._queue.take(entry)
        ticket = entry.item.ticket
        ticket.phase = Phase.RUNNING
        self._uncount(ticket)
        ticket.begun = self._slots.take()
        self._pacing.started()
        entry.item.outcome.set_result(None)

    def _dispatch(self) -> None:
        """Starts waiting requests while slots are free; sheds those that would be late."""
        while self._queue and self._slots.free:
            entry = self._queue.peek()
            if reason := self._drop_reason(entry.item, 0.0):
                self._shed(entry, reason)
            elif (seconds := self._pause_before(entry)) > 0:
                self._dispatch_after(seconds)
                break
            else:
                self._start(entry)
        if not self._slots.taken and not self._queue:
            self._queue.forget()
        self._update_timers()

    def _pause_before(self, entry: Entry[_Waiter]) -> float:
        """Seconds that the next entry must wait although a slot is free; 0 for none."""
        if self._queue.has_credit(entry.tenant):
            return 0.0
        return self._pacing.pause(entry.tenant, self._slots.interval)

    def _dispatch_after(self, seconds: float) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._pause = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    def _update_timers(self) -> None:
        """Runs the timers while requests wait, and only then."""
        if not self._queue and self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._queue and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
        elif not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._dispatch()
        self._sweep()
        self._update_timers()

    def _sweep(self) -> None:
        """Drops queued requests that can no longer finish in time; the rest move up."""
        ahead = 0.0
        for entry in list(self._queue.order()):
            if reason := self._drop_reason(entry.item, self._slots.seconds(ahead) or 0.0):
                self._shed(entry, reason)
            else:
                ahead += entry.work

    def _drop_reason(self, waiter: _Waiter, wait: float) -> Refusal | None:
        """Why to drop a waiting request whose turn comes in `wait` seconds; None to keep it."""
        if waiter.outcome.cancelled():
            return Refusal.SHED
        return self._late_reason(waiter.ticket, wait)

    def _late_reason(self, ticket: Ticket, wait: float) -> Refusal | None:
        now = self._clock()
        if now >= ticket.expires:
            return Refusal.EXPIRED
        late = now + wait > ticket.latest_start(self._slots.service(ticket.price.work), SHED_FACTOR)
        return Refusal.SHED if late or self._slots.out else None

    def _refuse_reason(self, ticket: Ticket) -> Refusal | None:
        """Why to refuse a request before it waits; None when it may wait."""
        wait = self.predicted_wait(ticket.tenant)
        if ticket.cache_only_reason is not None and self._excess(ticket, wait, ADMIT_FACTOR) > 0:
            return Refusal.TOO_LATE
        reason = self._late_reason(ticket, wait or 0.0)
        return Refusal.TOO_LATE if reason is Refusal.SHED else reason

    def _shed(self, entry: Entry[_Waiter], reason: Refusal) -> None:
        ticket = entry.item.ticket
        if entry.item.outcome.cancelled():  # its client has left, but its task has not run yet
            self._remove(entry)
            ticket.phase = Phase.OVER
            return
        wait = self.predicted_wait(ticket.tenant)
        self._end(entry, self.error(ticket, reason, wait))
        self._refused(ticket, reason)

    def _refusal(self, ticket: Ticket, reason: Refusal) -> CapacityError:
        ticket.phase = Phase.OVER
        self._refused(ticket, reason)
        return self.error(ticket, reason, self.predicted_wait(ticket.tenant))

    def _end(self, entry: Entry[_Waiter], error: CapacityError) -> None:
        self._remove(entry)
        entry.item.ticket.phase = Phase.OVER
        if not entry.item.outcome.done():
            entry.item.outcome.set_result(error)

    def _remove(self, entry: Entry[_Waiter]) -> None:
        self._queue.remove(entry)
        self._uncount(entry.item.ticket)
        self._update_timers()

    def _uncount(self, ticket: Ticket) -> None:
        """Subtracts a request that no longer waits from the counts."""
        self._queue_tokens -= ticket.tokens
        self._guesses -= ticket.price.guessed

    def _reprice(self) -> None:
        """Prices waiting requests again that arrived before any answer was known."""
        for entry in list(self._queue.order()):
            ticket = entry.item.ticket
            if ticket.price.guessed:
                self._uncount(ticket)
                ticket.price = self._price(ticket)
                self._queue_tokens += ticket.tokens
                self._guesses += ticket.price.guessed
                self._queue.reprice(entry, ticket.price.work)

    def _excess(self, ticket: Ticket, wait: float | None, factor: float) -> float:
        """Seconds by which a request would be late; 0 when it is in time, or not known."""
        if not wait:
            return 0.0
        latest = ticket.latest_start(self._slots.service(ticket.price.work), factor)
        return max(0.0, self._clock() + wait - latest)
