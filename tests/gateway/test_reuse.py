"""Reuse inside an engine, as clients see it: through gateway and worker, tenant by tenant."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from silkline.gateway.keys import fragment, new_key
from tests.gateway.asking import messages
from tests.gateway.keyrings import bearer
from tests.pictures import data_url, encoded
from tests.serving import served

pytest.importorskip("openvino_genai")
pytestmark = pytest.mark.slow

TENANTS = ("one", "two")


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, httpx2.Client]]:
    """A client of each tenant of one server."""
    keys = {name: new_key() for name in TENANTS}
    file = tmp_path_factory.mktemp("keys") / "keys.toml"
    parts = [f"[tenants.{name}]\n\n{fragment(name, key, None)}" for name, key in keys.items()]
    file.write_text("".join(parts), encoding="utf-8")
    with served("--engine", "openvino", "--keys-file", str(file)) as running:
        made = {
            name: httpx2.Client(base_url=running.url, timeout=60, headers=bearer(key))
            for name, key in keys.items()
        }
        yield made
        for client in made.values():
            client.close()


def usage(client: httpx2.Client, text: str, **headers: str) -> Any:
    model = client.get("/v1/models").json()["data"][0]["id"]
    image = data_url(encoded(width=96, height=96, colour="green"))
    body = {"model": model, "messages": messages(image, text=text), "max_tokens": 8}
    given = client.post("/v1/chat/completions", json=body, headers=headers)
    assert given.status_code == 200, given.text
    return given.json()["usage"]


def cached(client: httpx2.Client, text: str, **headers: str) -> int:
    return int(usage(client, text, **headers)["prompt_tokens_details"]["cached_tokens"])


def test_a_second_question_about_an_image_reports_what_it_reused(
    clients: dict[str, httpx2.Client],
) -> None:
    one, two = (clients[name] for name in TENANTS)
    private = {"cache-control": "no-store"}
    assert cached(one, "What is this?", **private) == 0
    assert cached(one, "Which colour is it?") == 0, "a private question leaves nothing behind"
    second = usage(one, "How many are there?")
    assert 0 < second["prompt_tokens_details"]["cached_tokens"] < second["prompt_tokens"]
    assert cached(one, "Is it large?", **private) == 0
    assert cached(two, "How large is it?") == 0, "another tenant's image"
    assert cached(two, "Is it small?") > 0


def test_other_faces_report_it_in_their_own_fields(clients: dict[str, httpx2.Client]) -> None:
    client = clients["one"]
    cached(client, "Where is it?")
    model = client.get("/v1/models").json()["data"][0]["id"]
    url = data_url(encoded(width=96, height=96, colour="green"))
    parts = [{"type": "input_image", "image_url": url}, {"type": "input_text", "text": "Why?"}]
    body = {"model": model, "input": [{"role": "user", "content": parts}], "max_output_tokens": 8}
    given = client.post("/v1/responses", json=body).json()
    assert given["usage"]["input_tokens_details"]["cached_tokens"] > 0
    source = {"type": "base64", "media_type": "image/jpeg", "data": url.partition(",")[2]}
    blocks = [{"type": "image", "source": source}, {"type": "text", "text": "And when?"}]
    told = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": blocks}]}
    answer = client.post("/v1/messages", json=told, headers={"anthropic-version": "2023-06-01"})
    assert answer.json()["usage"]["cache_read_input_tokens"] > 0
