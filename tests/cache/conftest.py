"""The tiers that the cache's tests run over."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from silkline.cache import disk as disk_module
from silkline.cache import object_store as object_module
from silkline.cache import redis as redis_module
from silkline.cache import sqlite_file
from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.memory import MemoryTier
from silkline.cache.object_store import ObjectTier
from silkline.cache.redis import RedisTier
from silkline.stores import redis as redis_link
from tests.cache.asking import MIB
from tests.cache.redis_server import RedisServer
from tests.cache.s3_server import KEYS, s3_server, s3_url

PATIENCE_SECONDS = 10.0


@pytest.fixture(autouse=True)
def patient_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is waited for however busy the machine is."""
    monkeypatch.setattr(disk_module, "OPERATION_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(sqlite_file, "LOCK_SECONDS", PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """For tests that leave the server as it is."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()


@pytest.fixture
def redis(shared_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty server that stays as it is, and is waited for however busy the machine is."""
    monkeypatch.setattr(redis_module, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(redis_link, "COMMAND_SECONDS", PATIENCE_SECONDS)
    shared_redis.admin.flushall()
    return shared_redis


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """For tests that break the server."""
    server = RedisServer(tmp_path)
    yield server
    server.thaw()
    server.close()


@pytest.fixture
def disk_path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "answers.sqlite"


@pytest.fixture(scope="session")
def shared_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server, for all tests."""
    with s3_server(tmp_path_factory.mktemp("s3")) as port:
        yield port


@pytest.fixture
def s3(shared_s3: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of an S3 server to which this process has the keys."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return shared_s3


@pytest.fixture
def patient_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects are waited for however busy the machine is."""
    for name in ("READ_SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(object_module, name, PATIENCE_SECONDS)


@pytest.fixture(params=["memory", "disk", "redis", "s3", "folder"])
async def tier(
    request: pytest.FixtureRequest, disk_path: Path, tmp_path: Path
) -> AsyncIterator[Tier]:
    """Each tier, empty."""
    made: Tier
    if request.param == "memory":
        made = MemoryTier(64 * MIB)
    elif request.param == "disk":
        made = DiskTier(disk_path, 64 * MIB)
    elif request.param == "s3":
        request.getfixturevalue("patient_objects")
        made = ObjectTier(s3_url(request.getfixturevalue("s3"), prefix=tmp_path.name))
    elif request.param == "folder":
        request.getfixturevalue("patient_objects")
        made = ObjectTier((tmp_path / "objects").as_uri())
    else:
        made = RedisTier(request.getfixturevalue("redis").url)
    yield made
    await made.aclose()
