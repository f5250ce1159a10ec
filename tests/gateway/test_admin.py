"""The admin API: models are added, replaced and removed while requests run."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from silkline.config import AdminSettings, EngineSettings, Settings
from silkline.gateway.app import create_app
from silkline.service.create import create_models
from silkline.service.lifecycle import Lifecycle
from tests.serving import Served, served

TOML = """
[engine]
engine = "fake"
engine_options = { token_seconds = "0.01", answer_words = "20", crash_on_text = "<<crash>>" }

[cache]
cache_ttl = 0

[admin]
admin_without_keys = "loopback"
allowed_models = ["org/*", "ALLOWED"]
admin_state = "state/models.json"

[models.a]
[models.b]
"""


def write(folder: Path, text: str = TOML) -> None:
    (folder / "allowed" / "inner").mkdir(parents=True, exist_ok=True)
    text = text.replace("ALLOWED", str(folder / "allowed"))
    (folder / "silkline.toml").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("admin")
    write(folder)
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Served]:
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def http(running: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=running.url, timeout=60) as client:
        yield client
        for model in ids(client) - {"a", "b"}:
            client.delete(f"/admin/models/{model}")


def ids(http: httpx2.Client) -> set[str]:
    return {model["id"] for model in http.get("/v1/models").json()["data"]}


def ask(http: httpx2.Client, model: str, text: str = "hi") -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return http.post("/v1/chat/completions", json=body)


def until(found: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def code(reply: httpx2.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


class Load:
    """Clients that ask a model without a pause, until the block ends."""

    def __init__(self, url: str, model: str) -> None:
        self._url = url
        self._model = model
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2)
        self.replies: list[tuple[int, str]] = []

    def __enter__(self) -> Load:
        self._clients = [self._pool.submit(self._run, number) for number in range(2)]
        until(lambda: len(self.replies) >= 2)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.result()
        self._pool.shutdown()

    def _run(self, number: int) -> None:
        with httpx2.Client(base_url=self._url, timeout=60) as http:
            count = 0
            while not self._stop.is_set():
                count += 1
                reply = ask(http, self._model, f"{number} {count}")
                self.replies.append((reply.status_code, reply.json()["model"]))


def test_the_models_are_listed_with_their_state(http: httpx2.Client) -> None:
    a, b = http.get("/admin/models").json()["models"]
    assert (a["name"], a["state"], a["default"], a["changed"]) == ("a", "serving", True, False)
    assert (b["name"], b["ready"], b["default"], b["requests"]) == ("b", True, False, 0)
    assert "engine_options" not in a["settings"]
    assert http.get("/admin/models/b").json() == b
    assert code(http.get("/admin/models/c")) == (404, "model_not_found")


@pytest.mark.slow
def test_one_model_is_killed_replaced_and_removed_while_the_other_loses_nothing(
    running: Served, http: httpx2.Client
) -> None:
    with Load(running.url, "b") as other:
        added = http.post("/admin/models", json={"name": "c", "model": "org/x", "aliases": ["d"]})
        assert added.status_code == 201, added.text
        with Load(running.url, "d") as changing:
            assert ask(http, "c", "<<crash>>").status_code in {422, 503}
            replaced = http.put(
                "/admin/models/c", json={"model": "org/x", "aliases": ["d"], "max_batch": 2}
            )
            assert replaced.status_code == 200
            assert replaced.json()["settings"]["max_batch"] == 2
            until(lambda: len(http.get("/admin/models").json()["models"]) == 3)
        assert set(changing.replies) == {(200, "c")}
        removed = http.delete("/admin/models/c")
        assert removed.json() == {"name": "c", "removed": True}
        assert code(ask(http, "d")) == (404, "model_not_found")
        count = len(other.replies)
        until(lambda: len(other.replies) > count + 2)
    assert set(other.replies) == {(200, "b")}
    assert len(running.events("model added")) >= 1
    [event, *_] = running.events("model replaced")
    assert re.match("admin API, tenant anyone, request ", str(event["silkline.by"]))
    assert event["silkline.model"] == "c"


def test_a_request_keeps_the_model_that_is_removed_under_it(
    running: Served, http: httpx2.Client
) -> None:
    assert http.put("/admin/models/c", json={"model": "org/x"}).status_code == 201
    body = {
        "model": "c",
        "messages": [{"role": "user", "content": "long"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with http.stream("POST", "/v1/chat/completions", json=body) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert http.delete("/admin/models/c").status_code == 200
        states = {
            each["name"]: each["state"] for each in http.get("/admin/models").json()["models"]
        }
        assert states["c"] == "draining"
        rest = list(lines)
    assert rest[-2:] == ["data: [DONE]", ""]
    until(lambda: len(http.get("/admin/models").json()["models"]) == 2)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code_", "message"),
    [
        ("POST", "", {"name": "a"}, 409, "model_conflict", "Replace it with PUT"),
        ("POST", "", {"name": "c", "aliases": ["b"]}, 409, "model_conflict", "name or alias b"),
        ("POST", "", {"name": "-c"}, 400, "invalid_request", "name is wrong"),
        ("POST", "", {"model": "org/x"}, 400, "invalid_request", "name"),
        ("PUT", "/c d", {}, 400, "invalid_request", "name is wrong"),
        ("PUT", "/c", {"max_batch": 0}, 400, "invalid_request", "max_batch is wrong"),
        ("PUT", "/c", {"max_batch": "x"}, 400, "invalid_request", "max_batch"),
        ("PUT", "/c", {"max_bath": 1}, 400, "invalid_request", "max_bath is not supported"),
        ("PUT", "/c", {"remotes": []}, 400, "invalid_request", "remotes cannot be set here"),
        ("PUT", "/c", {"engine_options": {}}, 400, "invalid_request", "in silkline.toml"),
        ("PUT", "/c", {"export_store": "/"}, 400, "invalid_request", "cannot be set here"),
        ("PUT", "/c", {"model": "other/x"}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"model": "/"}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"model": "ALLOWED/../.."}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"model": "ALLOWED/link"}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"model": "~nobody-of-this-name/x"}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"model": "x\0y"}, 403, "forbidden", "allowed_models"),
        ("PUT", "/c", {"engine": "none"}, 422, "model_not_started", "settings cannot be used"),
        ("PUT", "/c", {"kv_cache_bytes": 10**15}, 409, "model_conflict", "c 1000.00 TB"),
        ("PUT", "/c", {"threads": 5000}, 409, "model_conflict", "5000 threads together"),
        ("PUT", "/c", {"engine": "openvino", "model": "ALLOWED"}, 422, "model_not_started", ""),
        ("DELETE", "/c", None, 404, "model_not_found", "no model c"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_made_changes_nothing(
    http: httpx2.Client, folder: Path, method: str, path: str, body: Any,
    status: int, code_: str, message: str,
) -> None:  # fmt: skip
    link = folder / "allowed" / "link"
    if not link.is_symlink():
        link.symlink_to("/etc", target_is_directory=True)
    if body is not None:
        text = json.dumps(body).replace("ALLOWED", str(folder / "allowed"))
        body = json.loads(text)
    reply = http.request(method, f"/admin/models{path}", json=body)
    assert code(reply) == (status, code_), reply.text
    assert message in reply.json()["error"]["message"]
    assert str(folder) not in reply.text
    assert ids(http) == {"a", "b"}


def test_an_allowed_folder_may_be_loaded(http: httpx2.Client, folder: Path) -> None:
    reply = http.put("/admin/models/c", json={"model": str(folder / "allowed" / "inner")})
    assert reply.status_code == 201, reply.text


@pytest.mark.slow
def test_changes_survive_a_restart_until_the_owner_edits_the_table(tmp_path: Path) -> None:
    write(tmp_path)
    with served(folder=tmp_path) as running, httpx2.Client(base_url=running.url) as http:
        assert http.put("/admin/models/c", json={"model": "org/x"}).status_code == 201
        assert http.put("/admin/models/b", json={"max_batch": 3}).status_code == 200
        assert http.delete("/admin/models/a").status_code == 200
        assert code(ask(http, "a")) == (404, "model_not_found")
    with served(folder=tmp_path) as running, httpx2.Client(base_url=running.url) as http:
        b, c = http.get("/admin/models").json()["models"]
        assert (b["name"], b["settings"]["max_batch"], b["changed"]) == ("b", 3, True)
        assert (c["name"], c["changed"]) == ("c", True)
        with Load(running.url, "c") as unchanged:
            check_sighup(tmp_path, running, http)
        assert set(unchanged.replies) == {(200, "c")}


def check_sighup(folder: Path, running: Served, http: httpx2.Client) -> None:
    kept = http.get("/v1/models/c").json()
    edited = TOML.replace("[models.a]\n[models.b]", "[models.e]\n[models.b]\nmax_batch = 7")
    write(folder, edited.replace("_ttl = 0", "_ttl = 1"))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.events("settings reloaded"))
    assert [model["id"] for model in http.get("/v1/models").json()["data"]] == ["e", "b", "c"]
    b = http.get("/admin/models/b").json()
    assert (b["settings"]["max_batch"], b["changed"]) == (7, False)
    assert http.get("/v1/models/c").json() == kept
    assert [event["silkline.model"] for event in running.events("model replaced")] == ["b"]
    [warning] = running.events("changed settings need a restart")
    assert warning["silkline.sections"] == ["cache"]

    (folder / "silkline.toml").write_text("[models.b]\nmax_batch = 0\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.events("the settings are invalid; the models stay"))
    assert ids(http) == {"b", "c", "e"}


async def test_the_only_model_stays_but_may_be_replaced() -> None:
    """Also the one of `[engine]`, whose name only its engine knows."""
    settings = Settings(
        engine=EngineSettings(engine="fake"), admin=AdminSettings(admin_without_keys="loopback")
    )
    deployment = await create_models(settings)
    app = create_app(settings, deployment, Lifecycle())
    transport = httpx2.ASGITransport(app=app)
    async with (
        aclosing(deployment),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        await deployment.start()
        [only] = (await http.get("/admin/models")).json()["models"]
        assert only["name"] == "silkline-fake"
        assert code(await http.delete("/admin/models/silkline-fake")) == (409, "model_conflict")
        replaced = await http.put("/admin/models/silkline-fake", json={"max_batch": 2})
        assert replaced.status_code == 200, replaced.text
        [only] = (await http.get("/v1/models")).json()["data"]
        assert only["id"] == "silkline-fake"
        assert deployment.models.default.admission.snapshot().capacity == 4
