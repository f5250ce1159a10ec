"""One gateway with the fake engine for all tests of this folder that leave it as it was."""

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from tests.origin import Origin
from tests.serving import Served, served


@pytest.fixture(scope="session")
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture(scope="session")
def gateway(origin: Origin) -> Iterator[Served]:
    options = "oom_on_text=<<oom>>,token_seconds=0.002"
    with served(
        "--engine", "fake", "--engine-options", options, "--cache-ttl", "0",
        "--private-hosts", f"127.0.0.1:{origin.port}",
        "--max-body-bytes", "2000000", "--max-image-bytes", "1000000",
        "--max-image-pixels", "4000000", "--max-request-pixels", "6000000",
        "--max-images", "4",
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def http(gateway: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, timeout=30) as client:
        yield client


@pytest.fixture
def openai(gateway: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client:
        yield client
