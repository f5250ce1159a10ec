"""A path with a slash at its end is the path without it, for every route and for the gate."""

from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest

from tests.gateway.asking import MODEL, asked
from tests.gateway.raw import exchange, head
from tests.gateway.test_bad_input import check
from tests.pictures import data_url, encoded
from tests.serving import Served, served

PATHS = ["/v1/models", f"/v1/models/{MODEL}", "/live", "/ready", "/metrics", "/openapi.json"]


@pytest.mark.parametrize("path", PATHS)
def test_what_is_read(http: httpx2.Client, path: str) -> None:
    plain, slashed = http.get(path), http.get(f"{path}/")
    assert slashed.status_code == plain.status_code == 200
    assert slashed.headers["content-type"] == plain.headers["content-type"]
    if path != "/metrics":
        assert slashed.content == plain.content


def test_what_is_asked(http: httpx2.Client) -> None:
    assert http.post("/v1/chat/completions/", json=asked()).status_code == 200
    assert http.post("/v1/chat/completions/?a=b", json=asked()).status_code == 200
    body = {"image_url": data_url(encoded())}
    assert http.post("/predict/", json=body).status_code == 200
    assert http.get("/").headers["content-type"].startswith("text/html")


def test_the_list_of_models_is_no_model(http: httpx2.Client) -> None:
    assert [one["id"] for one in http.get("/v1/models/").json()["data"]] == [MODEL]
    check(http.get("/v1/models//"), 404, "not_found")


@pytest.mark.parametrize("path", ["/v2/none/", "/predict//", "/live%2F", "/live/%2f", "//live"])
def test_what_there_is_not(gateway: Served, path: str) -> None:
    assert exchange(gateway.host_and_port, head(path)).status == 404


def test_nothing_is_redirected(http: httpx2.Client) -> None:
    check(http.post("/predict/", headers={"host": "evil"}), 400, "invalid_request")


def test_an_idempotency_key_counts_there_too(http: httpx2.Client) -> None:
    key = {"idempotency-key": "slash"}
    http.post("/v1/chat/completions", json=asked(), headers=key)
    again = http.post("/v1/chat/completions/", json=asked(), headers=key)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.slow
def test_the_gate_decides_on_what_is_served(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("", encoding="utf-8")
    with served("--engine", "fake", "--keys-file", str(file)) as running:
        with socket.create_connection(running.host_and_port):
            pass
        statuses = {
            path: exchange(running.host_and_port, head(path)).status
            for path in (*(f"{path}/" for path in PATHS), "/", "//", "/live//", "/live%2F")
        }
    opened = {path for path, status in statuses.items() if status != 401}
    assert opened == {"/live/", "/ready/"}
