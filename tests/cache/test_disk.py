"""The disk tier over a real file: bounded, shared, and a miss when the disk fails."""

import asyncio
import hashlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from silkline.aio.breaker import FAILURES_TO_OPEN, RETRY_SECONDS
from silkline.cache import sqlite_file
from silkline.cache.create import create_cache
from silkline.cache.disk import DiskTier
from silkline.cache.sqlite_file import APPLICATION, JOURNAL_PAGES, PAGE_BYTES, SqliteFile
from silkline.config import CacheSettings
from silkline.errors import ConfigError
from tests.cache.asking import HOUR, KEY, MIB, files_of
from tests.cache.conftest import PATIENCE_SECONDS

WRITER = """
import asyncio, hashlib, sys
from pathlib import Path
from silkline.cache.disk import DiskTier

async def write() -> None:
    tier = DiskTier(Path(sys.argv[1]), 1_000_000)
    number = 0
    while True:
        key = (number % 200).to_bytes(32)
        await tier.put(key, hashlib.sha256(key).digest() * 100, 3600.0)
        number += 1
        if number == 20:
            print("writing", flush=True)

asyncio.run(write())
"""


@asynccontextmanager
async def opened(path: Path, capacity: int = 64 * MIB) -> AsyncGenerator[DiskTier, None]:
    tier = DiskTier(path, capacity)
    try:
        yield tier
    finally:
        await tier.aclose()


@contextmanager
def full_disk(most_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond that, as if there were no more room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_and_crash(path: Path) -> None:
    """Another process writes for a while and is killed."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    time.sleep(random.random() * 0.1)
    writer.send_signal(signal.SIGKILL)
    writer.wait(timeout=10)
    writer.stdout.close()


def bytes_of(path: Path) -> int:
    return path.stat().st_size


def other_file(path: Path, kind: str) -> None:
    """Something that somebody else needs."""
    if kind == "text":
        path.write_text("notes")
        return
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("CREATE TABLE entries (something TEXT)")
        other.execute("PRAGMA user_version = 77")


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)


async def recovered(tier: DiskTier) -> None:
    """Puts and gets until both work again."""
    limit = time.monotonic() + 5 * RETRY_SECONDS
    while True:
        await tier.put(KEY, b"again", HOUR)
        if await tier.get(KEY) == b"again" and not tier.health().degraded:
            return
        assert time.monotonic() < limit, "it did not recover"
        await asyncio.sleep(0.05)


async def test_values_survive_a_restart(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        await tier.put(bytes(32), b"brief", 0.05)
    await asyncio.sleep(0.1)
    async with opened(disk_path) as tier:
        assert await tier.get(KEY) == b"value"
        assert await tier.get(bytes(32)) is None


async def test_nobody_else_may_read_the_file(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert {path.stat().st_mode & 0o777 for path in files_of(disk_path.parent)} == {0o600}
        assert disk_path.parent.stat().st_mode & 0o777 == 0o700


async def test_the_oldest_leave_when_it_is_full(disk_path: Path) -> None:
    capacity = 400_000
    async with opened(disk_path, capacity) as tier:
        for number in range(1500):
            await tier.put(number.to_bytes(32), os.urandom(1000), HOUR)
            assert (tier.health().bytes or 0) <= capacity
        kept = [n for n in range(1500) if await tier.get(n.to_bytes(32))]
        assert kept == list(range(kept[0], 1500))
        assert 200 < len(kept) < 400
        assert tier.health().evictions == 1500 - len(kept)
        size = sum(path.stat().st_size for path in files_of(disk_path.parent))
        assert size < capacity + 3 * JOURNAL_PAGES * PAGE_BYTES


async def test_a_smaller_capacity_is_kept_to(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        for number in range(300):
            await tier.put(number.to_bytes(32), bytes(4000), HOUR)
    assert bytes_of(disk_path) > MIB
    async with opened(disk_path, 200_000) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) == b"value"
    assert bytes_of(disk_path) < 200_000


async def test_expired_values_leave_the_file(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        for number in range(100):
            await tier.put(number.to_bytes(32), bytes(4000), 0.01)
        await asyncio.sleep(0.05)
        for number in range(100, 130):
            await tier.put(number.to_bytes(32), b"value", HOUR)
        assert (tier.health().bytes or 0) < 100_000


async def test_two_processes_may_share_it(disk_path: Path) -> None:
    async with opened(disk_path) as one, opened(disk_path) as other:
        await asyncio.gather(
            *(
                tier.put((place * 1000 + n).to_bytes(32), b"%d" % n, HOUR)
                for place, tier in enumerate((one, other))
                for n in range(50)
            )
        )
        for place, tier in enumerate((other, one)):
            for n in range(50):
                assert await tier.get((place * 1000 + n).to_bytes(32)) == b"%d" % n
        assert one.health().errors == other.health().errors == 0


def test_a_new_file_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def use(number: int) -> None:
        for place in range(100):
            file = SqliteFile(tmp_path / f"{place}.sqlite", MIB, time.time)
            together.wait(PATIENCE_SECONDS)
            file.put(bytes([number] * 32), b"value", HOUR)
            file.close()

    with ThreadPoolExecutor(together.parties) as threads:
        for _ in threads.map(use, range(together.parties)):
            pass


@pytest.mark.parametrize("rounds", [3, pytest.param(30, marks=pytest.mark.full)])
async def test_a_crash_tears_nothing(disk_path: Path, rounds: int) -> None:
    found = 0
    for _ in range(rounds):
        write_and_crash(disk_path)
        async with opened(disk_path, 1_000_000) as tier:
            for number in range(200):
                key = number.to_bytes(32)
                value = await tier.get(key)
                assert value in {None, hashlib.sha256(key).digest() * 100}
                found += value is not None
            assert tier.health().errors == 0
    assert found >= 20 * rounds


OURS = b"SQLite format 3\0" + bytes(52) + APPLICATION.to_bytes(4)


@pytest.mark.parametrize("garbage", [bytes(9000), OURS + bytes(9000), OURS + b"x" * 9000])
async def test_a_broken_file_is_made_anew(disk_path: Path, garbage: bytes) -> None:
    write(disk_path, garbage)
    async with opened(disk_path) as tier:
        assert await tier.get(KEY) is None
        await recovered(tier)


@pytest.mark.parametrize("theirs", ["text", "database"])
async def test_what_is_no_cache_is_left_alone(disk_path: Path, theirs: str) -> None:
    disk_path.parent.mkdir()
    other_file(disk_path, theirs)
    digest = digest_of(disk_path)
    async with opened(disk_path, capacity=1000) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) is None
        assert tier.health().errors > 0
    assert digest_of(disk_path) == digest
    assert files_of(disk_path.parent) == [disk_path]
    with pytest.raises(ConfigError, match="exists and is not a Silkline cache"):
        create_cache(CacheSettings(cache_disk=str(disk_path)))


async def test_a_file_that_breaks_in_use_is_made_anew(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        for number in range(200):
            await tier.put(number.to_bytes(32), bytes([number]) * 1000, HOUR)
        await tier.aclose()
    with disk_path.open("r+b") as file:
        file.seek(PAGE_BYTES)
        file.write(random.Random(1).randbytes(20 * PAGE_BYTES))
    async with opened(disk_path) as tier:
        for number in range(200):
            assert await tier.get(number.to_bytes(32)) in {None, bytes([number]) * 1000}
        assert tier.health().errors > 0
        await recovered(tier)


async def test_a_file_of_another_format_is_made_anew(disk_path: Path) -> None:
    disk_path.parent.mkdir()
    with closing(sqlite3.connect(disk_path)) as other, other:
        other.execute("CREATE TABLE entries (something TEXT)")
        other.execute("PRAGMA user_version = 77")
        other.execute(f"PRAGMA application_id = {APPLICATION}")
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) == b"value"


async def test_values_of_a_wrong_type_or_length_are_none(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        with closing(sqlite3.connect(disk_path)) as other, other:
            other.execute("UPDATE entries SET value = 'text'")
        assert await tier.get(KEY) is None
        with closing(sqlite3.connect(disk_path)) as other, other:
            other.execute("UPDATE entries SET value = zeroblob(2000000)")
        assert await tier.get(KEY) is None
        assert not tier.health().degraded


async def test_a_full_disk_still_gives_what_it_has(disk_path: Path) -> None:
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        with full_disk(300_000):
            for number in range(40):
                await tier.put(number.to_bytes(32), bytes([number]) * 50_000, HOUR)
            assert tier.health().degraded
            assert tier.health().errors >= FAILURES_TO_OPEN
            assert await tier.get(KEY) == b"value"
            for number in range(40):
                value = await tier.get(number.to_bytes(32))
                assert value in {None, bytes([number]) * 50_000}
        await recovered(tier)


async def test_a_folder_that_cannot_be_made_costs_little(disk_path: Path) -> None:
    disk_path.parent.write_text("a file stands where the folder should be")
    async with opened(disk_path) as tier:
        started = time.monotonic()
        for number in range(200):
            await tier.put(number.to_bytes(32), b"value", HOUR)
            assert await tier.get(number.to_bytes(32)) is None
        assert time.monotonic() - started < 10
        assert tier.health().degraded
        assert tier.health().errors <= 2 * (FAILURES_TO_OPEN + 3)
        disk_path.parent.unlink()
        await recovered(tier)


async def test_another_process_that_holds_the_file_costs_only_writes(
    disk_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", 0.1)
    async with opened(disk_path) as tier:
        await tier.put(KEY, b"value", HOUR)
        holder = sqlite3.connect(disk_path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            await tier.put(bytes(32), b"value", HOUR)
            assert tier.health().degraded
            assert await tier.get(KEY) == b"value"
            assert await tier.get(bytes(32)) is None
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        await recovered(tier)
