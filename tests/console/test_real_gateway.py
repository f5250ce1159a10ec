"""The console on the real gateway, with the engine that scripts its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.conftest import OpenConsole
from tests.console.driver import TIMES, UNKNOWN
from tests.serving import Served, served

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with served("--engine", "fake") as server:
        yield server


@pytest.mark.slow
async def test_a_picture_is_answered_measured_and_refused(
    gateway: Served, open_console: OpenConsole, picture: Path
) -> None:
    console = await open_console(f"{gateway.url}/")
    await console.until_text("#status", "Ready")
    await console.choose(picture)
    await console.until_text("#picture-facts", f"320 {TIMES} 240")
    await console.ask("What is this?")
    await console.page.wait_for_selector("#result:visible")
    await console.ended()
    assert await console.page.is_hidden("#failure")
    assert await console.text("#text") != ""
    stages = await console.stages()
    for stage in ("decode", "resize", "queue", "prefill", "generate"):
        assert stages[stage] != UNKNOWN, stage
    for selector in (
        "#first-token",
        "#total",
        "#cache",
        "#tokens-prompt",
        "#tokens-image",
        "#tokens-completion",
        "#model",
        "#bundle",
        "#request-id",
    ):
        assert await console.text(selector) != UNKNOWN, selector

    console.expected = ("Failed to load resource",)
    await console.page.click("#remove")
    await console.give_address("http://127.0.0.1:1/mug.jpg")
    await console.ask("What is this?")
    await console.until_text("#failure-code", "url_blocked")
    assert await console.text("#request-id") != UNKNOWN
