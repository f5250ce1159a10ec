"""A cascade over HTTP: a model of its own name beside the two that it asks."""

import json
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest

from tests.serving import Served, served

SETTINGS = """
[engine]
engine = "fake"

[models.small]
engine_options = { answer_words = "3" }

[models.large]
engine_options = { answer_words = "5" }

[models.always]
cascade = ["small", "large"]
escalate_below = 1.0

[models.never]
cascade = ["small", "large"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("cascade")
    path = folder / "silkline.toml"
    path.write_text(SETTINGS)
    with served("--config", str(path), folder=folder) as running:
        yield running


def ask(server: Served, model: str, **more: object) -> tuple[str, str]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}
    request = Request(
        f"{server.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urlopen(request) as response:
        return response.read().decode(), response.headers["x-silkline-model"]


def words(text: str) -> int:
    return len(json.loads(text)["choices"][0]["message"]["content"].split())


def test_it_answers_under_its_own_name(server: Served) -> None:
    text, label = ask(server, "never")
    assert words(text) == 3
    assert label.startswith("never@")
    text, label = ask(server, "always")
    assert words(text) == 5
    assert label.startswith("always@")


def test_it_streams(server: Served) -> None:
    text, _ = ask(server, "always", stream=True, seed=7)
    assert text.rstrip().endswith("data: [DONE]")
    assert text.count('"content"') >= 5


def test_it_is_listed_with_the_others(server: Served) -> None:
    with urlopen(f"{server.url}/v1/models") as response:
        found = {model["id"]: model for model in json.load(response)["data"]}
    assert set(found) == {"small", "large", "always", "never"}
    assert found["never"]["engine"] == "cascade"
    assert found["never"]["revision"] != found["always"]["revision"]


def test_its_escalations_are_metrics(server: Served) -> None:
    ask(server, "always", seed=1)
    ask(server, "never", seed=1)
    with urlopen(f"{server.url}/metrics") as response:
        lines = response.read().decode().splitlines()
    counts = dict(line.rsplit(" ", 1) for line in lines if line.startswith("silkline_cascade_"))
    name = 'silkline_cascade_answers_total{{answered_by="{}",model="{}"}}'
    assert float(counts[name.format("large", "always")]) >= 1
    assert float(counts[name.format("small", "never")]) >= 1
    assert float(counts[name.format("large", "never")]) == 0
