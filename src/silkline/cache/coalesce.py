"""Request coalescing: shares one computation between equal requests at the same time.

A computation is a task of its own. It runs while at least one request reads it, and is cancelled
when the last reader leaves. So the request that started it may leave, and the others are not
affected. Its output is kept until then, bounded by the length of an answer: every reader gets all
of it from the beginning, at its own speed, and a slow reader delays no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

from silkline.cache.policy import CacheState
from silkline.core import Delta, join
from silkline.errors import DeadlineExceeded, shutting_down

JOIN_SHARE = 0.5
"""A request joins a computation that has at least this share of the request's timeout left.

A computation ends with the timeout of the request that started it; without this rule, a request
that joins late would fail with a timeout shortly after its start.
"""


Produce: TypeAlias = "Callable[[Computation], AsyncGenerator[Delta, None]]"
"""Yields an answer's deltas; must call `Computation.begin` before the first one."""


class Computation:
    """A running computation of one answer.

    Attributes:
        deadline: When its timeout ends, by the loop's clock.
        streams: Whether its output comes as it is computed, and not all at the end.
        deltas: Its output so far.
        readers: How many requests read it.
        state: Where the answer comes from; None until that is known.
        task: The task that computes.
    """

    def __init__(self, produce: Produce, deadline: float, *, streams: bool) -> None:
        """Starts the task."""
        self.deadline = deadline
        self.streams = streams
        self.deltas: list[Delta] = []
        self.readers = 0
        self.state: CacheState | None = None
        self._given_up = False
        self._traceback: TracebackType | None = None
        self._waiting: list[asyncio.Future[None]] = []
        self._ended = False
        self.task = asyncio.create_task(self._run(produce))
        self.task.add_done_callback(self._end)

    @property
    def complete(self) -> bool:
        """Whether the answer is complete."""
        return bool(self.deltas) and self.deltas[-1].finish_reason is not None

    @property
    def ended(self) -> bool:
        """Whether the task has ended, with or without an answer."""
        return self._ended

    def begin(self, state: CacheState) -> None:
        """Sets where the answer comes from, for the readers: `MISS` where it is computed."""
        self.state = state
        self.wake()

    def give_up(self) -> None:
        """Cancels it; a library that swallows the cancellation only delays the end."""
        self._given_up = True
        self.task.cancel()

    def check(self) -> None:
        """Raises the error that ended the computation, if there is one."""
        if self._given_up or self.task.cancelled():
            raise shutting_down()
        if error := self.task.exception():
            # Each reader raises it: without this, their frames would accumulate in one traceback.
            raise error.with_traceback(self._traceback)

    def wake(self) -> None:
        """Wakes all readers, so that they look at the computation again."""
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    async def change(self) -> None:
        """Waits for the next delta, the state, the end."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    async def _run(self, produce: Produce) -> None:
        async with aclosing(produce(self)) as deltas:
            async for delta in deltas:
                self.deltas.append(delta)
                self.wake()
                if self._given_up:
                    return

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._traceback = error.__traceback__
        self._ended = True
        self.wake()


class Reader:
    """Reads a computation for one request."""

    def __init__(
        self,
        computation: Computation,
        deadline: float,
        forget: Callable[[Computation], None],
        *,
        is_first: bool,
        as_one_delta: bool,
    ) -> None:
        """Starts at the first delta.

        Args:
            computation: The computation.
            deadline: Until when to read, by the loop's clock.
            forget: Called with a computation that this reader, as its last one, has cancelled.
            is_first: Whether the computation was started for this request.
            as_one_delta: Whether to get the complete answer as one delta.
        """
        self._is_first = is_first
        self._computation = computation
        self._deadline = deadline
        self._forget = forget
        self._expired = False
        self._as_one_delta = as_one_delta

    def __enter__(self) -> Self:
        """Begins to read.

        One timer wakes the reader at its deadline: a timeout for each wait would cost more than
        the waits.
        """
        self._computation.readers += 1
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._expire)
        return self

    def __exit__(self, *_: object) -> None:
        """Stops reading; the last reader that leaves before the end cancels the computation."""
        self._timer.cancel()
        computation = self._computation
        computation.readers -= 1
        if not computation.readers and not computation.complete:
            computation.give_up()
            self._forget(computation)

    async def state(self) -> CacheState:
        """Waits until it is known what the cache does for this request, and returns that.

        Raises:
            SilklineError: The computation failed before that, or the request's timeout ended.
        """
        while self._computation.state is None:
            if self._computation.ended:
                self._computation.check()
                break
            await self._change()
        if self._computation.state in {None, CacheState.MISS}:
            return CacheState.MISS if self._is_first else CacheState.COALESCED
        return self._computation.state

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """The answer from its beginning; raises the computation's error after its last delta."""
        computation = self._computation
        if self._as_one_delta:
            while not computation.ended:
                await self._change()
            computation.check()
            if computation.deltas:
                yield join(computation.deltas)
            return
        index = 0
        while True:
            if index < len(computation.deltas):
                index += 1
                yield computation.deltas[index - 1]
            elif computation.ended:
                computation.check()
                return
            else:
                await self._change()

    def _expire(self) -> None:
        self._expired = True
        self._computation.wake()

    async def _change(self) -> None:
        """Waits for a change of the computation, until the request's deadline."""
        if self._expired:
            raise DeadlineExceeded(
                "The timeout of this request ended before its answer was complete; allow more time."
            )
        await self._computation.change()


class Coalescer:
    """The running computations, by key."""

    def __init__(self) -> None:
        self._computations: dict[bytes, Computation] = {}
        self._running: set[Computation] = set()

    def __len__(self) -> int:
        """Number of running computations."""
        return len(self._running)

    def join(
        self,
        key: bytes,
        produce: Produce,
        *,
        timeout_seconds: float,
        as_one_delta: bool,
        renew: bool,
    ) -> Reader:
        """Joins the computation of `key`, or starts one; returns the context of reading it.

        Args:
            key: The key of the answer.
            produce: Computes it, if no computation can be joined.
            timeout_seconds: The request's timeout.
            as_one_delta: Whether to get the complete answer as one delta.
            renew: Whether to start a new computation in any case.
        """
        computation = None if renew else self._joinable(key, timeout_seconds, as_one_delta)
        is_first = computation is None
        if computation is None:
            deadline = asyncio.get_running_loop().time() + timeout_seconds
            computation = self._start(key, Computation(produce, deadline, streams=not as_one_delta))
        return self._reader(key, computation, timeout_seconds, as_one_delta, is_first=is_first)

    def follow(self, key: bytes, *, timeout_seconds: float, as_one_delta: bool) -> Reader | None:
        """Joins the computation of `key` if one runs; otherwise returns None."""
        computation = self._joinable(key, timeout_seconds, as_one_delta)
        if computation is None:
            return None
        return self._reader(key, computation, timeout_seconds, as_one_delta, is_first=False)

    async def aclose(self) -> None:
        """Cancels all computations."""
        running = tuple(self._running)
        for computation in running:
            computation.give_up()
        if running:
            await asyncio.wait([computation.task for computation in running])

    def _joinable(
        self,
        key: bytes,
        timeout_seconds: float,
        as_one_delta: bool,  # noqa: FBT001
    ) -> Computation | None:
        """The computation of `key` if a request with this timeout may join it.

        One that reads a stream joins no computation whose output comes all at the end.
        """
        computation = self._computations.get(key)
        if computation is None or computation.complete:
            return computation
        min_deadline = asyncio.get_running_loop().time() + JOIN_SHARE * timeout_seconds
        fits = computation.streams or as_one_delta
        return computation if fits and computation.deadline >= min_deadline else None

    def _reader(
        self,
        key: bytes,
        computation: Computation,
        timeout_seconds: float,
        as_one_delta: bool,  # noqa: FBT001
        *,
        is_first: bool,
    ) -> Reader:
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        forget = partial(self._forget, key)
        return Reader(computation, deadline, forget, is_first=is_first, as_one_delta=as_one_delta)

    def _start(self, key: bytes, computation: Computation) -> Computation:
        self._computations[key] = computation
        self._running.add(computation)

        def ended(_: asyncio.Task[None]) -> None:
            self._running.discard(computation)
            self._forget(key, computation)

        computation.task.add_done_callback(ended)
        return computation

    def _forget(self, key: bytes, computation: Computation) -> None:
        # A newer computation may have replaced it.
        if self._computations.get(key) is computation:
            del self._computations[key]
