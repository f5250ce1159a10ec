"""Changes of the served models: while they start, and when the settings are read again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from silkline.config import Settings
from silkline.service import deployment as module
from silkline.service import loader
from silkline.service.deployment import Deployment
from silkline.service.models import ServedModels
from tests.service.models import Replicas, served_by


def settings_of(*names: str, **sections: Any) -> Settings:
    return Settings.model_validate(
        {"engine": {"engine": "fake"}, "models": {name: {} for name in names}} | sections
    )


def models_of(**replicas: Replicas) -> ServedModels:
    return ServedModels(served_by(each, served_name=name) for name, each in replicas.items())


async def test_a_change_waits_until_all_models_have_started() -> None:
    slow = Replicas()
    slow.seconds = 0.2
    deployment = Deployment(settings_of("a", "b"), models_of(a=slow, b=Replicas()))
    starting = asyncio.create_task(deployment.start())
    await asyncio.sleep(0.05)
    await deployment.remove("a", "test")
    await starting
    assert [(model.name, model.ready) for model in deployment.models] == [("b", True)]
    await deployment.aclose()


async def test_a_request_timeout_that_needs_a_restart_does_not_shorten_draining(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_DRAIN_MARGIN_SECONDS", 0.0)
    models = models_of(a=Replicas(), b=Replicas())
    edited = settings_of("a", server={"request_timeout": 0.01})
    deployment = Deployment(settings_of("a", "b"), models, reread=lambda: edited)
    await deployment.start()
    removed = models.choose("b")
    with removed.used():
        await deployment.reload()
        await asyncio.sleep(0.1)
        assert models.retiring == (removed,)
    await deployment.aclose()


@pytest.mark.parametrize(
    ("admin", "sections"),
    [
        ({"admin_without_keys": "loopback"}, ["admin"]),
        ({"admin_state": "other.json"}, ["admin"]),
        ({"allowed_models": ["org/*"]}, []),
    ],
)
async def test_the_log_names_settings_of_the_admin_api_that_need_a_restart(
    admin: dict[str, Any], sections: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    edited = settings_of("a", admin=admin)
    deployment = Deployment(settings_of("a"), models_of(a=Replicas()), reread=lambda: edited)
    await deployment.start()
    await deployment.reload()
    told = [each for each in caplog.records if each.message == "changed settings need a restart"]
    assert [name for each in told for name in vars(each)["ecs"]["silkline.sections"]] == sections
    await deployment.aclose()


async def test_closing_ends_the_preparation_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def preparing(*_: object) -> None:
        entered.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    monkeypatch.setattr(loader, "prepare", preparing)
    edited, settings = settings_of("a", "b"), settings_of("a")
    changing = loader.ModelLoader(settings.admission)
    models = models_of(a=Replicas())
    deployment = Deployment(settings, models, changing, reread=lambda: edited)
    await deployment.start()
    deployment.request_reload()
    await entered.wait()
    await deployment.aclose()
    assert ended.is_set()
