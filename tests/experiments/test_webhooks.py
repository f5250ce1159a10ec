"""Webhooks: a real receiver, which fails, comes back, and checks the signature."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from silkline.config.experiments import ExperimentingSettings
from silkline.errors import ConfigError
from silkline.experiments import webhooks
from silkline.experiments.journal import Decision, Journal, Serving
from silkline.experiments.webhooks import Webhooks

KEY = "a-key-of-the-owner"


class Receiver:
    """A webhook that answers with the next of some statuses, then always with 200."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""
        self._arrived = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append((dict(request.headers), await request.read()))
        self._arrived.set()
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)

    async def until(self, number: int) -> None:
        async with asyncio.timeout(30):
            while len(self.got) < number:
                await self._arrived.wait()
                self._arrived.clear()


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    for name in ("_POLL_SECONDS", "_FIRST_PAUSE_SECONDS"):
        monkeypatch.setattr(webhooks, name, 0.01)
    one = Receiver()
    app = web.Application()
    app.router.add_post("/hook", one.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    one.url = f"http://{host}:{port}/hook"
    yield one
    await runner.cleanup()


def of(*urls: str) -> Webhooks:
    settings = ExperimentingSettings(experiment_webhooks=urls, webhook_key_env="KEY")
    return Webhooks(settings, {"KEY": KEY})


def decision(reason: str) -> Decision:
    return Decision(Serving.MODEL, 0.0, "evidence", reason, '{"arms":{}}', time.time())


async def test_it_gets_each_decision_signed_and_after_failures_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "e"))
    await journal.decide("e", "{}", decision("before the webhook was known"), 0)
    receiver.statuses = [500, 302]
    async with of(receiver.url).running(journal):
        await asyncio.sleep(0.2)
        await journal.decide("e", "{}", decision("worse"), 1)
        await receiver.until(3)
    headers, body = receiver.got[-1]
    told = json.loads(body)
    assert (told["type"], told["experiment"], told["serving"], told["reason"]) == (
        "experiment.decided", "e", "model", "worse",
    )  # fmt: skip
    assert told["evidence"] == {"arms": {}}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert {one["webhook-id"] for one, _ in receiver.got} == {"e-2"}
    await journal.aclose()


async def test_what_was_not_delivered_is_delivered_after_a_restart(
    receiver: Receiver, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "e"))
    async with of(receiver.url).running(journal):
        await asyncio.sleep(0.2)
    await journal.decide("e", "{}", decision("first"), 0)
    await journal.decide("e", "{}", decision("second"), 1)
    await journal.aclose()
    journal = Journal(str(tmp_path / "e"))
    async with of(receiver.url).running(journal):
        await receiver.until(2)
        await asyncio.sleep(0.1)
    await journal.aclose()
    assert [json.loads(body)["reason"] for _, body in receiver.got] == ["first", "second"]


async def test_one_that_is_gone_does_not_hold_up_the_next(
    receiver: Receiver, tmp_path: Path
) -> None:
    journal = Journal(str(tmp_path / "e"))
    receiver.statuses = [410]
    async with of(receiver.url).running(journal):
        await asyncio.sleep(0.2)
        await journal.decide("e", "{}", decision("first"), 0)
        await journal.decide("e", "{}", decision("second"), 1)
        await receiver.until(2)
    await journal.aclose()
    assert [json.loads(body)["reason"] for _, body in receiver.got] == ["first", "second"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"experiment_webhooks": ("https://a.example/x",)}, "need a key"),
        ({"experiment_webhooks": ("ftp://a.example",), "webhook_key_env": "K"}, "pattern"),
        ({"experiment_webhooks": ("https://u:p@a.example",), "webhook_key_env": "K"}, "pattern"),
        ({"webhook_key_env": "K", "webhook_key_file": "k"}, "at most one"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ExperimentingSettings.model_validate(settings)


def test_a_missing_key_stops_the_start() -> None:
    settings = ExperimentingSettings(
        experiment_webhooks=("https://a.example/x",), webhook_key_env="KEY"
    )
    with pytest.raises(ConfigError, match="holds no key for experiment_webhooks"):
        Webhooks(settings, {})
