"""The price of a request is corrected when the sizes of its images are known."""

from __future__ import annotations

import asyncio

from silkline.admission.cost import Size
from silkline.admission.tenant import ANYONE
from silkline.aio.virtual import run
from tests.admission.room import BY_PIXELS, Room


def test_a_document_is_priced_by_its_pages() -> None:
    async def main() -> None:
        room = Room()
        expected = Size(0, (None,), max_tokens=10)
        with room.door.admit(ANYONE, expected, BY_PIXELS, timeout_seconds=99) as ticket:
            assert ticket.tokens == 1010
            room.door.measured(ticket, Size(0, (50_000, 50_000, 900_000), max_tokens=10))
            assert ticket.tokens == 500 + 500 + 1000 + 10
            deltas = room.door.computed(ticket, room.compute)
            waiting = asyncio.ensure_future(anext(deltas))
            await asyncio.sleep(0)
            assert (await waiting).text == "yes"
            await deltas.aclose()

    run(main())
