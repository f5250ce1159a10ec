"""Errors are shown with their code, their message and the request id, and do not last."""

from __future__ import annotations

from pathlib import Path

import pytest

from silkline.errors import HTTP_FACES
from tests.console.conftest import OpenConsole
from tests.console.driver import TIMES, Console
from tests.console.stand_in import Reply, StandIn, answer, refusal, running_stand_in, sample_jpeg

pytestmark = pytest.mark.asyncio(loop_scope="session")

FALLBACK_TITLE = "The request failed"


async def ask(console: Console, stand_in: StandIn, reply: Reply) -> None:
    console.expected = ("Failed to load resource",)
    stand_in.reply = reply
    await console.ask("What is this?")
    await console.page.wait_for_selector("#failure:visible")
    await console.ended()


UNEARNED = {
    "not_found", "method_not_allowed", "headers_too_large",
    "duplicate_in_progress", "idempotency_key_reused", "model_conflict", "model_not_started",
}  # fmt: skip
"""Codes that the page's own requests cannot earn."""


@pytest.mark.slow
async def test_every_code_of_the_gateway_has_a_title(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    titles = {}
    for face in HTTP_FACES.values():
        if face.code in UNEARNED:
            continue
        await ask(console, stand_in, refusal(face.status, face.code, f"About {face.code}."))
        await console.until_text("#failure-message", f"About {face.code}.")
        assert await console.text("#failure-code") == face.code
        assert await console.text("#failure-status") == f"HTTP {face.status}"
        assert await console.text("#request-id") == f"req-{len(stand_in.bodies):04d}"
        titles[face.code] = await console.text("#failure-title")
    assert FALLBACK_TITLE not in titles.values()
    assert len(set(titles.values())) == len(titles)


async def test_an_error_is_announced_and_the_next_request_works(
    console: Console, stand_in: StandIn
) -> None:
    await console.use_sample()
    await ask(
        console,
        stand_in,
        refusal(413, "image_too_large", "It has 60 MPixel; 50 are allowed.", param="messages.0"),
    )
    assert await console.text("#failure-status") == "HTTP 413 · messages.0"
    alarm = await console.page.text_content("#alarm")
    assert alarm == "The picture is too large. It has 60 MPixel; 50 are allowed."
    for selector in ("#timeline", "#times", "#tokens", "#copy-answer"):
        assert await console.page.is_hidden(selector)
    stand_in.reply = answer("Fine.")
    await console.page.click("#again")
    await console.until_text("#text", "Fine.")
    assert await console.page.is_hidden("#failure")
    assert await console.page.text_content("#alarm") == ""


async def test_retry_after_becomes_advice(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    await ask(console, stand_in, refusal(503, "overloaded", "Too much is asked.", retry_after=7))
    assert await console.text("#failure-advice") == "Ask again in 7 seconds."


async def test_a_proxys_own_error_page(console: Console, stand_in: StandIn) -> None:
    await console.use_sample()
    for body in (b"<h1>Bad gateway</h1>", b"", b'"text"', b'{"error": 5}', b"[]"):
        await ask(console, stand_in, Reply([body], 502))
        assert await console.text("#failure-title") == FALLBACK_TITLE
        assert await console.text("#failure-code") == "http_502"
        assert await console.text("#failure-message") == "The gateway sent no error message."


async def test_an_unreachable_gateway(open_console: OpenConsole) -> None:
    async with running_stand_in() as gone:
        console = await open_console(gone.url)
        await console.use_sample()
    console.expected = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    await console.ask("What is this?")
    await console.until_text("#failure-title", "The gateway cannot be reached")
    assert await console.text("#failure-code") == "unreachable"
    await console.until_text("#status", "Unreachable")


async def test_a_file_that_is_gone(console: Console, stand_in: StandIn, tmp_path: Path) -> None:
    """The browser reads a chosen file only when it is sent."""
    path = tmp_path / "mug.jpg"
    path.write_bytes(sample_jpeg())
    await console.choose(path)
    await console.until_text("#picture-facts", TIMES)
    path.unlink()
    await console.ask("What is this?")
    await console.until_text("#failure-code", "picture_unreadable")
    assert stand_in.bodies == []


@pytest.mark.slow
async def test_a_key_is_asked_for_used_and_forgotten(
    stand_in: StandIn, open_console: OpenConsole
) -> None:
    stand_in.key = "key-for-tests"
    console = await open_console(stand_in.url, wait=False)
    await console.use_sample()
    await ask(console, stand_in, answer("never"))
    assert await console.text("#failure-title") == "An API key is needed"
    assert await console.page.is_visible("#key")
    await console.page.fill("#key", " key-for-tests ")
    await console.page.press("#key", "Enter")
    assert await console.page.is_hidden("#key")
    await console.until_text("#status-model", "silkline-mini")
    await console.page.click("#again")
    await console.until_text("#text", "never")
    assert stand_in.authorizations == ["Bearer key-for-tests"]
    stored = await console.page.evaluate("[JSON.stringify(localStorage), document.cookie]")
    assert "key-for-tests" not in "".join(stored)
    await console.page.reload()
    await console.until_text("#status-model", "silkline-mini")
    await console.page.click("#key-menu summary")
    await console.page.click("#key-forget")
    assert await console.page.evaluate("JSON.stringify(sessionStorage)") == "{}"


@pytest.mark.slow
async def test_status_follows_the_gateway(stand_in: StandIn, open_console: OpenConsole) -> None:
    stand_in.ready = 503
    console = await open_console(stand_in.url, wait=False)
    console.expected = ("Failed to load resource",)
    await console.until_text("#status", "Starting")
    stand_in.ready = 200
    await console.until_text("#status", "Ready")
    await console.until_text("#status-model", "silkline-mini")
    stand_in.ready = 503
    await console.use_sample()
    await ask(console, stand_in, refusal(503, "shutting_down", "It ends."))
    await console.until_text("#status", "Starting")
    stand_in.ready, stand_in.model = 200, "another-model"
    await console.until_text("#status", "Ready")
    await console.until_text("#status-model", "another-model")
