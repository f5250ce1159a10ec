"""Who reaches the admin API: keys with the role admin, or without keys programs on this machine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from silkline.cli.key import key as key_command
from silkline.config import AdminSettings, AuthSettings, ServerSettings, Settings
from silkline.gateway.app import create_app
from silkline.gateway.keys import Role, fragment, new_key
from silkline.routing.pool import EnginePool
from silkline.service.lifecycle import Lifecycle
from tests.gateway.keyrings import bearer
from tests.service.models import deployed

LOOPBACK = ("127.0.0.1", 1)
ROUTES = [
    ("GET", "/admin/models"),
    ("POST", "/admin/models"),
    ("GET", "/admin/models/x"),
    ("PUT", "/admin/models/x"),
    ("DELETE", "/admin/models/x"),
    ("GET", "/admin/gates/x"),
    ("GET", "/admin/requests"),
    ("DELETE", "/admin/requests"),
    ("GET", "/admin/requests/x"),
    ("DELETE", "/admin/requests/x"),
    ("GET", "/admin/requests/x/content"),
    ("GET", "/admin/requests/x/images/x"),
    ("GET", "/admin/live"),
    ("GET", "/admin/settings"),
    ("GET", "/admin/tenants"),
    ("GET", "/admin/experiments"),
    ("GET", "/admin/experiments/x"),
    ("POST", "/admin/experiments/x"),
    ("PUT", "/admin/experiments/x"),
    ("DELETE", "/admin/experiments/x"),
    ("GET", "/admin/drift"),
]


@asynccontextmanager
async def app(
    settings: Settings, client: tuple[str, int] = LOOPBACK
) -> AsyncIterator[httpx2.AsyncClient]:
    lifecycle = Lifecycle()
    lifecycle.begin_leaving()  # ends the stream of /admin/live after its first event
    made = create_app(settings, deployed(lambda: EnginePool([])), lifecycle)
    transport = httpx2.ASGITransport(app=made, client=client)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield http


def with_keys(folder: Path) -> tuple[Settings, dict[str, str]]:
    keys = {name: new_key() for name in ("user", "admin", "limited", "admin only", "expired")}
    (folder / "keys.toml").write_text(
        '[tenants.limited]\npaths = ["/v1/"]\n[tenants.only]\npaths = ["/admin/"]\n'
        + fragment("shop", keys["user"], None)
        + fragment("shop", keys["admin"], None, Role.ADMIN)
        + fragment("limited", keys["limited"], None, Role.ADMIN)
        + fragment("only", keys["admin only"], None, Role.ADMIN)
        + fragment("shop", keys["expired"], None, Role.ADMIN)
        + "expires = 2020-01-01\n",
        encoding="utf-8",
    )
    auth = AuthSettings(keys_file=str(folder / "keys.toml"))
    return Settings(auth=auth, admin=AdminSettings(admin_without_keys="loopback")), keys


async def test_these_are_all_routes_of_the_admin_api() -> None:
    async with app(Settings()) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    described = {
        (method.upper(), re.sub(r"{\w+}", "x", path))
        for path, methods in paths.items()
        for method in methods
        if "/admin" in path
    }
    assert described == set(ROUTES)


async def test_every_route_needs_a_key_with_the_role_admin(tmp_path: Path) -> None:
    settings, keys = with_keys(tmp_path)
    expected = {"user": 403, "limited": 403, "expired": 401}
    async with app(settings) as http:
        for method, path in ROUTES:
            assert (await http.request(method, path)).status_code == 401, "not even from loopback"
            for name, status in expected.items():
                reply = await http.request(method, path, headers=bearer(keys[name]))
                assert reply.status_code == status, (method, path, name)
            for name in ("admin", "admin only"):
                reply = await http.request(method, path, headers=bearer(keys[name]))
                assert reply.status_code not in {401, 403}, (method, path, name)
        reply = await http.get("/v1/models", headers=bearer(keys["admin only"]))
        assert reply.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/admin/models/",
        "/%61dmin/models",
        "/admin%2Fmodels",
        "/admin/%6dodels",
        "//admin/models",
        "/v1/../admin/models",
        "/admin/./models",
        "/admin",
        "/admin/",
        "/admin/other",
        "/ADMIN/models",
    ],
)
async def test_no_spelling_of_the_path_opens_it_to_other_keys(tmp_path: Path, path: str) -> None:
    settings, keys = with_keys(tmp_path)
    async with app(settings) as http:
        reply = await http.get(path, headers=bearer(keys["user"]))
        assert reply.status_code in {403, 404}
        assert "models" not in reply.json()


async def test_without_keys_the_admin_api_is_off() -> None:
    async with app(Settings()) as http:
        for method, path in ROUTES:
            reply = await http.request(method, path)
            assert reply.status_code == 403
            assert "role admin" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (LOOPBACK, {}, 200),
        (("::1", 1), {}, 200),
        (("127.8.9.1", 1), {}, 200),
        (("10.0.0.5", 1), {}, 403),
        (("2001:db8::1", 1), {}, 403),
        (("", 0), {}, 403),
        (LOOPBACK, {"x-forwarded-for": "10.0.0.5"}, 403),
        (LOOPBACK, {"forwarded": "for=127.0.0.1"}, 403),
        (LOOPBACK, {"via": "1.1 proxy"}, 403),
        (LOOPBACK, {"host": "models.example.com"}, 403),
        (LOOPBACK, {"origin": "https://app.example", "sec-fetch-site": "cross-site"}, 403),
        (LOOPBACK, {"sec-fetch-site": "same-site"}, 403),
        (LOOPBACK, {"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_without_keys_only_programs_on_this_machine_reach_it(
    client: tuple[str, int], headers: dict[str, str], status: int
) -> None:
    """Also where other settings open the server to everyone, and to pages of other sites."""
    settings = Settings(
        server=ServerSettings(host="0.0.0.0"),
        auth=AuthSettings(allow_anyone=True, cors_origins=("https://app.example",)),
        admin=AdminSettings(admin_without_keys="loopback"),
    )
    async with app(settings, client) as http:
        reply = await http.get("/admin/models", headers=headers)
        assert reply.status_code == status, reply.text
        refused = await http.delete("/admin/models/x", headers=headers)
        assert refused.status_code == (404 if status == 200 else 403)


def test_the_command_line_makes_admin_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    for arguments in (("ops", "--admin"), ("shop",)):
        CliRunner().invoke(key_command, [*arguments, "--into", str(file)], catch_exceptions=False)
    text = file.read_text(encoding="utf-8")
    assert text.count('role = "admin"') == 1
    assert text.index("tenants.ops") < text.index("role") < text.index("tenants.shop")
