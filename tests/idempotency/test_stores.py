"""The stores of idempotency keys keep one contract."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from silkline.config import IdempotencySettings
from silkline.errors import Overloaded
from silkline.idempotency import redis as redis_module
from silkline.idempotency.base import MAX_ANSWER_BYTES, Claim, Found, KeyStore
from silkline.idempotency.create import create_key_store
from silkline.idempotency.memory import ENTRY_BYTES, MemoryKeys
from silkline.idempotency.redis import PREFIX, RedisKeys
from silkline.idempotency.sqlite import SqliteKeys
from silkline.stores import redis as redis_link
from silkline.stores import sqlite_thread
from tests.cache.redis_server import RedisServer
from tests.engines.asking import eventually

KEY = b"k" * 32
LONG = 60.0
SHORT = 0.05


def claim(request: bytes = b"a") -> Claim:
    return Claim(request * 32, os.urandom(16))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[KeyStore]:
    made: KeyStore
    if request.param == "memory":
        made = MemoryKeys()
    elif request.param == "sqlite":
        made = SqliteKeys(tmp_path / "folder" / "keys")
    else:
        monkeypatch.setattr(redis_module, "TIMEOUT_SECONDS", 10.0)
        monkeypatch.setattr(redis_link, "COMMAND_SECONDS", 10.0)
        server = request.getfixturevalue("server")
        server.admin.flushall()
        made = RedisKeys(server.url)
    yield made
    await made.aclose()


async def test_a_free_key_is_claimed_by_one(store: KeyStore) -> None:
    claims = [claim() for _ in range(20)]
    found = await asyncio.gather(*(store.claim(KEY, each, LONG) for each in claims))
    assert found.count(None) == 1
    assert found.count(Found(b"a" * 32, None)) == 19


async def test_a_finished_key_gives_its_answer(store: KeyStore) -> None:
    first = claim()
    await store.claim(KEY, first, LONG)
    answer = os.urandom(MAX_ANSWER_BYTES)
    assert await store.finish(KEY, first, answer, LONG)
    assert await store.claim(KEY, claim(b"b"), LONG) == Found(b"a" * 32, answer)
    await store.release(KEY, first)  # too late
    assert await store.claim(KEY, claim(), LONG) == Found(b"a" * 32, answer)
    await store.forget(KEY)
    assert await store.claim(KEY, claim(), LONG) is None


async def test_a_key_in_progress_is_not_forgotten(store: KeyStore) -> None:
    """Two find a finished answer spoilt: the slower one must not undo the faster one's claim."""
    first = claim()
    await store.claim(KEY, first, LONG)
    await store.forget(KEY)
    assert await store.claim(KEY, claim(), LONG) == Found(b"a" * 32, None)
    assert await store.renew(KEY, first, LONG)


async def test_a_released_key_is_free(store: KeyStore) -> None:
    first, second = claim(), claim(b"b")
    await store.claim(KEY, first, LONG)
    await store.release(KEY, second)
    assert await store.claim(KEY, second, LONG) == Found(b"a" * 32, None)
    await store.release(KEY, first)
    assert await store.claim(KEY, second, LONG) is None


async def test_a_dead_owners_claim_ends_and_is_lost_to_it(store: KeyStore) -> None:
    first, second = claim(), claim()
    await store.claim(KEY, first, SHORT)
    await asyncio.sleep(2 * SHORT)
    assert await store.claim(KEY, second, LONG) is None
    assert not await store.renew(KEY, first, LONG)
    assert not await store.finish(KEY, first, b"late", LONG)
    assert await store.renew(KEY, second, LONG)
    assert await store.finish(KEY, second, b"mine", LONG)


async def test_a_renewed_claim_lives_on(store: KeyStore) -> None:
    first = claim()
    await store.claim(KEY, first, 0.3)
    for _ in range(4):
        await asyncio.sleep(0.1)
        assert await store.renew(KEY, first, 0.3)
    assert await store.claim(KEY, claim(), LONG) == Found(b"a" * 32, None)


async def test_a_finished_key_is_kept_for_its_time_only(store: KeyStore) -> None:
    first = claim()
    await store.claim(KEY, first, LONG)
    await store.finish(KEY, first, b"answer", SHORT)
    await asyncio.sleep(2 * SHORT)
    assert await store.claim(KEY, claim(), LONG) is None


async def finish_many(store: KeyStore, count: int, size: int) -> list[bytes]:
    keys = [number.to_bytes(32) for number in range(count)]
    for key in keys:
        each = claim()
        assert await store.claim(key, each, LONG) is None
        assert await store.finish(key, each, bytes(size), LONG)
    return keys


async def test_memory_is_bounded_and_keeps_the_latest_and_all_that_run() -> None:
    store = MemoryKeys(max_bytes=10 * (1000 + ENTRY_BYTES))
    running = claim()
    await store.claim(KEY, running, LONG)
    keys = await finish_many(store, 100, 1000)
    kept = [key for key in keys if await store.claim(key, claim(), LONG)]
    assert kept == keys[-10:]
    assert await store.renew(KEY, running, LONG)


async def test_the_file_is_bounded_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    store = SqliteKeys(path, max_bytes=1_000_000)
    running = claim()
    await store.claim(KEY, running, LONG)
    keys = await finish_many(store, 300, 10_000)
    await store.aclose()
    assert path.stat().st_size < 2_000_000
    assert path.stat().st_mode & 0o077 == 0
    again = SqliteKeys(path)
    assert await again.claim(keys[-1], claim(), LONG) == Found(b"a" * 32, bytes(10_000))
    assert await again.renew(KEY, running, LONG)
    await again.aclose()


async def test_a_file_that_cannot_be_used_refuses(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes(b"this is no database" * 100)
    store = SqliteKeys(path)
    with pytest.raises(Overloaded):
        await store.claim(KEY, claim(), LONG)
    path.unlink()
    assert await store.claim(KEY, claim(), LONG) is None
    await store.aclose()
    with pytest.raises(Overloaded):
        await store.claim(KEY, claim(), LONG)


async def test_a_file_that_fails_is_told_once_and_so_is_its_return(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="silkline.gateway")
    path = tmp_path / "keys"
    store, first = SqliteKeys(path), claim()
    await store.claim(KEY, first, LONG)

    async def full(limit: int) -> None:
        """What a full disk does: small writes may go on, large ones do not."""
        await store._file.run(
            "forget", lambda file: file.execute(f"PRAGMA max_page_count = {limit}")
        )

    await full(1)  # as many as there are
    for place in range(3):
        assert await store.claim(bytes([place]) * 32, claim(), LONG) is None
        with pytest.raises(Overloaded):
            await store.finish(KEY, first, bytes(100_000), LONG)
        await full(1)  # the file was opened anew
    assert [each.getMessage() for each in caplog.records] == ["the file of idempotency keys fails"]
    await full(1000)
    assert await store.finish(KEY, first, bytes(100_000), LONG)
    assert [each.getMessage() for each in caplog.records[1:]] == [
        "the file of idempotency keys works again"
    ]
    await store.aclose()


async def test_a_dead_owners_claim_ends_in_a_lease_though_the_clock_was_set_back(
    tmp_path: Path,
) -> None:
    now = [1e9]
    store = SqliteKeys(tmp_path / "keys", clock=lambda: now[0])
    living, dead, other = b"l" * 32, b"d" * 32, claim()
    for key in (living, dead):
        await store.claim(key, other, LONG)
    now[0] -= 3600
    for key in (living, dead):
        assert await store.claim(key, claim(), LONG) == Found(b"a" * 32, None)
    now[0] += LONG / 2
    assert await store.renew(living, other, LONG)
    now[0] += LONG / 2 + 1
    assert await store.claim(living, claim(), LONG) == Found(b"a" * 32, None)
    assert await store.claim(dead, claim(), LONG) is None
    await store.aclose()


async def comes_back(store: KeyStore, seconds: float = 10.0) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with suppress(Overloaded):
            await store.claim(b"n" * 32, claim(), LONG)
            return True
        await asyncio.sleep(0.05)
    return False


async def test_redis_that_is_frozen_refuses_in_time_and_comes_back(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    store = RedisKeys(server.url)
    try:
        server.freeze()
        began = time.monotonic()
        with pytest.raises(Overloaded):
            await store.claim(KEY, claim(), LONG)
        assert time.monotonic() - began < 5
        server.thaw()
        assert await comes_back(store)
    finally:
        await store.aclose()
        server.close()


async def test_what_others_put_into_redis_does_no_harm(server: RedisServer) -> None:
    store = RedisKeys(server.url)
    name = PREFIX + KEY.hex()
    server.admin.set(name, bytes(3_000_000))
    assert await store.claim(KEY, claim(), LONG) is None
    for junk in (b"junk", b"\1" + bytes(31), b"x" * 100):
        server.admin.set(name, junk)
        assert await store.claim(KEY, claim(), LONG) is None, junk
    server.admin.delete(name)
    server.admin.rpush(name, b"a list")
    first = claim()
    with pytest.raises(Overloaded):
        await store.claim(KEY, first, LONG)
    await store.release(KEY, first)
    assert not await store.renew(KEY, first, LONG)
    await eventually(lambda: not store._freeing)
    await store.aclose()


async def is_free(store: KeyStore, seconds: float = 10.0) -> bool:
    """Whether the key can be claimed in less time than any lease takes."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        with suppress(Overloaded):
            if await store.claim(KEY, claim(), LONG) is None:
                return True
        await asyncio.sleep(0.05)
    return False


async def given_up(store: KeyStore, how: str) -> None:
    """A claim that gets no answer: it takes too long, or its caller leaves."""
    claiming = asyncio.create_task(store.claim(KEY, claim(), LONG))
    if how == "cancelled":
        await asyncio.sleep(0.05)
        claiming.cancel()
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else Overloaded):
        await claiming


@pytest.mark.parametrize("how", ["too late", "cancelled"])
async def test_a_claim_that_the_disk_makes_too_late_frees_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    store, other = SqliteKeys(tmp_path / "keys"), SqliteKeys(tmp_path / "keys")
    for each, name in ((store, b"1" * 32), (other, b"2" * 32)):
        await each.claim(name, claim(), LONG)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_thread, "OPERATION_SECONDS", 0.2)
        holder = sqlite3.connect(tmp_path / "keys", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        await given_up(store, how)
        holder.execute("COMMIT")
        holder.close()
    await store.renew(KEY, claim(), LONG)  # after the claim
    assert await is_free(other)
    for each in (store, other):
        await each.aclose()


@pytest.mark.parametrize("how", ["too late", "cancelled"])
async def test_a_claim_that_redis_gets_too_late_frees_its_key(tmp_path: Path, how: str) -> None:
    server = RedisServer(tmp_path)
    store, other = RedisKeys(server.url), RedisKeys(server.url)
    try:
        for each, name in ((store, b"1" * 32), (other, b"2" * 32)):
            await each.claim(name, claim(), LONG)
        server.freeze()
        await given_up(store, how)
        server.thaw()
        assert await comes_back(store)
        assert await is_free(other)
    finally:
        await store.aclose()
        await other.aclose()
        server.close()


async def test_the_settings_choose(tmp_path: Path) -> None:
    kinds: dict[str, type[KeyStore]] = {
        "": MemoryKeys,
        str(tmp_path / "keys"): SqliteKeys,
        "redis://127.0.0.1:1": RedisKeys,
    }
    for where, kind in kinds.items():
        store = create_key_store(IdempotencySettings(idempotency_store=where))
        assert isinstance(store, kind)
        await store.aclose()


async def test_two_gateways_that_open_a_new_file_together_both_get_it(tmp_path: Path) -> None:
    for place in range(60):
        stores = [SqliteKeys(tmp_path / f"{place}.keys") for _ in range(2)]
        keys = [bytes([number]) * 32 for number in range(2)]
        found = await asyncio.gather(
            *(store.claim(key, claim(), LONG) for store, key in zip(stores, keys, strict=True))
        )
        assert found == [None, None]
        for store in stores:
            await store.aclose()
