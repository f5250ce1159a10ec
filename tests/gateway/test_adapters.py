"""LoRA adapters over HTTP: models of their own beside the base whose engines they use."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.gateway.test_admin import Load, ask, code, ids, until
from tests.models.lora_files import write_lora
from tests.serving import Served, served

STAND_IN = Path(__file__).parents[1] / "engines" / "managed" / "stand_in.py"

TOML = """
[engine]
engine = "fake"

[cache]
cache_memory_bytes = 10000000

[admin]
admin_without_keys = "loopback"
allowed_models = ["FOLDER"]

[models.big]
engine = "vllm"
model = "silkline-mini"
engine_options = { command = "PYTHON STAND_IN vllm" }

[models.formal]
base = "big"
adapter = "FOLDER/formal"
aliases = ["polite"]

[models.other]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("formal", "brief", "wide")):
        write_lora(folder / name, 32, seed=seed)
    (folder / "wide" / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    text = TOML.replace("FOLDER", str(folder)).replace("PYTHON", sys.executable)
    (folder / "silkline.toml").write_text(text.replace("STAND_IN", str(STAND_IN)))
    return folder


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Served]:
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def http(running: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=running.url, timeout=60) as client:
        yield client
        client.delete("/admin/models/brief")


def told(http: httpx2.Client, model: str, text: str = "hi") -> str:
    reply = ask(http, model, text)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


def entry(http: httpx2.Client, model: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/v1/models/{model}").json()
    return found


def test_it_is_listed_with_its_base_and_a_revision_of_its_own(http: httpx2.Client) -> None:
    base, formal = entry(http, "big"), entry(http, "formal")
    assert (base["parent"], base["root"]) == (None, "big")
    assert (formal["parent"], formal["root"], formal["id"]) == ("big", "big", "formal")
    assert formal["revision"] != base["revision"]
    same = {"engine", "context_length", "image_tokens", "capabilities", "features"}
    assert {name: formal[name] for name in same} == {name: base[name] for name in same}


def test_its_answers_are_its_own_also_from_the_cache(http: httpx2.Client) -> None:
    first = [told(http, name) for name in ("big", "formal", "polite")]
    assert first[1] == first[2] != first[0]
    assert [told(http, name) for name in ("big", "formal", "polite")] == first
    assert ask(http, "formal").headers["x-silkline-model"].startswith("formal@")


def test_its_requests_wait_in_the_queue_of_its_base(http: httpx2.Client) -> None:
    told(http, "formal", "counted")
    metrics = http.get("/metrics").text
    assert 'silkline_queue_capacity{model="big"}' in metrics
    assert 'silkline_queue_capacity{model="formal"}' not in metrics
    assert 'silkline_model_loaded{model="formal"} 1' in metrics


def test_an_adapter_is_added_and_removed_while_its_base_serves(
    running: Served, http: httpx2.Client, folder: Path
) -> None:
    with Load(running.url, "big") as load:
        body = {"name": "brief", "base": "big", "adapter": str(folder / "brief")}
        added = http.post("/admin/models", json=body)
        assert added.status_code == 201, added.text
        assert "brief" in ids(http)
        assert told(http, "brief") not in {told(http, "big"), told(http, "formal")}
        assert http.delete("/admin/models/brief").status_code == 200
    assert {status for status, _ in load.replies} == {200}
    assert ask(http, "brief").status_code == 404


def test_replacing_the_base_keeps_its_adapters_and_loses_no_request(
    running: Served, http: httpx2.Client, folder: Path
) -> None:
    before = told(http, "formal", "again")
    with Load(running.url, "formal") as load:
        text = (folder / "silkline.toml").read_text()
        (folder / "silkline.toml").write_text(
            text.replace('engine = "vllm"', 'engine = "vllm"\nmax_batch = 3')
        )
        running.process.send_signal(signal.SIGHUP)
        until(lambda: http.get("/admin/models/big").json()["settings"].get("max_batch") == 3)
        until(lambda: len(http.get("/admin/models").json()["models"]) == 3)
    assert {status for status, _ in load.replies} == {200}
    assert told(http, "formal", "again") == before
    assert entry(http, "formal")["parent"] == "big"


@pytest.mark.parametrize(
    ("table", "expected", "said"),
    [
        ({"base": "big"}, (409, "model_conflict"), "both base and adapter"),
        ({"base": "big", "adapter": "formal", "threads": 1}, (409, "model_conflict"), "threads"),
        ({"base": "none", "adapter": "formal"}, (409, "model_conflict"), "none"),
        ({"base": "formal", "adapter": "formal"}, (409, "model_conflict"), "an adapter itself"),
        ({"base": "big", "adapter": "/etc"}, (403, "forbidden"), "allow"),
        ({"base": "big", "adapter": "wide"}, (422, "model_not_started"), "files or settings"),
        ({"base": "other", "adapter": "formal"}, (422, "model_not_started"), "files or settings"),
    ],
)
def test_what_cannot_be_an_adapter_is_refused_by_name(
    http: httpx2.Client, folder: Path, table: dict[str, Any],
    expected: tuple[int, str], said: str,
) -> None:  # fmt: skip
    if "adapter" in table and not table["adapter"].startswith("/"):
        table = {**table, "adapter": str(folder / table["adapter"])}
    reply = http.post("/admin/models", json={"name": "new", **table})
    assert code(reply) == expected
    assert said in reply.json()["error"]["message"]
    assert str(folder) not in reply.text
    assert "new" not in ids(http)


def test_an_engine_without_adapters_says_the_way_out(
    http: httpx2.Client, running: Served, folder: Path
) -> None:
    body = {"name": "new", "base": "other", "adapter": str(folder / "formal")}
    assert http.post("/admin/models", json=body).status_code == 422
    until(lambda: "silkline merge" in "".join(running.log), 5)


def test_a_base_with_adapters_is_not_removed(http: httpx2.Client) -> None:
    reply = http.delete("/admin/models/big")
    assert code(reply) == (409, "model_conflict")
    assert "formal" in reply.json()["error"]["message"]
