"""Streamed responses: their events, their order, and how they end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from openai import APIError, OpenAI

from tests.gateway.asking import MODEL
from tests.gateway.faces.responses.asking import RESPONSES, asked, checked_response, read_events
from tests.pictures import data_url, encoded
from tests.serving import Served, served

URL = data_url(encoded())

BEGIN = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
]
END = [
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


def streamed(http: httpx2.Client, **fields: Any) -> list[dict[str, Any]]:
    reply = http.post(RESPONSES, json=asked(URL, stream=True, **fields))
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    return read_events(reply.text)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, "completed"), ({"max_output_tokens": 3}, "incomplete")],
)
def test_the_events_of_a_text(http: httpx2.Client, fields: dict[str, Any], status: str) -> None:
    events = streamed(http, **fields)
    kinds = [event["type"] for event in events]
    assert kinds[:4] == BEGIN
    assert set(kinds[4:-4]) == {"response.output_text.delta"}
    assert len(kinds[4:-4]) > 1
    assert kinds[-4:] == [*END, f"response.{status}"]
    text = "".join(event["delta"] for event in events[4:-4])
    assert events[-4]["text"] == text
    item = events[-2]["item"]
    assert item["content"][0]["text"] == text
    assert item["status"] == status
    response = events[-1]["response"]
    assert response["output"] == [item]
    assert response["status"] == status
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "in_progress"
    assert events[0]["response"]["id"] == response["id"]
    assert {event.get("item_id", item["id"]) for event in events} == {item["id"]}


def test_a_stream_ends_with_the_whole_response(http: httpx2.Client) -> None:
    whole = http.post(RESPONSES, json=asked(URL)).json()
    last = checked_response(streamed(http)[-1]["response"])

    def comparable(response: dict[str, Any]) -> dict[str, Any]:
        own = {"id", "created_at", "completed_at", "silkline", "output"}
        return {name: value for name, value in response.items() if name not in own}

    assert comparable(last) == comparable(whole)
    assert last["output"][0]["content"] == whole["output"][0]["content"]
    assert set(last["silkline"]) == set(whole["silkline"])


def test_the_official_client_reads_a_stream(openai: OpenAI) -> None:
    with openai.responses.stream(model=MODEL, input="Hello") as stream:
        snapshots = [event.snapshot for event in stream if event.type.endswith("text.delta")]  # type: ignore[union-attr]
        response = stream.get_final_response()
    assert len(snapshots) > 3
    assert snapshots[-1] == response.output_text
    assert response.output_text == openai.responses.create(model=MODEL, input="Hello").output_text


def test_an_empty_answer_streams_an_empty_message(http: httpx2.Client) -> None:
    text = http.post(RESPONSES, json=asked(URL)).json()["output"][0]["content"][0]["text"]
    events = streamed(http, stop=text.split()[0])
    assert [event["type"] for event in events] == [*BEGIN, *END, "response.completed"]


def test_an_error_before_the_first_event_is_a_plain_error(http: httpx2.Client) -> None:
    reply = http.post(RESPONSES, json=asked(data_url(b"text"), stream=True))
    assert reply.status_code == 415
    error = reply.json()["error"]
    assert error["code"] == "image_format"
    assert error["param"] == "input.0.content.0.image_url"


@pytest.fixture(scope="module")
def failing() -> Iterator[Served]:
    options = "fault_after_tokens=3,oom_on_text=<<oom>>"
    with served("--engine", "fake", "--engine-options", options) as running:
        yield running


def test_an_error_after_the_first_event_ends_the_stream(failing: Served) -> None:
    body = asked(question="<<oom>>", stream=True)
    events = read_events(httpx2.post(f"{failing.url}{RESPONSES}", json=body, timeout=30).text)
    assert [event["type"] for event in events][:4] == BEGIN
    assert [event["type"] for event in events][-2:] == ["error", "response.failed"]
    error, failed = events[-2:]
    assert error["code"] == error["error"]["code"] == "overloaded"
    assert "not enough memory" in error["message"]
    response = checked_response(failed["response"])
    assert response["status"] == "failed"
    assert response["error"]["message"] == error["message"]
    assert response["output"][0]["id"] == events[2]["item"]["id"]
    deadline = time.monotonic() + 10
    while not (logged := failing.events("request")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert logged[-1]["error.code"] == "overloaded"


def test_the_official_client_raises_an_error_in_a_stream(failing: Served) -> None:
    with (
        OpenAI(base_url=f"{failing.url}/v1", api_key="none", max_retries=0) as client,
        pytest.raises(APIError, match="not enough memory"),
    ):
        list(client.responses.create(model=MODEL, input="<<oom>>", stream=True))
