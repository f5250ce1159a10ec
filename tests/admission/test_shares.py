"""A full queue is shared by weight: whoever comes, whatever others hold."""

import asyncio
from collections import Counter
from contextlib import AbstractContextManager, suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from silkline.admission.counts import Refusal
from silkline.admission.tenant import Tenant
from silkline.admission.ticket import Ticket
from silkline.aio.virtual import run
from silkline.core import Delta
from silkline.errors import Overloaded
from tests.admission.room import INFO, SIZE, Room

MOST = 8
TENANTS = [Tenant(name, weight) for name, weight in (("a", 1.0), ("b", 3.0), ("c", 0.5))]
TENANTS += [Tenant(str(number)) for number in range(3 * MOST)]

steps = st.tuples(
    st.sampled_from(["come", "come", "come", "wait", "leave"]),
    st.sampled_from(TENANTS[:4]) | st.sampled_from(TENANTS),
    st.integers(1, 2 * MOST),
)


class Crowd:
    """Requests that are prepared, wait and leave again, and a count of what each tenant holds."""

    def __init__(self) -> None:
        self.room = Room(max_queue=MOST)
        self.prepared: list[tuple[Tenant, Ticket, AbstractContextManager[Ticket]]] = []
        self.waiting: list[tuple[Tenant, asyncio.Task[list[Delta]]]] = []

    def held(self) -> Counter[Tenant]:
        prepared = Counter(tenant for tenant, _, _ in self.prepared)
        return prepared + Counter(tenant for tenant, _ in self.waiting)

    async def come(self, tenant: Tenant) -> None:
        before = self.held()
        present = sum(one.weight for one in {*before, tenant})
        share = max(1.0, MOST * tenant.weight / present)
        opened = self.room.door.admit(tenant, SIZE, INFO, timeout_seconds=999)
        try:
            ticket = opened.__enter__()
        except Overloaded:
            entitled = before[tenant] + 1 <= share - 1e-9 and before.total() < 2 * MOST
            assert before.total() >= MOST
            assert not entitled
        else:
            self.prepared.append((tenant, ticket, opened))
            await self.put_out(tenant, before)

    async def put_out(self, by: Tenant, before: Counter[Tenant]) -> None:
        """Who lost a place for another had more for its weight than that one has now."""
        await asyncio.sleep(0)
        for tenant, task in self.waiting:
            if task.done():
                assert isinstance(task.exception(), Overloaded)
                assert before[tenant] / tenant.weight > (before[by] + 1) / by.weight
        gone = sum(task.done() for _, task in self.waiting)
        assert gone <= (before.total() >= MOST)
        self.waiting = [(tenant, task) for tenant, task in self.waiting if not task.done()]

    async def wait(self, tenant: Tenant) -> None:
        for place, (whose, ticket, opened) in enumerate(self.prepared):
            if whose is tenant:
                del self.prepared[place]
                self.waiting.append((tenant, asyncio.create_task(self.compute(ticket, opened))))
                await asyncio.sleep(0)
                return

    async def compute(self, ticket: Ticket, opened: AbstractContextManager[Ticket]) -> list[Delta]:
        try:
            return [delta async for delta in self.room.door.computed(ticket, self.room.compute)]
        finally:
            opened.__exit__(None, None, None)

    async def leave(self, tenant: Tenant) -> None:
        for place, (whose, _, opened) in enumerate(self.prepared):
            if whose is tenant:
                del self.prepared[place]
                opened.__exit__(None, None, None)
                return

    async def end(self) -> None:
        for _, _, opened in self.prepared:
            opened.__exit__(None, None, None)
        for _, task in self.waiting:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@given(script=st.lists(steps, max_size=60))
@settings(max_examples=150, deadline=None)
def test_nobody_is_kept_out_of_a_share(script: list[tuple[str, Tenant, int]]) -> None:
    async def main() -> None:
        crowd = Crowd()
        busy = asyncio.create_task(crowd.room.ask(seconds=99))
        await asyncio.sleep(0)
        for what, tenant, times in script:
            for _ in range(times):
                await getattr(crowd, what)(tenant)
                told = crowd.room.door.snapshot()
                assert told.preparing + told.waiting == crowd.held().total() <= 2 * MOST
        counts = crowd.room.door.snapshot().tenants.values()
        assert {reason for one in counts for reason in one.refused} <= {Refusal.QUEUE_FULL}
        await crowd.end()
        await busy
        crowd.room.assert_empty()

    run(main())
