"""The report of a model's gate, as the admin API serves it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from silkline.config import AdminSettings, Settings
from silkline.gateway.app import create_app
from silkline.models.gate import GATE_PAGE, GateRecord
from silkline.routing.pool import EnginePool
from silkline.service.deployment import Deployment
from silkline.service.lifecycle import Lifecycle
from silkline.service.loader import ModelLoader
from silkline.service.model import ModelFiles
from silkline.service.model_changes import ModelChanges
from silkline.service.models import ServedModels
from tests.models.gates import gated, make_bundle
from tests.service.models import served_by


async def get(folder: Path, record: GateRecord | None, name: str) -> httpx2.Response:
    settings = Settings(admin=AdminSettings(admin_without_keys="loopback"))
    files = ModelFiles(folder, "org/tiny", "abc", gate=record)
    model = served_by(lambda: EnginePool([]), files, served_name="org/tiny")
    loader, changes = ModelLoader(settings.admission), ModelChanges("")
    deployment = Deployment(settings, ServedModels([model]), loader, changes)
    transport = httpx2.ASGITransport(
        app=create_app(settings, deployment, Lifecycle()), client=("127.0.0.1", 1)
    )
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.get(f"/admin/gates/{name}")


async def test_the_report_is_served_without_scripts(tmp_path: Path) -> None:
    record = gated(make_bundle(tmp_path))
    (tmp_path / GATE_PAGE).write_text("<h1>Größe</h1>", encoding="utf-8")
    reply = await get(tmp_path, record, "org/tiny")
    assert (reply.status_code, reply.text) == (200, "<h1>Größe</h1>")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("sandbox")


@pytest.mark.parametrize("name", ["org/tiny", "other", "org/../../tiny"])
async def test_a_model_without_a_report_says_so(tmp_path: Path, name: str) -> None:
    record = gated(make_bundle(tmp_path)) if name == "org/tiny" else None
    (tmp_path / GATE_PAGE).unlink(missing_ok=True)
    reply = await get(tmp_path, record, name)
    assert reply.status_code in {400, 404}
    assert str(tmp_path) not in reply.text
