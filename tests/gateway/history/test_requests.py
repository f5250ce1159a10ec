"""`/admin/requests` on a running server: what an operator finds out about a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from silkline.cli.main import silkline
from silkline.gateway.keys import Role, fragment, new_key
from tests.gateway.asking import messages
from tests.gateway.keyrings import bearer
from tests.pictures import data_url, encoded
from tests.serving import Served, served

CHAT = "/v1/chat/completions"
IMAGE = data_url(encoded(320, 240))


@dataclass
class Running:
    """A server with keys: the tenant `shop` has its content retained, `quiet` has not."""

    server: Served
    shop: httpx2.Client
    quiet: httpx2.Client
    admin: httpx2.Client
    admin_key: str

    def entry(self, reply: httpx2.Response) -> dict[str, Any]:
        found = self.admin.get(f"/admin/requests/{reply.headers['x-request-id']}")
        assert found.status_code == 200, found.text
        return dict(found.json())


def start(folder: Path, *arguments: str) -> Iterator[Running]:
    keys = {name: new_key() for name in ("shop", "quiet", "ops")}
    (folder / "keys.toml").write_text(
        fragment("shop", keys["shop"], None)
        + fragment("quiet", keys["quiet"], None)
        + fragment("ops", keys["ops"], None, Role.ADMIN),
        encoding="utf-8",
    )
    options = "crash_on_text=<<crash>>,answer_words=5"
    with served(
        "--engine", "fake", "--workers", "2", "--engine-options", options,
        "--keys-file", str(folder / "keys.toml"), "--history-content", "shop=3600", *arguments,
    ) as server:  # fmt: skip
        shop, quiet, admin = (
            httpx2.Client(base_url=server.url, headers=bearer(key), timeout=60)
            for key in keys.values()
        )
        with shop, quiet, admin:
            yield Running(server, shop, quiet, admin, keys["ops"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from start(tmp_path_factory.mktemp("requests"))


def ask(client: httpx2.Client, text: str, *urls: str, **fields: Any) -> httpx2.Response:
    headers = fields.pop("headers", {})
    body = {"messages": messages(*urls, text=text), **fields}
    return client.post(CHAT, json=body, headers=headers)


def test_a_computed_answer_shows_its_time_sizes_image_and_replica(running: Running) -> None:
    reply = ask(running.quiet, "What is it?", IMAGE, max_tokens=40)
    entry = running.entry(reply)
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", CHAT, 200)
    assert (entry["tenant"], entry["cache"], entry["error"]) == ("quiet", "miss", "")
    assert entry["model"] == reply.headers["x-silkline-model"]
    assert entry["timeline"].keys() >= {"decode", "queue", "prefill", "generate"}
    assert sum(entry["timeline"].values()) <= entry["seconds"]
    assert 0 <= entry["asked"].pop("after_seconds") <= entry["seconds"]
    assert entry["asked"] == {
        "messages": 1, "characters": 11, "images": ["data"], "max_tokens": 40,
        "stream": False, "choices": 1,
    }  # fmt: skip
    assert [image["original_pixels"] for image in entry["images"]] == [320 * 240]
    assert len(entry["pixel_budgets"]) == 1
    usage = reply.json()["usage"]
    assert entry["usage"]["prompt_tokens"] == usage["prompt_tokens"]
    assert entry["usage"]["completion_tokens"] == usage["completion_tokens"]
    assert entry["finish"] == ["stop"]
    assert entry["received_bytes"] == len(reply.request.content)
    assert entry["sent_bytes"] == len(reply.content)
    (attempt,) = entry["attempts"]
    assert attempt["reason"] == "affinity"
    assert attempt["error"] == ""
    assert 0 <= attempt["waited_seconds"] <= entry["seconds"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": messages(text="Which?")}),
        ("/v1/completions", {"prompt": "Which?"}),
        ("/v1/messages", {"messages": messages(text="Which?"), "max_tokens": 9}),
        ("/v1/responses", {"input": "Which?"}),
    ],
)
def test_a_request_is_found_by_the_id_of_its_answer(
    running: Running, path: str, body: dict[str, Any]
) -> None:
    reply = running.shop.post(path, json={"model": "silkline-fake", **body})
    assert reply.is_success, reply.text
    answer, name = reply.json()["id"], reply.headers["x-request-id"]
    found = running.admin.get(f"/admin/requests/{answer}").json()
    assert (found["id"], found["answer"], found["path"]) == (name, answer, path)
    assert running.admin.get(f"/admin/requests/{answer}/content").is_success
    listed = running.admin.get("/admin/requests", params={"id": answer}).json()["requests"]
    assert [entry["id"] for entry in listed] == [name]
    assert running.admin.delete(f"/admin/requests/{answer}").json() == {"deleted": 1}
    assert running.admin.get(f"/admin/requests/{name}").status_code == 404


def test_a_cached_answer_used_no_replica(running: Running) -> None:
    ask(running.quiet, "Again?", IMAGE)
    entry = running.entry(ask(running.quiet, "Again?", IMAGE))
    assert (entry["cache"], entry["attempts"]) == ("hit", [])
    assert entry["timeline"].keys() == {"cache"}


def test_a_stream_shows_its_first_token_and_choices_add_up(running: Running) -> None:
    reply = ask(running.quiet, "Stream it", stream=True, n=2)
    entry = running.entry(reply)
    assert 0 < entry["first_token_seconds"] <= entry["seconds"]
    assert entry["asked"]["choices"] == 2
    assert entry["finish"] == ["stop", "stop"]
    one = running.entry(ask(running.quiet, "Stream it", stream=True))
    assert entry["usage"]["completion_tokens"] == 2 * one["usage"]["completion_tokens"]


def test_a_retry_shows_both_replicas_and_why_the_first_failed(running: Running) -> None:
    reply = ask(running.quiet, "Now <<crash>>")
    assert reply.status_code == 422
    entry = running.entry(reply)
    assert entry["error"] == "quarantined"
    assert entry["reason"] == reply.json()["error"]["message"]
    first, second = entry["attempts"]
    assert first["replica"] != second["replica"]
    assert first["error"] == second["error"] == "worker_lost"
    assert second["waited_seconds"] >= first["waited_seconds"]


def test_refusals_show_their_reason_and_whose_they_are(running: Running) -> None:
    unknown = running.quiet.post(CHAT, json={"model": "none", "messages": messages()})
    assert running.entry(unknown)["error"] == "model_not_found"
    broken = running.entry(running.quiet.post(CHAT, content=b"{"))
    assert (broken["status"], broken["asked"]) == (broken["status"], None)
    assert broken["reason"] != ""
    refused = httpx2.post(f"{running.server.url}{CHAT}", json={}, headers=bearer("sk-silk-x"))
    entry = running.entry(refused)
    assert (entry["error"], entry["tenant"]) == ("invalid_api_key", "")


def test_requests_are_searched_by_page(running: Running) -> None:
    for number in range(5):
        assert ask(
            running.quiet, f"{number}", headers={"x-request-id": f"page-{number}"}
        ).is_success
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while len(seen) < 5:
        page = running.admin.get(
            "/admin/requests", params={"tenant": "quiet", "limit": "2", **cursor}
        )
        seen += [entry["id"] for entry in page.json()["requests"]]
        cursor = {"cursor": str(page.json()["next"])}
    assert seen[:5] == [f"page-{number}" for number in (4, 3, 2, 1, 0)]
    errors = running.admin.get("/admin/requests?error&since=1h").json()["requests"]
    assert errors
    assert all(entry["error"] for entry in errors)
    wrong = running.admin.get("/admin/requests?slowly=1")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "slowly")


def test_reading_leaves_no_trace(running: Running) -> None:
    before = running.admin.get("/admin/requests").json()["requests"]
    for path in ("/live", "/v1/models", "/", "/admin/models"):
        running.admin.get(path)
    assert running.admin.get("/admin/requests").json()["requests"] == before


def test_content_is_shown_only_of_the_tenant_that_retains_it(running: Running) -> None:
    reply = ask(running.shop, "What is <b>this</b>?", IMAGE)
    name = reply.headers["x-request-id"]
    assert running.entry(reply)["content"] is True
    kept = running.admin.get(f"/admin/requests/{name}/content").json()
    assert kept["messages"][0]["parts"][-1]["text"] == "What is <b>this</b>?"
    assert kept["answers"][0]["text"] == reply.json()["choices"][0]["message"]["content"]
    image = running.admin.get(f"/admin/requests/{name}/images/0")
    assert image.headers["content-type"] == "image/png"
    assert "sandbox" in image.headers["content-security-policy"]
    assert image.content.startswith(b"\x89PNG")
    for index in ("1", "-1", "x", "9" * 40):
        assert running.admin.get(f"/admin/requests/{name}/images/{index}").status_code == 404

    quiet = ask(running.quiet, "Mine", IMAGE)
    assert running.entry(quiet)["content"] is False
    missing = running.admin.get(f"/admin/requests/{quiet.headers['x-request-id']}/content")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "request_not_found")

    assert running.admin.delete(f"/admin/requests/{name}").json() == {"deleted": 1}
    assert running.admin.get(f"/admin/requests/{name}/images/0").status_code == 404
    assert running.admin.get(f"/admin/requests/{name}").status_code == 404
    assert running.admin.delete(f"/admin/requests/{name}").status_code == 404


def test_a_tenant_is_deleted_as_a_whole(running: Running) -> None:
    ask(running.shop, "one"), ask(running.shop, "two")
    for wrong in ("", "?tenant=shop&error", "?model=x"):
        assert running.admin.delete(f"/admin/requests{wrong}").status_code == 400
    assert running.admin.delete("/admin/requests?tenant=shop").json()["deleted"] >= 2
    assert running.admin.get("/admin/requests?tenant=shop").json()["requests"] == []


@pytest.mark.parametrize("path", ["", "/x", "/x/content", "/x/images/0"])
def test_only_admins_read_the_history(running: Running, path: str) -> None:
    assert running.shop.get(f"/admin/requests{path}").status_code == 403
    assert running.shop.delete(f"/admin/requests{path}").status_code == 403


def test_trace_shows_a_request_in_the_terminal(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILKLINE_ADMIN_KEY", running.admin_key)
    reply = ask(running.quiet, "Trace it", IMAGE)

    def trace(*arguments: str) -> Any:
        return CliRunner().invoke(silkline, ["trace", "--url", running.server.url, *arguments])

    shown = trace(reply.json()["id"])
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.output.splitlines() if line.strip()}
    assert reply.headers["x-silkline-model"] in lines["model"]
    assert "76,800 pixels" in lines["image"]
    assert {"prefill", "generate", "other", "total"} <= lines.keys()
    assert "answered" in lines["1"]
    as_json = trace(reply.headers["x-request-id"], "--json")
    assert json.loads(as_json.output)["cache"] == "miss"
    assert "no request nothing" in str(trace("nothing").exception)
    monkeypatch.delenv("SILKLINE_ADMIN_KEY")
    assert "no API key" in str(trace("nothing").exception)


def test_the_live_figures_have_everything_that_the_console_shows(running: Running) -> None:
    ask(running.shop, "Live?", IMAGE)
    running.shop.post(CHAT, json={"model": "none", "messages": messages()})
    seen = first_snapshot(running)
    empty = {name for name, value in seen.items() if value in ({}, 0)}
    assert empty == {"near"}
    (queue,), (replicas,) = seen["queues"].values(), seen["replicas"].values()
    assert queue.keys() >= {"waiting", "running", "capacity", "pixel_ratio"}
    assert replicas.keys() == {"0", "1"}
    expected = {"ready", "ejected", "requests", "limit", "given_requests", "errors", "restarts"}
    assert replicas["0"].keys() >= expected | {"kv_cache_ratio", "resident_bytes"}
    assert seen["tiers"]["memory"].keys() >= {"hit", "miss", "entries", "bytes", "degraded"}
    assert seen["tenants"]["shop"]["admitted"] >= 1


def first_snapshot(running: Running) -> Any:
    with running.admin.stream("GET", "/admin/live") as live:
        data = next(line for line in live.iter_lines() if line.startswith("data: "))
    return json.loads(data.removeprefix("data: "))


@pytest.mark.slow
def test_several_processes_find_each_others_requests_and_add_up_their_figures(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("several")
    running = next(several := start(folder, "--processes", "2"))
    names = [ask(running.shop, f"{n}").headers["x-request-id"] for n in range(12)]
    for name in names:
        seen = [_until_found(running, name) for _ in range(3)]
        assert {entry["id"] for entry in seen} == {name}
    assert first_snapshot(running)["requests"] == {"200": len(names)}
    next(several, None)


def _until_found(running: Running, name: str) -> dict[str, Any]:
    """Asks on a connection of its own, which any process may get."""
    for _ in range(100):
        found = httpx2.get(
            f"{running.server.url}/admin/requests/{name}", headers=bearer(running.admin_key)
        )
        if found.is_success:
            return dict(found.json())
    raise AssertionError(name)
