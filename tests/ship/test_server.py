"""The server that ship starts: its settings, and what an aborted ship leaves on it."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

import httpx2
import pytest

from silkline.config import AuthSettings, Settings, load_settings
from silkline.errors import ConfigError
from silkline.ship.journal import Journal, Kind, Ship
from silkline.ship.server import LocalServer
from tests.cli.commands import invoked
from tests.serving import served

DIGEST = "0123456789abcdef"


def written(folder: Path, settings: Settings) -> Settings:
    server = LocalServer(folder, "http://127.0.0.1:8123")
    server.write_settings(settings)
    return load_settings(server.settings_file, {}, {})


def test_its_settings_are_the_users_with_what_ship_needs(tmp_path: Path) -> None:
    wanted = Settings.model_validate(
        {"engine": {"model": 'a "quoted" model', "engine_options": {"mode": "echo"}},
         "cache": {"cache_ttl": 7}, "admin": {"allowed_models": ["org/*"]}}
    )  # fmt: skip
    found = written(tmp_path, wanted)
    assert found.engine == wanted.engine
    assert found.cache == wanted.cache
    assert (found.server.host, found.server.port) == ("127.0.0.1", 8123)
    assert found.admin.admin_without_keys == "loopback"
    assert found.admin.allowed_models == ("org/*", str(tmp_path.resolve() / "bundles"))
    for path in (found.admin.admin_state, found.experimenting.experiment_file):
        assert Path(path).parent == tmp_path.resolve() / "server"


def test_with_a_keys_file_only_its_keys_open_the_admin_api(tmp_path: Path) -> None:
    found = written(tmp_path, Settings(auth=AuthSettings(keys_file="keys.toml")))
    assert found.admin.admin_without_keys == "off"


@pytest.mark.parametrize("url", ["http://192.0.2.1:8000", "https://127.0.0.1:8000"])
def test_only_a_server_of_this_machine_can_be_started(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="only a server on this machine can be started"):
        LocalServer(tmp_path, url).write_settings(Settings())


@pytest.mark.slow
def test_an_aborted_ship_leaves_nothing_on_the_server(tmp_path: Path) -> None:
    bundle = tmp_path / "bundles" / DIGEST / "bundle"
    bundle.mkdir(parents=True)
    (tmp_path / "silkline.toml").write_text(
        '[engine]\nengine = "fake"\n[models.shop]\n[admin]\nadmin_without_keys = "loopback"\n'
        f'allowed_models = ["{tmp_path}"]\n'
    )
    with served(folder=tmp_path) as running, httpx2.Client(base_url=running.url) as http:
        for name in (f"shop-{DIGEST[:8]}", "mine"):  # the other one is of no ship
            table = {"model": str(bundle)}
            assert http.put(f"/admin/models/{name}", json=table).status_code == 201
        experiment = {"model": "shop", "candidate": f"shop-{DIGEST[:8]}"}
        assert http.put("/admin/experiments/ship-abc", json=experiment).status_code == 200
        identity = {"url": running.url, "bundles_at": str(tmp_path / "bundles"), "model": "m"}
        with Journal(tmp_path / "ship.sqlite") as journal:
            journal.begin(Ship("abc", "silkline ship m", {}, identity, time.time()))
            journal.add("abc", "bundle", Kind.DONE, "", {"digest": DIGEST})
            journal.add("abc", "deploy", Kind.BEGAN)
        found = invoked("ship", "abort", "--store", tmp_path)
        assert found.code == 0, found.error
        assert f"{getpass.getuser()} ended it." in found.output
        serving = {each["name"] for each in http.get("/admin/models").json()["models"]
                   if each["state"] != "draining"}  # fmt: skip
        assert serving == {"shop", "mine"}
        assert http.get("/admin/experiments").json() == {"experiments": []}
