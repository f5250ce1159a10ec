"""Virtual time: hours pass in a moment, and a wait without an end is found."""

import asyncio

import pytest

from silkline.aio.virtual import now, run


def test_an_hour_passes_at_once_and_in_order() -> None:
    async def main() -> list[float]:
        seen: list[float] = []

        async def nap(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(now())

        await asyncio.gather(nap(3600), nap(1), nap(60))
        return seen

    assert run(main()) == [1, 60, 3600]


def test_waiting_for_what_never_happens_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="never happen"):
        run(main())
