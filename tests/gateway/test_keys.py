"""The keys file: what is taken from it, what is refused, and how it changes under a server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import ConfigError
from silkline.gateway import keys_file
from silkline.gateway.keys import KEY_PREFIX, KeyRing, fragment, new_key
from silkline.gateway.keys_file import KeysFile
from tests.engines.asking import eventually
from tests.gateway.asking import asked
from tests.gateway.keyrings import bearer, write_keys
from tests.serving import served

DIGEST = "0" * 64


def load(tmp_path: Path, text: str) -> KeyRing:
    file = tmp_path / "keys.toml"
    file.write_text(text, encoding="utf-8")
    return KeyRing.load(file)


def test_a_whole_file(tmp_path: Path) -> None:
    first, second, third = new_key(), new_key(), new_key()
    ring = load(
        tmp_path,
        fragment("brand", third, None)
        + "[tenants.shop]\nweight = 2.5\nrequests_per_minute = 600\ntokens_per_minute = 100_000\n"
        + fragment("shop", first, None)
        + fragment("shop", second, None)
        + "expires = 2030-01-01T12:00:00+02:00\n",
    )
    assert len(ring) == 3
    one, two, other = (ring.holder(key.encode()) for key in (first, second, third))
    assert one is not None
    assert two is not None
    assert other is not None
    assert one.tenant is two.tenant
    assert (one.tenant.name, one.tenant.weight) == ("shop", 2.5)
    assert (one.tenant.requests_per_minute, one.tenant.tokens_per_minute) == (600, 100_000)
    assert one.expires is None
    assert two.expires == 1_893_492_000
    assert other.tenant.requests_per_minute is None
    assert {tenant.name for tenant in ring.tenants} == {"shop", "brand"}
    assert one.tenant.salt != other.tenant.salt != b""
    assert ring.holder(b"") is None
    assert ring.holder(first.encode() + b" ") is None


def test_a_salt_is_the_same_on_every_machine(tmp_path: Path) -> None:
    (tenant,) = load(tmp_path, "[tenants.shop]\n").tenants
    expected = hashlib.blake2b(b"shop", digest_size=16, person=b"silkline.tenant").digest()
    assert tenant.salt == expected


@pytest.mark.parametrize(
    "text",
    [
        "not TOML",
        "[tenant.shop]\n",
        "[tenants.shop]\nwieght = 1\n",
        "[tenants.shop]\nweight = 0\n",
        "[tenants.shop]\nweight = inf\n",
        "[tenants.shop]\nweight = nan\n",
        "[tenants.shop]\nrequests_per_minute = 0\n",
        "[tenants.shop]\ntokens_per_minute = 1.5\n",
        '[tenants.shop]\npaths = ["metrics"]\n',
        "[tenants.anyone]\n",
        "[tenants.'a b']\n",
        "[tenants.'']\n",
        f"[[tenants.shop.keys]]\nsha256 = '{DIGEST[1:]}'\n",
        f"[[tenants.shop.keys]]\nsha256 = '{KEY_PREFIX}{DIGEST[:43]}'\n",
        f"[[tenants.shop.keys]]\nsha256 = '{DIGEST}'\nexpires = 'soon'\n",
        f"[[tenants.shop.keys]]\nsha256 = '{DIGEST}'\n" * 2,
        f"[[tenants.a.keys]]\nsha256 = '{DIGEST}'\n[[tenants.b.keys]]\nsha256 = '{DIGEST}'\n",
    ],
)
def test_a_wrong_file_is_refused_without_showing_keys(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"keys\.toml|cannot be a tenant's name") as refused:
        load(tmp_path, text)
    assert KEY_PREFIX not in refused.value.message


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Cannot read the keys file"):
        KeyRing.load(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="Cannot read the keys file"):
        KeyRing.load(tmp_path / "bytes.toml")
    with pytest.raises(ConfigError, match="Cannot read the keys file"):
        load(tmp_path, "deep = " + "[" * 100_000)


@given(st.binary(max_size=100))
def test_only_a_key_opens(key: bytes) -> None:
    ring = KeyRing({}, ())
    assert ring.holder(key) is None


def test_keys_are_long_and_never_the_same() -> None:
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(key.startswith(KEY_PREFIX) and len(key) == 51 for key in made)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "nothing changed"
        time.sleep(0.05)


async def test_a_watch_that_fails_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_file, "_CHECK_SECONDS", 0.1)
    file = KeysFile(write_keys(tmp_path).file)
    looks: list[Path] = []

    def fail(path: Path) -> None:
        looks.append(path)
        raise RuntimeError("no thread can be started")

    async with file.watched():
        monkeypatch.setattr(keys_file, "_state", fail)
        file.request_reload()
        await eventually(lambda: bool(looks))
        await asyncio.sleep(0.5)
        assert len(looks) < 10


async def test_nothing_ends_the_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_file, "_CHECK_SECONDS", 0.02)
    keys, late = write_keys(tmp_path), new_key()
    file = KeysFile(keys.file)
    async with file.watched():
        with monkeypatch.context() as patch:
            seen = asyncio.Event()

            def fail(_: Path) -> None:
                loop.call_soon_threadsafe(seen.set)
                raise RuntimeError("no thread can be started")

            loop = asyncio.get_running_loop()
            patch.setattr(keys_file, "_state", fail)
            await asyncio.wait_for(seen.wait(), 10)
        keys.file.write_text(fragment("shop", late, None), encoding="utf-8")
        await eventually(lambda: file.ring.holder(late.encode()) is not None)


@pytest.mark.slow
def test_a_changed_file_is_taken_and_a_broken_one_is_not(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    late = new_key()
    slow = ("--engine", "fake", "--engine-options", "token_seconds=0.05,answer_words=60")
    with served(*slow, "--keys-file", str(keys.file)) as running:

        def status(key: str) -> int:
            return httpx2.get(f"{running.url}/v1/models", headers=bearer(key)).status_code

        url, statuses = f"{running.url}/v1/chat/completions", list[int]()
        asking = threading.Thread(
            target=lambda: statuses.append(
                httpx2.post(url, json=asked(), headers=bearer(keys.shop), timeout=30).status_code
            )
        )
        asking.start()
        assert status(late) == 401
        keys.file.write_text(fragment("shop", late, None), encoding="utf-8")
        until(lambda: status(late) == 200)
        assert status(keys.shop) == 401

        keys.file.write_text("broken", encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: len(running.events("the keys file is invalid; the old keys stay")) == 1)
        assert status(late) == 200
        keys.file.unlink()
        until(lambda: len(running.events("the keys file is invalid; the old keys stay")) == 2)
        assert status(late) == 200

        replaced = tmp_path / "new.toml"
        replaced.write_text(fragment("shop", keys.shop, None), encoding="utf-8")
        os.replace(replaced, keys.file)  # noqa: PTH105 - as those who deploy do
        running.process.send_signal(signal.SIGHUP)
        until(lambda: status(keys.shop) == 200)
        asking.join(timeout=30)
        assert statuses == [200]
    log = "".join(running.log)
    assert KEY_PREFIX not in log
    assert "Traceback" not in log


@pytest.mark.slow
def test_a_server_does_not_start_with_broken_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("[tenants.shop]\nkeys = 3\n", encoding="utf-8")
    with (
        pytest.raises(AssertionError, match=r"keys\.toml is invalid"),
        served("--engine", "fake", "--keys-file", str(file)),
    ):
        pass
