"""Lets requests go on to the engines, in fair order, while these have room.

What waits is looked after by one timer, which runs only while something waits: it lets requests go
when the engines have got more room, and ends those that would not be answered in time any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from silkline.admission.cost import Ratio
from silkline.admission.pace import Comebacks, Pace
from silkline.admission.queue import Entry, FairQueue
from silkline.admission.tally import Refusal
from silkline.admission.tenant import Tenant
from silkline.admission.ticket import AIM, Phase, Ticket
from silkline.errors import CapacityError, DeadlineExceeded, Overloaded, ShuttingDown

OUTAGE_SECONDS = 10.0
"""How long requests wait for engines to be there at all."""

_LONGEST_TICK = 0.1
_SHORTEST_TICK = 0.01
_TICKS_PER_SLO = 20

_REASONS = {
    Refusal.QUEUE_FULL: "Too many requests wait already",
    Refusal.TOO_LATE: "This request would not be answered in time",
    Refusal.SHED: "This request waited, but would not be answered in time any more",
}


@dataclass(eq=False, slots=True)
class _Waiter:
    """A request in the queue; its outcome is None for a turn, or what refuses it."""

    ticket: Ticket
    outcome: asyncio.Future[CapacityError | None]


class Turns:
    """The places in the engines, who has one and who waits for one."""

    def __init__(
        self,
        capacity: Callable[[], int],
        clock: Callable[[], float],
        refused: Callable[[Ticket, Refusal], None],
        *,
        max_queue: int,
        slo: float,
    ) -> None:
        """Has no timer and needs no event loop until a request waits.

        Args:
            capacity: Requests that the engines can hold at present.
            clock: Seconds that never go back.
            refused: Is told of each request that is refused here.
            max_queue: Requests that may be prepared or wait.
            slo: Seconds in which answers should be whole; 0 for none.
        """
        self._capacity = capacity
        self._clock = clock
        self._refused = refused
        self._max_queue = max_queue
        self._tick_seconds = _LONGEST_TICK
        if slo:
            self._tick_seconds = min(_LONGEST_TICK, max(_SHORTEST_TICK, slo / _TICKS_PER_SLO))
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._pace = Pace()
        self._comebacks = Comebacks(clock)
        self._usual_work = Ratio()
        self._turn_share = Ratio(1, 1)
        self._preparing = 0
        self._running = 0
        self._queue_tokens = 0
        self._out_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def preparing(self) -> int:
        """Requests that were let in and may still come to wait."""
        return self._preparing

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def running(self) -> int:
        """Requests that have their turn."""
        return self._running

    @property
    def queue_tokens(self) -> int:
        """Tokens of those that wait, as estimated."""
        return self._queue_tokens

    def backlog_seconds(self) -> float | None:
        """Until all that waits has had its turn; None while that cannot be told."""
        return self._seconds(sum(entry.work for entry in self._queue.order()))

    def predicted_wait(self, tenant: Tenant) -> float | None:
        """Seconds that the tenant's next request would wait; None while that cannot be told."""
        share = self._turn_share.value or 1.0
        return self._seconds(self._queue.ahead(tenant.name, tenant.weight, share))

    def check(self, ticket: Ticket, wait: float | None) -> Refusal | None:
        """Why a request cannot be let in, given its predicted wait; None when it can.

        A request that finds the queue full takes the place of one that came last, of the tenant
        that has the most waiting for its weight, if that is another.
        """
        if self._excess(ticket, wait, AIM) > 0:
            return Refusal.TOO_LATE
        full = self._preparing + len(self._queue) >= self._max_queue
        return Refusal.QUEUE_FULL if full and not self._make_room(ticket) else None

    def error(self, ticket: Ticket, reason: Refusal, wait: float | None) -> CapacityError:
        """What a request is refused with."""
        if reason is Refusal.EXPIRED:
            return DeadlineExceeded(
                "The request's time was over while it waited for the engine; allow it more time, "
                "or try again when there is less to do."
            )
        tenant, rate = ticket.tenant, self._rate()
        service = 0.0
        if rate is not None:
            service = ticket.price.work / (rate * self._queue.share(tenant.name, tenant.weight))
        excess = self._excess(ticket, wait, AIM)
        seconds = self._comebacks.seconds(tenant.name, excess, service)
        return Overloaded(
            f"{_REASONS[reason]}; try again in {seconds} s.",
            retry_after=seconds,
        )

    def expect(self, ticket: Ticket) -> None:
        """Counts a request that was let in."""
        self._preparing += 1
        tenant = ticket.tenant
        self._queue.expect(tenant.name, tenant.weight, ticket.price.work)

    def spare(self, ticket: Ticket) -> None:
        """Notes that a request needs no turn."""
        self._turn_share.note(0, 1)
        self.leave(ticket, Phase.SPARED)

    def leave(self, ticket: Ticket, phase: Phase) -> None:
        """No longer counts a request that was expected."""
        if ticket.phase is Phase.PREPARED:
            self._preparing -= 1
            self._queue.no_longer_expect(ticket.tenant.name, ticket.price.work)
        ticket.phase = phase

    async def wait(self, ticket: Ticket) -> None:
        """Waits for a turn; `release` must follow when it has come.

        Raises:
            Overloaded: It will not come in time.
            DeadlineExceeded: The request's own time is over.
            ShuttingDown: `close` was called.
        """
        if self._closed:
            raise _closing()
        self.leave(ticket, Phase.WAITING)
        self._turn_share.note(1, 1)
        free = self._running < self._places() and not self._queue
        if not free and (reason := self._too_late(ticket)):
            raise self._refusal(ticket, reason)
        tenant = ticket.tenant
        waiter = _Waiter(ticket, asyncio.get_running_loop().create_future())
        entry = self._queue.push(tenant.name, tenant.weight, ticket.price.work, waiter)
        self._queue_tokens += ticket.tokens
        if free:  # nothing is gained by refusing it, even if it is late
            self._start(entry)
        else:
            self._dispatch()
        try:
            error = await waiter.outcome
        except asyncio.CancelledError:
            if ticket.phase is Phase.WAITING:
                self._remove(entry)
            elif ticket.phase is Phase.RUNNING:  # the turn came in the same moment
                self.release(ticket)
            ticket.phase = Phase.OVER
            raise
        if error is not None:
            raise error

    def release(self, ticket: Ticket) -> None:
        """Gives a turn back."""
        ticket.phase = Phase.OVER
        self._running -= 1
        self._dispatch()

    def answered(self, ticket: Ticket, work: float, seconds: float) -> None:
        """Learns from an answer.

        Args:
            ticket: Of a request that has its turn still.
            work: What it really was.
            seconds: How long it had its turn.
        """
        self._pace.note(work, seconds, self._running / max(1, self._places()))
        tenant = ticket.tenant
        self._queue.settle(tenant.name, tenant.weight, work - ticket.price.work)

    def close(self) -> None:
        """Ends all that waits; nothing is let in afterwards."""
        self._closed = True
        for entry in list(self._queue.order()):
            self._end(entry, _closing())
        self._watch()

    def _start(self, entry: Entry[_Waiter]) -> None:
        self._queue.take(entry)
        ticket = entry.item.ticket
        ticket.phase = Phase.RUNNING
        self._queue_tokens -= ticket.tokens
        self._running += 1
        self._usual_work.note(entry.work, 1)
        entry.item.outcome.set_result(None)

    def _dispatch(self) -> None:
        """Lets go who can; whose turn comes too late is refused instead."""
        while self._queue and self._running < self._places():
            entry = self._queue.peek()
            if reason := self._lost(entry.item.ticket, 0.0):
                self._shed(entry, reason)
            else:
                self._start(entry)
        if not self._running and not self._queue:
            self._queue.forget()
        self._watch()

    def _watch(self) -> None:
        """Keeps the timer going while something waits, and only then."""
        if self._queue and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
        elif not self._queue and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        self._dispatch()
        self._sweep()
        self._watch()

    def _sweep(self) -> None:
        """Refuses those who wait in vain; what they leave, those behind them gain."""
        ahead = 0.0
        for entry in list(self._queue.order()):
            if reason := self._lost(entry.item.ticket, self._seconds(ahead) or 0.0):
                self._shed(entry, reason)
            else:
                ahead += entry.work

    def _lost(self, ticket: Ticket, wait: float) -> Refusal | None:
        """Why a request that waits, and will wait so much longer, is not worth its turn."""
        now = self._clock()
        if now >= ticket.expires:
            return Refusal.EXPIRED
        out = self._out_since is not None and now - self._out_since >= OUTAGE_SECONDS
        late = now + wait > ticket.latest_start(self._service(ticket))
        return Refusal.SHED if late or out else None

    def _too_late(self, ticket: Ticket) -> Refusal | None:
        """Why a request that comes to wait need not even begin to."""
        wait = self.predicted_wait(ticket.tenant)
        if ticket.looks and self._excess(ticket, wait, AIM) > 0:
            return Refusal.TOO_LATE
        lost = self._lost(ticket, wait or 0.0)
        return Refusal.TOO_LATE if lost is Refusal.SHED else lost

    def _make_room(self, ticket: Ticket) -> bool:
        """Ends the last request of the most crowded tenant, if that is another's."""
        name = self._queue.fullest()
        entry = None if name is None else self._queue.last(name)
        if name is None or entry is None or name == ticket.tenant.name:
            return False
        own = self._queue.crowd(ticket.tenant.name) + 1 / ticket.tenant.weight
        if self._queue.crowd(name) <= own:
            return False
        self._shed(entry, Refusal.QUEUE_FULL)
        return True

    def _shed(self, entry: Entry[_Waiter], reason: Refusal) -> None:
        ticket = entry.item.ticket
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
        self._queue_tokens -= entry.item.ticket.tokens
        self._watch()

    def _places(self) -> int:
        """The engines' room; notes since when there is none."""
        places = self._capacity()
        if places > 0:
            self._out_since = None
        elif self._out_since is None:
            self._out_since = self._clock()
        return places

    def _rate(self) -> float | None:
        """Work that the engines get done in a second; None while that cannot be told."""
        places, speed = self._places(), self._pace.speed
        return places * speed if places > 0 and speed is not None else None

    def _seconds(self, ahead: float) -> float | None:
        """Until a place is free for what has so much work ahead; None while it cannot be told."""
        places, usual = self._places(), self._usual_work.value
        if places <= 0:
            return None
        free = places - self._running
        if usual is None:
            return 0.0 if free > 0 else None
        work = ahead + (1 - free) * usual  # the place that it needs must be left first
        if work <= 0:
            return 0.0
        rate = self._rate()
        return None if rate is None else work / rate

    def _service(self, ticket: Ticket) -> float:
        """Seconds that a request will have its turn; 0 while that cannot be told."""
        speed = self._pace.speed
        return 0.0 if speed is None else ticket.price.work / speed

    def _excess(self, ticket: Ticket, wait: float | None, part: float) -> float:
        """Seconds by which a request would come too late; 0 when in time, or not known."""
        if not wait:
            return 0.0
        latest = ticket.latest_start(self._service(ticket), part)
        return max(0.0, self._clock() + wait - latest)


def _closing() -> ShuttingDown:
    return ShuttingDown("The server is about to end; send the request to another one.")
