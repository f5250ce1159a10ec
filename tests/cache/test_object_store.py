"""The object tier over a real S3 server, a folder, and a server whose answers are spoilt."""

import asyncio
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from silkline.aio.breaker import FAILURES_TO_OPEN
from silkline.cache.entry import MAX_ENTRY_BYTES, Entry, encode_entry
from silkline.cache.memory import MemoryTier
from silkline.cache.object_store import READ_SECONDS, ObjectTier
from silkline.cache.policy import CacheState
from silkline.cache.tiered import TieredCache
from silkline.errors import ConfigError
from tests.cache import s3_proxy
from tests.cache.asking import HOUR, KEY, MIB, answer, ask, cached, files_of
from tests.cache.redis_server import free_port
from tests.cache.s3_proxy import S3Proxy, Spoil
from tests.cache.s3_server import KEYS, SECRET_KEY, opened, s3_url, until_found
from tests.campaign.fault_proxy import Toxics, fault_proxy
from tests.engines.asking import eventually

FAULTS = {
    "500": s3_proxy.fails,
    "403": s3_proxy.refuses,
    "stall": s3_proxy.stalls,
    "drip": s3_proxy.drips,
    "break off": s3_proxy.breaks_off,
    "reset": s3_proxy.resets,
}
CHANGES = {
    "shorter": lambda body: body[: len(body) // 2],
    "empty": lambda _: b"",
    "one letter": lambda body: body.replace(b" ", b"_", 1),
    "zeros": lambda body: bytes(len(body)),
    "text": lambda _: b"<html>Please log in</html>",
    "longer": lambda body: body + bytes(100),
    "huge": lambda body: body + bytes(2 * MAX_ENTRY_BYTES),
    "later": lambda body: b"\x7f\xef" + body[2:],
}  # fmt: skip


@pytest.fixture
async def proxy(s3: int) -> AsyncIterator[S3Proxy]:
    async with s3_proxy.s3_proxy(s3) as made:
        yield made


def entry(text: str = "a red mug") -> bytes:
    value = encode_entry(KEY, Entry(answer(text), time.time()))
    assert value is not None
    return value


async def test_values_lie_below_the_prefix(s3: int, tmp_path: Path) -> None:
    url = s3_url(s3, f"{tmp_path.name}/deep")
    async with opened(url) as tier, opened(s3_url(s3, tmp_path.name)) as other:
        await until_found(tier, KEY, b"value")
        assert await other.get(KEY) is None


async def test_two_gateways_share_it(s3: int, tmp_path: Path) -> None:
    url = s3_url(s3, tmp_path.name)
    async with opened(url) as one, opened(url) as other:
        await until_found(one, KEY, b"value")
        await until_found(other, KEY, b"value")
        await one.aclose()
        assert await other.get(KEY) == b"value"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_costs_little_and_passes(
    proxy: S3Proxy, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(s3_url(proxy.port, tmp_path.name)) as tier:
        await until_found(tier, KEY, b"value")
        proxy.spoil = FAULTS[fault]
        began, before = time.monotonic(), proxy.requests
        for _ in range(250):
            assert await tier.get(KEY) is None
            await asyncio.sleep(0.01)
        waited = time.monotonic() - began - 250 * 0.01
        assert waited < FAILURES_TO_OPEN * READ_SECONDS + 1.5, "trying again took time, too"
        assert proxy.requests - before <= FAILURES_TO_OPEN + 5, "it was asked all the same"
        assert tier.health().degraded
        assert tier.health().errors >= FAILURES_TO_OPEN
        proxy.spoil = None
        await until_found(tier, KEY, b"again")
    assert SECRET_KEY not in caplog.text


@pytest.mark.parametrize("fault", ["500", "403", "reset"])
async def test_a_value_that_cannot_be_written_is_dropped(
    proxy: S3Proxy, fault: str, tmp_path: Path
) -> None:
    async with opened(s3_url(proxy.port, tmp_path.name)) as tier:
        await until_found(tier, KEY, b"value")
        proxy.spoil = FAULTS[fault]
        for number in range(10):
            await tier.put(number.to_bytes(32), b"other", HOUR)
        assert tier.health().degraded
        proxy.spoil = None
        assert await tier.get(KEY) == b"value", "reading does not fail with writing"
        await until_found(tier, KEY, b"again")


@pytest.mark.usefixtures("patient_objects")
@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_object_is_never_served(
    proxy: S3Proxy, change: str, tmp_path: Path
) -> None:
    async with opened(s3_url(proxy.port, tmp_path.name)) as tier:
        await until_found(tier, KEY, entry())
        cache = TieredCache(MemoryTier(0), [tier], ttl_seconds=HOUR)
        assert await cache.get_lower(KEY) == answer("a red mug")
        proxy.spoil = s3_proxy.changes(CHANGES[change])
        found = await cache.get_lower(KEY)
        # When the object is said to expire is not checked; the value within has its age.
        assert found == (answer("a red mug") if change == "later" else None)
        proxy.spoil = None
        assert await cache.get_lower(KEY) == answer("a red mug")


@pytest.mark.usefixtures("patient_objects")
@pytest.mark.parametrize("rounds", [60, pytest.param(3000, marks=pytest.mark.full)])
async def test_no_damage_whatever_is_served(proxy: S3Proxy, rounds: int, tmp_path: Path) -> None:
    dice = random.Random(34)

    def damage(body: bytes) -> bytes:
        if dice.random() < 0.5:
            return body[: dice.randrange(len(body))]
        place = dice.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 1 << dice.randrange(8)]) + body[place + 1 :]

    async with opened(s3_url(proxy.port, tmp_path.name)) as tier:
        await until_found(tier, KEY, entry())
        cache = TieredCache(MemoryTier(0), [tier], ttl_seconds=HOUR)
        proxy.spoil = s3_proxy.changes(damage)
        served = 0
        for _ in range(rounds):
            found = await cache.get_lower(KEY)
            assert found is None or found == answer("a red mug")
            served += found is not None
        assert served < rounds / 10, "only damage to the first eight bytes may pass"
        assert not tier.health().degraded


@pytest.mark.parametrize("fault", [*FAULTS, *CHANGES])
async def test_what_the_store_does_not_give_is_computed(
    proxy: S3Proxy, fault: str, tmp_path: Path
) -> None:
    """The whole way: a gateway that starts anew and finds its store broken."""
    url = s3_url(proxy.port, tmp_path.name)
    async with cached(ObjectTier(url)) as (cache, engine):
        _, first = await ask(cache, engine)
        await eventually(lambda: cache.snapshot().tiers[1].waiting == 0)
    spoil: Spoil = FAULTS[fault] if fault in FAULTS else s3_proxy.changes(CHANGES[fault])
    proxy.spoil = spoil
    async with cached(ObjectTier(url)) as (cache, engine):
        state, again = await ask(cache, engine)
        assert again.text == first.text
        if fault != "later":
            assert (state, engine.asked) == (CacheState.MISS, 1)
        assert (await ask(cache, engine))[0] is CacheState.HIT


async def test_an_answer_survives_the_process(s3: int, tmp_path: Path) -> None:
    url = s3_url(s3, tmp_path.name)
    async with cached(ObjectTier(url)) as (cache, engine):
        _, first = await ask(cache, engine)
    for _ in range(20):
        async with cached(ObjectTier(url)) as (cache, engine):
            state, again = await ask(cache, engine)
            if state is CacheState.HIT:
                assert again.text == first.text
                assert engine.asked == 0
                return
    pytest.fail("the answer was not kept")


@pytest.mark.usefixtures("patient_objects")
async def test_writes_do_not_wait_for_one_another(s3: int, tmp_path: Path) -> None:
    """A round trip to a far store takes long; an engine that is busy makes many answers."""
    async with fault_proxy(s3) as far:
        far.up = far.down = Toxics(latency_seconds=0.05)
        tier = ObjectTier(s3_url(far.port, tmp_path.name))
        cache = TieredCache(MemoryTier(MIB), [tier], ttl_seconds=HOUR)
        started = time.monotonic()
        for number in range(160):
            await cache.put(number.to_bytes(32), answer(str(number)))
        await eventually(lambda: cache.snapshot()[1].waiting == 0, seconds=60)
        assert time.monotonic() - started < 160 * 0.1 / 2
        await cache.aclose()


@pytest.mark.usefixtures("patient_objects")
async def test_cancelled_readers_harm_nobody(s3: int, tmp_path: Path) -> None:
    dice = random.Random(1)
    async with opened(s3_url(s3, tmp_path.name)) as tier:
        for number in range(50):
            await tier.put(number.to_bytes(32), b"%d" % number, HOUR)

        async def read(number: int) -> None:
            assert await tier.get(number.to_bytes(32)) == b"%d" % number

        for _ in range(20):
            readers = [asyncio.create_task(read(number)) for number in range(50)]
            await asyncio.sleep(dice.random() * 0.01)
            for reader in dice.sample(readers, 40):
                reader.cancel()
            ends = await asyncio.gather(*readers, return_exceptions=True)
            assert {type(end) for end in ends} <= {type(None), asyncio.CancelledError}
        assert tier.health().errors == 0


async def test_a_server_that_was_never_there_is_a_miss(s3: int) -> None:
    async with opened(s3_url(free_port())) as tier:
        started = time.monotonic()
        for _ in range(100):
            assert await tier.get(KEY) is None
            await tier.put(KEY, b"value", HOUR)
        assert time.monotonic() - started < 10
        assert tier.health().degraded


async def test_wrong_keys_are_a_miss(s3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    async with opened(s3_url(s3)) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) is None
        assert tier.health().degraded


def folder_url(folder: Path) -> str:
    return folder.as_uri()


async def test_a_folder_is_read_by_its_owner_only(tmp_path: Path) -> None:
    async with opened(folder_url(tmp_path / "a folder")) as tier:
        await tier.put(KEY, b"value", HOUR)
        assert await tier.get(KEY) == b"value"
    assert (tmp_path / "a folder" / "answers").stat().st_mode & 0o777 == 0o700
    assert len(files_of(tmp_path / "a folder")) == 1


async def test_expired_files_leave_the_folder_and_others_stay(tmp_path: Path) -> None:
    foreign = tmp_path / "answers" / "notes.txt"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    long_ago = time.time() - 2 * HOUR
    async with opened(folder_url(tmp_path)) as tier:
        for number in range(20):
            await tier.put(bytes([number] * 32), b"old", HOUR)
        files = files_of(tmp_path)
        assert len(files) == 21
        for file in files:
            os.utime(file, (long_ago, long_ago))
    async with opened(folder_url(tmp_path)) as tier:
        await tier.put(KEY, b"new", HOUR)
        await eventually(lambda: len(files_of(tmp_path)) == 2)
        assert foreign.read_text() == "mine"
        assert await tier.get(KEY) == b"new"


async def test_a_folder_that_cannot_be_made_costs_little(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file stands where the folder should be")
    async with opened(folder_url(tmp_path / "taken" / "folder")) as tier:
        started = time.monotonic()
        for _ in range(100):
            await tier.put(KEY, b"value", HOUR)
            assert await tier.get(KEY) is None
        assert time.monotonic() - started < 10
        assert tier.health().degraded
        (tmp_path / "taken").unlink()
        await until_found(tier, KEY, b"value")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "bucket/prefix",
        "http://bucket/prefix",
        "s3://",
        "s3:///prefix",
        "s3://key:secret@bucket/prefix",
        "s3://bucket?secret_access_key=secret",
        "s3://bucket?endpoint",
        "s3://[bucket?region=secret",
        "file://",
        "file:///",
        "file://secret/folder",
    ],
)
def test_a_wrong_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="s3://bucket/prefix") as refused:
        ObjectTier(url)
    assert "secret" not in refused.value.message


def test_half_a_pair_of_keys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["AWS_SECRET_ACCESS_KEY"])
    with pytest.raises(ConfigError, match="AWS_ACCESS_KEY_ID"):
        ObjectTier("s3://bucket")


def test_without_the_library_the_install_command_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules['obstore'] = sys.modules['obstore.store'] = None\n"
        "from silkline.cache.object_store import ObjectTier\n"
        "from silkline.errors import EnvironmentFault\n"
        "try:\n    ObjectTier('s3://bucket')\n"
        "except EnvironmentFault as fault:\n    print(fault.remedy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout == "pip install 'silkline[s3]'\n", done.stderr
