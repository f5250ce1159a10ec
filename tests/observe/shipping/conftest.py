"""Servers that the tests of shipping share."""

from collections.abc import Iterator

import pytest

from tests.observe.shipping.log_server import Proxy, osmem, proxy


@pytest.fixture(scope="session")
def log_server() -> Iterator[str]:
    """The URL of a real log server; each test uses a stream of its own."""
    with osmem() as url:
        yield url


@pytest.fixture
def faulty(log_server: str) -> Iterator[Proxy]:
    """A proxy before the log server that fails as told."""
    with proxy(log_server) as started:
        yield started


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are retried as later, but sooner."""
    monkeypatch.setattr("silkline.observe.shipping.shipper.MIN_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr("silkline.observe.shipping.shipper.MAX_BACKOFF_SECONDS", 0.2)
    monkeypatch.setattr("silkline.observe.shipping.handler.SHIP_SECONDS", 0.05)
    monkeypatch.setattr("silkline.observe.shipping.handler.FLUSH_SECONDS", 1.0)
