"""Tenants' files and batches, their limits, cancelling, and live requests beside a batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import openai as openai_client
import pytest
from openai import OpenAI

from silkline.gateway.keys import fragment, new_key
from tests.campaign.standing import metrics
from tests.gateway.batches.jobs import create, ended, line, results, upload
from tests.serving import Served, served

SETTINGS = """
[auth]
keys_file = "keys.toml"

[engine]
engine = "fake"
max_batch = 4
engine_options = { answer_words = "20", token_seconds = "0.005" }

[cache]
cache_ttl = 0

[batch]
batch_folder = "batches"
batch_tenant_bytes = 400000
batch_tenant_batches = 2
"""

NORTH, SOUTH = new_key(), new_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "silkline.toml").write_text(SETTINGS, encoding="utf-8")
    tenants = '[tenants.north]\npaths = ["/v1/", "/metrics"]\n\n'
    keys = tenants + fragment("north", NORTH, None) + fragment("south", SOUTH, None)
    (folder / "keys.toml").write_text(keys, encoding="utf-8")
    with served(folder=folder) as running:
        yield running


def opened(server: Served, key: str) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


@pytest.fixture
def north(server: Served) -> Iterator[OpenAI]:
    with opened(server, NORTH) as client:
        yield client


@pytest.fixture
def south(server: Served) -> Iterator[OpenAI]:
    with opened(server, SOUTH) as client:
        yield client


def test_a_tenant_finds_only_its_own(north: OpenAI, south: OpenAI) -> None:
    batch = ended(north, create(north, [line("a", "text")]).id)
    assert batch.output_file_id is not None
    assert batch.id not in [one.id for one in south.batches.list()]
    assert batch.output_file_id not in [one.id for one in south.files.list()]
    for ask in (
        lambda: south.batches.retrieve(batch.id),
        lambda: south.batches.cancel(batch.id),
        lambda: south.files.retrieve(batch.output_file_id or ""),
        lambda: south.files.content(batch.output_file_id or ""),
        lambda: south.files.delete(batch.input_file_id),
        lambda: south.batches.create(
            input_file_id=batch.input_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        ),
    ):
        with pytest.raises(openai_client.NotFoundError):
            ask()
    with pytest.raises(openai_client.BadRequestError, match="purpose"):
        north.batches.create(
            input_file_id=batch.output_file_id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
        )


def test_what_was_answered_before_a_cancel_is_kept(north: OpenAI) -> None:
    lines = [line(f"id-{n}", f"text {n}") for n in range(60)]
    batch = create(north, lines)
    with pytest.raises(openai_client.BadRequestError, match="not ended"):
        north.files.delete(batch.input_file_id)
    while not (found := north.batches.retrieve(batch.id)).request_counts.completed:  # type: ignore[union-attr]
        time.sleep(0.02)
    assert found.status == "in_progress"
    assert north.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    found = ended(north, batch.id)
    assert found.status == "cancelled"
    answered, others = results(north, found.output_file_id), results(north, found.error_file_id)
    assert found.request_counts is not None
    assert found.request_counts.completed == len(answered) > 0
    assert {one["error"]["code"] for one in others} == {"batch_cancelled"}
    ids = [one["custom_id"] for one in answered + others]
    assert sorted(ids) == sorted(one["custom_id"] for one in lines)
    with pytest.raises(openai_client.BadRequestError, match="no longer be cancelled"):
        north.batches.cancel(batch.id)


def test_a_tenant_has_only_so_much(north: OpenAI, south: OpenAI) -> None:
    lines = [line(f"{n}", "text") for n in range(600)]
    held = [create(south, lines).id for _ in range(2)]
    with pytest.raises(openai_client.RateLimitError, match="2 batches"):
        create(south, lines[:1])
    assert ended(north, create(north, lines[:1]).id).status == "completed"
    with pytest.raises(openai_client.APIStatusError, match="Your files have") as full:
        [upload(south, ["x" * 110_000]) for _ in range(4)]
    assert full.value.status_code == 413
    for batch in held:
        south.batches.cancel(batch)
        ended(south, batch)


def test_a_batch_makes_room_for_live_requests(server: Served, north: OpenAI) -> None:
    batch = create(north, [line(f"{n}", f"text {n}") for n in range(40)])
    while north.batches.retrieve(batch.id).status != "in_progress":
        time.sleep(0.02)
    answers: list[str] = []

    def live(number: int) -> None:
        with opened(server, SOUTH) as client:
            for turn in range(4):
                text = f"live {number} {turn}"
                found = client.chat.completions.create(
                    model="silkline-fake", messages=[{"role": "user", "content": text}]
                )
                answers.append(found.choices[0].message.content or "")

    threads = [threading.Thread(target=live, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 24
    assert metrics(server.url, NORTH)["silkline_batch_preempted_total"] > 0
    found = ended(north, batch.id)
    assert len(results(north, found.output_file_id)) == 40
