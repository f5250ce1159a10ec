"""Batches on a real server, with the official client."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai as openai_client
import pytest
from openai import OpenAI

from tests.gateway.batches.jobs import CHAT, create, ended, line, results, text_of, upload
from tests.serving import Served, served

SETTINGS = """
[engine]
engine = "fake"
engine_options = { mode = "echo", crash_on_text = "<<crash>>" }

[batch]
batch_folder = "batches"
batch_lines = 2000
batch_file_bytes = 1000000
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("batches")
    (folder / "silkline.toml").write_text(SETTINGS, encoding="utf-8")
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def client(server: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def test_each_line_has_one_result_by_its_id(client: OpenAI) -> None:
    lines = [line(f"id-{number}", f"text {number}") for number in range(200)]
    lines[7]["body"]["messages"] = []
    lines[9]["body"]["model"] = "no-such-model"
    batch = create(client, lines, metadata={"shop": "north"})
    assert (batch.status, batch.endpoint, batch.metadata) == ("validating", CHAT, {"shop": "north"})
    batch = ended(client, batch.id)
    assert batch.status == "completed"
    counts = batch.request_counts
    assert counts is not None
    assert (counts.total, counts.completed, counts.failed) == (200, 198, 2)
    answers = {one["custom_id"]: text_of(one) for one in results(client, batch.output_file_id)}
    assert answers == {f"id-{n}": f"text {n}" for n in range(200) if n not in {7, 9}}
    failures = {one["custom_id"]: one for one in results(client, batch.error_file_id)}
    assert failures["id-7"]["response"]["status_code"] == 400
    assert failures["id-9"]["response"]["body"]["error"]["code"] == "model_not_found"
    assert failures.keys() == {"id-7", "id-9"}


def test_a_batch_may_ask_every_route_that_answers(client: OpenAI) -> None:
    for url, body in (
        ("/v1/completions", {"prompt": "once"}),
        ("/v1/responses", {"input": "once"}),
    ):
        asked = {"custom_id": "a", "method": "POST", "url": url, "body": body}
        batch = ended(client, create(client, [asked], endpoint=url).id)
        (result,) = results(client, batch.output_file_id)
        assert result["response"]["status_code"] == 200, result
        assert "once" in str(result["response"]["body"])
    with pytest.raises(openai_client.BadRequestError) as refused:
        create(client, [line("a", "b")], endpoint="/v1/embeddings")
    assert "/v1/embeddings" in refused.value.message
    assert refused.value.param == "endpoint"


@pytest.mark.parametrize(
    ("wrong", "code", "param"),
    [
        (line("id-1", "twice"), "duplicate_custom_id", "custom_id"),
        ({**line("", "none")}, "missing_custom_id", "custom_id"),
        ("{broken", "invalid_json_line", None),
        ("[1]", "invalid_json_line", None),
        ({**line("x", "x"), "method": "GET"}, "invalid_method", "method"),
        (line("x", "x", url="/v1/completions"), "invalid_url", "url"),
        (line("x", "x", stream=True), "stream_not_supported", "body.stream"),
        ({"custom_id": "x", "method": "POST", "url": CHAT}, "missing_body", "body"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_run(
    client: OpenAI, wrong: dict[str, object] | str, code: str, param: str | None
) -> None:
    lines: list[dict[str, object] | str] = [line(f"id-{n}", "text") for n in range(1200)]
    lines[999] = wrong
    batch = ended(client, create(client, lines).id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    (problem,) = batch.errors.data
    assert (problem.code, problem.line, problem.param) == (code, 1000, param)
    assert batch.output_file_id is None


def test_a_file_needs_requests_and_not_too_many(client: OpenAI) -> None:
    for count, code in ((0, "empty_file"), (2001, "too_many_requests")):
        lines: list[dict[str, Any] | str] = [line(f"{n}", "t") for n in range(count)]
        lines = lines or ["", " "]
        batch = ended(client, create(client, lines).id)
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert [one.code for one in batch.errors.data] == [code]


def test_a_line_that_kills_the_worker_fails_alone(client: OpenAI) -> None:
    lines = [line(f"{n}", f"text {n}") for n in range(20)]
    lines[3] = line("3", "<<crash>>")
    batch = ended(client, create(client, lines).id, 120)
    assert batch.request_counts is not None
    assert batch.request_counts.completed == 19
    (failure,) = results(client, batch.error_file_id)
    assert failure["custom_id"] == "3"
    assert failure["response"]["body"]["error"]["code"] == "quarantined"


def test_files_are_listed_shown_and_deleted(client: OpenAI) -> None:
    first, second = upload(client, ["a"]), upload(client, ["b"])
    listed = [one.id for one in client.files.list(limit=2)]
    assert listed[:2] == [second, first]
    assert client.files.content(first).text == "a"
    shown = client.files.retrieve(first)
    assert (shown.bytes, shown.filename, shown.purpose) == (1, "in.jsonl", "batch")
    assert client.files.delete(first).deleted
    with pytest.raises(openai_client.NotFoundError) as gone:
        client.files.content(first)
    assert gone.value.code == "file_not_found"


def test_files_have_limits(client: OpenAI) -> None:
    with pytest.raises(openai_client.APIStatusError) as large:
        upload(client, ["x" * 1_100_000])
    assert large.value.status_code == 413
    with pytest.raises(openai_client.BadRequestError) as purpose:
        client.files.create(file=("a.jsonl", b"a"), purpose="vision")
    assert purpose.value.param == "purpose"


def test_without_a_folder_the_routes_say_so(tmp_path: Path) -> None:
    with (
        served("--engine", "fake", folder=tmp_path) as running,
        OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(openai_client.NotFoundError, match="batch_folder"),
    ):
        client.batches.list()


def test_a_full_disk_leaves_no_torn_file(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(SETTINGS, encoding="utf-8")
    with (
        served(folder=tmp_path) as running,
        OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
    ):
        kept = upload(client, ["a"])
        # A limit on the size of a file fails as a full disk does, for this process alone.
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (300_000, 300_000))
        with pytest.raises(openai_client.APIStatusError) as full:
            upload(client, ["x" * 800_000])
        assert (full.value.status_code, full.value.code) == (507, "insufficient_storage")
        assert client.files.content(kept).text == "a"
        assert [one.name for one in (tmp_path / "batches" / "files").iterdir()] == [kept]
        assert ended(client, create(client, [line("a", "text")]).id).status == "completed"
