"""The tiers that the cache's tests run over."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from silkline.cache import disk as disk_module
from silkline.cache import redis as redis_module
from silkline.cache import redis_link
from silkline.cache.base import Tier
from silkline.cache.disk import DiskTier
from silkline.cache.memory import MemoryTier
from silkline.cache.redis import RedisTier
from tests.cache.asking import MIB
from tests.cache.redis_server import RedisServer

PATIENCE_SECONDS = 10.0


@pytest.fixture(autouse=True)
def patient_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is waited for however busy the machine is."""
    monkeypatch.setattr(disk_module, "OPERATION_SECONDS", PATIENCE_SECONDS)


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


@pytest.fixture(params=["memory", "disk", "redis"])
async def tier(request: pytest.FixtureRequest, disk_path: Path) -> AsyncIterator[Tier]:
    """Each tier, empty."""
    made: Tier
    if request.param == "memory":
        made = MemoryTier(64 * MIB)
    elif request.param == "disk":
        made = DiskTier(disk_path, 64 * MIB)
    else:
        made = RedisTier(request.getfixturevalue("redis").url)
    yield made
    await made.aclose()
