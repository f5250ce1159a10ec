"""The decoder pool: what happens to its children, and what never happens to anybody else."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psutil
import pytest
import uvloop

from silkline.config import DecodeSettings
from silkline.core import PixelBudget
from silkline.errors import (
    EnvironmentFault,
    ImageFormat,
    ImageTooLarge,
    ImageUndecodable,
    Overloaded,
    ShuttingDown,
)
from silkline.ingress import decoder_link
from silkline.ingress.decode import Decoded, DecoderPool
from silkline.ingress.decoder_wire import frame
from tests import processes
from tests.ingress.pictures import drawing, encode, photograph, png

LIMIT = 50_000_000
BUDGET = PixelBudget(max_pixels=1024 * 1024)
LITTLE_MEMORY = 256 * 1024 * 1024
HANG = 20.0  # seconds after which a test counts as hung
RESPAWN = 5.0  # seconds; 1 in the plan, more on a busy machine


@asynccontextmanager
async def running(processes: int = 1, seconds: float = 10.0) -> AsyncIterator[DecoderPool]:
    settings = DecodeSettings(
        decode_processes=processes,
        decode_timeout=seconds,
        decode_memory_bytes=LITTLE_MEMORY,
    )
    async with asyncio.timeout(4 * HANG), DecoderPool(settings) as pool:
        yield pool


def children() -> list[psutil.Process]:
    return [one for one in processes.children(" -c ") if alive(one)]


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def coloured(value: int) -> bytes:
    """A picture that can be told from others by its first pixel."""
    return encode(drawing().point(lambda _: value), "PNG")


async def decodes(pool: DecoderPool, value: int = 7) -> bool:
    decoded = await pool.decode(coloured(value), LIMIT, BUDGET)
    return decoded.image.pixels == bytes([value]) * (60 * 40 * 3)


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """Some hundred milliseconds of work."""
    return encode(photograph(3000, 2000), "PNG", compress_level=1)


async def test_many_pictures_at_once_keep_apart() -> None:
    async with running(processes=2) as pool:
        pids = [child.pid for child in children()]
        assert len(pids) == 2
        assert all(await asyncio.gather(*(decodes(pool, value % 256) for value in range(300))))
        assert [child.pid for child in children()] == pids
    assert children() == []


async def test_a_crowd_of_one_tenant_does_not_hold_up_another() -> None:
    async with running() as pool:
        ends: list[bytes] = []

        async def one(scope: bytes) -> None:
            await pool.decode(coloured(7), LIMIT, BUDGET, scope)
            ends.append(scope)

        crowd = [asyncio.create_task(one(b"crowd")) for _ in range(40)]
        await asyncio.sleep(0)
        await one(b"other")
        await asyncio.gather(*crowd)
        assert ends.index(b"other") <= 2


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT])
async def test_a_child_that_dies_costs_its_picture_only(
    heavy: bytes, number: signal.Signals
) -> None:
    async with running(processes=2) as pool:
        victim, bystander = children()
        victim.suspend()
        jobs = [asyncio.create_task(pool.decode(heavy, LIMIT, BUDGET)) for _ in range(2)]
        await asyncio.sleep(0.05)
        victim.send_signal(number)
        with suppress(psutil.NoSuchProcess):  # it may be gone, and reaped, by now
            victim.resume()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert sorted(type(one).__name__ for one in outcomes) == ["Decoded", "ImageUndecodable"]
        assert await decodes(pool)
        await until_replaced(victim)
        assert bystander.is_running()
        assert all(await asyncio.gather(*(decodes(pool, value) for value in range(20))))


async def until_replaced(gone: psutil.Process, count: int = 2) -> None:
    """Waits until there are as many children again, without the one that is gone."""
    begun = time.monotonic()
    while gone.pid in (pids := [one.pid for one in children()]) or len(pids) < count:
        assert time.monotonic() - begun < RESPAWN
        await asyncio.sleep(0.02)


async def until_reaped(gone: psutil.Process) -> None:
    begun = time.monotonic()
    while gone.is_running():
        assert time.monotonic() - begun < HANG
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)  # so that the event loop has heard of it


async def test_a_child_that_dies_idle_costs_nothing() -> None:
    async with running() as pool:
        for _ in range(3):
            (child,) = children()
            child.kill()
            await until_reaped(child)
            assert await decodes(pool)


async def test_a_child_that_hangs_is_replaced() -> None:
    async with running(seconds=0.5) as pool:
        (child,) = children()
        child.suspend()
        with pytest.raises(ImageUndecodable, match=r"longer than 0\.5 s"):
            await decodes(pool)
        assert await decodes(pool)
        assert child.pid not in [one.pid for one in children()]


async def test_a_picture_that_takes_too_much_memory_is_refused() -> None:
    async with running() as pool:
        (child,) = children()
        large = png(7000, 7000, 8, 0, bytes(7001 * 7000))
        with pytest.raises(ImageUndecodable):
            await pool.decode(large, LIMIT, BUDGET)
        assert await decodes(pool)
        assert child.is_running()
        assert child.memory_info().rss < LITTLE_MEMORY


async def test_the_address_space_is_limited() -> None:
    async with running():
        (child,) = children()
        assert child.rlimit(psutil.RLIMIT_AS) == (LITTLE_MEMORY, LITTLE_MEMORY)
        for limit in (psutil.RLIMIT_NOFILE, psutil.RLIMIT_CORE, psutil.RLIMIT_NPROC):
            assert child.rlimit(limit) == (0, 0)
        assert child.num_fds() <= 4
        assert child.environ() == {}
        assert child.cwd() == "/"
        assert child.memory_info().rss < 64 * 1024 * 1024


async def test_signals_that_drain_the_gateway_do_not_end_its_children() -> None:
    async with running() as pool:
        (child,) = children()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            child.send_signal(number)
        assert await decodes(pool)
        assert child.is_running()


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.001, 0.01, 0.05, 0.2])
async def test_a_cancelled_job_gives_its_reply_to_nobody(heavy: bytes, moment: float) -> None:
    async with running() as pool:
        for value in range(1, 6):
            job = asyncio.create_task(pool.decode(heavy, LIMIT, BUDGET))
            await asyncio.sleep(moment)
            job.cancel()
            outcome = (await asyncio.gather(job, return_exceptions=True))[0]
            assert isinstance(outcome, (asyncio.CancelledError, Decoded))
            assert await decodes(pool, value)


async def test_random_cancellations_mix_nothing_up() -> None:
    async with running(processes=2) as pool:

        async def one(value: int) -> None:
            job = asyncio.create_task(decodes(pool, value))
            await asyncio.sleep(value % 7 / 500)
            if value % 3 == 0:
                job.cancel()
            try:
                assert await job
            except asyncio.CancelledError:
                assert value % 3 == 0

        await asyncio.gather(*(one(value) for value in range(250)))
        assert len(children()) == 2


async def test_who_waits_when_the_pool_closes_is_told(heavy: bytes) -> None:
    async with running() as pool:
        jobs = [asyncio.create_task(pool.decode(heavy, LIMIT, BUDGET)) for _ in range(5)]
        await asyncio.sleep(0.02)
        await pool.aclose()
        outcomes = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(one) for one in outcomes] == [ShuttingDown] * 5
        with pytest.raises(ShuttingDown):
            await decodes(pool)
        await pool.aclose()
    assert children() == []


async def test_children_end_when_the_gateway_dies() -> None:
    script = (
        "import asyncio\n"
        "from silkline.config import DecodeSettings\n"
        "from silkline.ingress.decode import Decoded, DecoderPool\n"
        "async def main():\n"
        "    await DecoderPool(DecodeSettings(decode_processes=2)).start()\n"
        "    print('started', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    orphans = psutil.Process(process.pid).children()
    assert len(orphans) == 2
    process.kill()
    await process.wait()
    _, left = await asyncio.to_thread(psutil.wait_procs, orphans, timeout=HANG)
    assert left == []


async def test_what_is_no_picture_never_reaches_a_child() -> None:
    async with running() as pool:
        (child,) = children()
        child.suspend()  # it would not answer
        for data in (b"", b"<svg/>", b"%PDF-1.7", b"8BPS" + bytes(50)):
            with pytest.raises(ImageFormat):
                await pool.decode(data, LIMIT, BUDGET)
            with pytest.raises(ImageFormat):
                await pool.size(data, LIMIT)


async def test_sizes_come_from_the_header_alone(heavy: bytes) -> None:
    async with running() as pool:
        assert await pool.size(encode(drawing(), "PNG"), LIMIT) == (60, 40)
        assert await pool.size(heavy[:100], LIMIT) == (3000, 2000)
        with pytest.raises(ImageTooLarge):
            await pool.size(heavy, 3000 * 2000 - 1)
        with pytest.raises(ImageUndecodable):
            await pool.size(heavy[:20], LIMIT)


async def test_exactly_the_limit_of_pixels_passes() -> None:
    async with running() as pool:
        data = encode(drawing(), "PNG")
        assert (await pool.decode(data, 60 * 40, BUDGET)).identity.original_pixels == 60 * 40
        with pytest.raises(ImageTooLarge):
            await pool.decode(data, 60 * 40 - 1, BUDGET)


READY = frame(b'{"type":"ready","confined":true}', 0)
PICTURE = (
    b'{"type":"picture","width":2,"height":2,"original_pixels":4,"digest":"%s",'
    b'"perceptual":"0123456789abcdef","brightness":7,"resize_seconds":0,"unchanged":false}'
)
DIGEST = b"0" * 64
LIES = {
    "nothing": b"",
    "an empty frame": frame(b"", 0),
    "endless lengths": b"\xff" * 64,
    "an empty header": frame(b"{}", 0),
    "no JSON": frame(b"garbage", 0),
    "another answer": READY,
    "an unknown field": frame(b'{"type":"refused","why":"undecodable","text":"x"}', 0),
    "an unknown reason": frame(b'{"type":"refused","why":"because"}', 0),
    "more than announced": frame(b'{"type":"refused","why":"undecodable"}', 0) + b"more",
    "a size over the limit": frame(b'{"type":"size","width":1,"height":99999}', 0),
    "no size": frame(b'{"type":"size","width":0,"height":1}', 0),
    "too few pixels": frame(PICTURE % DIGEST, 11) + bytes(11),
    "too many pixels": frame(PICTURE % DIGEST, 13) + bytes(13),
    "far too many pixels": frame(PICTURE % DIGEST, 2**31) + bytes(100),
    "a bad digest": frame(PICTURE % b"../../etc", 12) + bytes(12),
    "a bad perceptual digest": frame(
        (PICTURE % DIGEST).replace(b"0123456789abcdef", b"-123456789abcdef"), 12
    ) + bytes(12),
    "a bad brightness": frame(
        (PICTURE % DIGEST).replace(b'"brightness":7', b'"brightness":256'), 12
    ) + bytes(12),
    "a huge original": frame(
        (PICTURE % DIGEST).replace(b'"original_pixels":4', b'"original_pixels":99999'), 12
    ) + bytes(12),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
async def test_a_child_that_lies_is_not_believed(name: str) -> None:
    """A child that says it is ready, then answers with a lie, as one taken over might."""
    script = (
        "import os, sys\n"
        f"os.write(1, {READY!r})\n"
        "while os.read(0, 1 << 20):\n"
        f"    os.write(1, {LIES[name]!r}) or sys.exit()\n"
    )
    async with impersonated(script) as pool:
        (liar,) = children()
        with pytest.raises(ImageUndecodable, match="crashed its decoder"):
            await pool.decode(coloured(1), 100 * 100, BUDGET)
        assert await decodes(pool)
        assert liar.pid not in [child.pid for child in children()]


async def test_a_child_that_speaks_unasked_is_replaced() -> None:
    script = f"import os, time\nos.write(1, {READY!r})\ntime.sleep(.1)\nos.write(1, b'x')\n"
    async with impersonated(script + "time.sleep(60)\n") as pool:
        (babbler,) = children()
        await until_reaped(babbler)
        assert await decodes(pool)


async def test_it_is_told_where_children_are_not_confined(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "silkline.decoder")
    async with impersonated(f"import os, time\nos.write(1, {READY!r})\ntime.sleep(60)\n"):
        assert not caplog.messages
    free = frame(b'{"type":"ready","confined":false}', 0)
    async with impersonated(f"import os, time\nos.write(1, {free!r})\ntime.sleep(60)\n"):
        assert "no system call filter" in caplog.text


@asynccontextmanager
async def impersonated(script: str) -> AsyncIterator[DecoderPool]:
    """A pool the first child of which runs a script of ours instead."""
    pool = DecoderPool(DecodeSettings(decode_processes=1, decode_timeout=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_link, "_BOOTSTRAP", script)
        await pool.start()
    try:
        yield pool
    finally:
        await pool.aclose()


async def test_children_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as pool:
        monkeypatch.setattr(decoder_link, "_BOOTSTRAP", "raise SystemExit(1)")
        with pytest.raises(EnvironmentFault, match="silkline doctor"):
            await DecoderPool(DecodeSettings()).start()
        for child in children():
            child.kill()
            await until_reaped(child)
        with pytest.raises(Overloaded):
            await decodes(pool)
        monkeypatch.undo()
        assert await decodes(pool)
    assert children() == []


def test_it_works_on_uvloop() -> None:
    async def main() -> None:
        async with running(processes=2, seconds=0.5) as pool:
            assert all(await asyncio.gather(*(decodes(pool, value) for value in range(50))))
            children()[0].suspend()
            outcomes = await asyncio.gather(
                *(decodes(pool, value) for value in range(4)), return_exceptions=True
            )
            assert [one for one in outcomes if one is not True and one is not None]
            children()[0].kill()
            await asyncio.sleep(0.2)
            assert await decodes(pool)

    uvloop.run(main())
    assert children() == []
