"""Stored responses: conversations that continue, what is listed, who sees it, and the bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import APIStatusError, NotFoundError, OpenAI

from silkline.config import ResponseSettings
from silkline.gateway.faces.responses.store import Entry, ResponseStore, Stored
from silkline.gateway.keys import fragment, new_key
from tests.gateway.asking import MODEL
from tests.gateway.faces.responses.asking import RESPONSES, asked, checked_response, user
from tests.gateway.keyrings import bearer
from tests.pictures import data_url, encoded
from tests.serving import Served, served

URL = data_url(encoded())


@contextmanager
def client_of(*arguments: str) -> Iterator[OpenAI]:
    with (
        served("--engine", "fake", *arguments) as running,
        OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def caching() -> Iterator[Served]:
    with served("--engine", "fake") as running:
        yield running


def test_a_conversation_continues(caching: Served) -> None:
    with OpenAI(base_url=f"{caching.url}/v1", api_key="none", max_retries=0) as client:
        first = client.responses.create(**asked(URL, store=True, instructions="Be brief."))
        second = client.responses.create(
            input="And now?", previous_response_id=first.id, store=True
        )
        third = client.responses.create(
            input=[{"role": "user", "content": "At last?"}],
            previous_response_id=second.id,
            instructions="Be kind.",
        )
        assert second.previous_response_id == first.id
        whole = client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "system", "content": "Be kind."},
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": URL}},
                        {"type": "text", "text": "What is this?"},
                    ],
                },
                {"role": "assistant", "content": first.output_text},
                {"role": "user", "content": "And now?"},
                {"role": "assistant", "content": second.output_text},
                {"role": "user", "content": "At last?"},
            ],
        )
    assert whole.choices[0].message.content == third.output_text
    assert whole.silkline["cache"] == "hit"  # type: ignore[attr-defined]


def test_a_stored_response_is_what_was_sent(http: httpx2.Client) -> None:
    response = http.post(RESPONSES, json=asked(URL, store=True)).json()
    assert response["store"] is True
    stored = http.get(f"{RESPONSES}/{response['id']}")
    assert checked_response(stored.json()) == response


def test_a_streamed_response_is_stored_before_its_last_event(openai: OpenAI) -> None:
    for event in openai.responses.create(model=MODEL, input="Hello", store=True, stream=True):
        if event.type == "response.completed":
            assert (
                openai.responses.retrieve(event.response.id).to_dict() == event.response.to_dict()
            )


def test_nothing_is_stored_unless_asked(openai: OpenAI) -> None:
    unstored: list[dict[str, Any]] = [{}, {"store": False}]
    for fields in unstored:
        response = openai.responses.create(**asked(**fields))
        with pytest.raises(NotFoundError, match="is not stored"):
            openai.responses.retrieve(response.id)
        with pytest.raises(NotFoundError, match="store: true") as caught:
            openai.responses.create(input="And now?", previous_response_id=response.id)
        assert caught.value.param == "previous_response_id"
        assert caught.value.code == "response_not_found"


def test_a_deleted_response_is_gone_and_ends_its_conversation(openai: OpenAI) -> None:
    first = openai.responses.create(**asked(store=True))
    second = openai.responses.create(input="2", previous_response_id=first.id, store=True)
    openai.responses.delete(first.id)
    for gone in (first.id, "resp_" + "0" * 32, "\ud7ff", "x" * 300):
        with pytest.raises(NotFoundError):
            openai.responses.retrieve(gone)
        with pytest.raises(NotFoundError):
            openai.responses.delete(gone)
        with pytest.raises(NotFoundError):
            openai.responses.input_items.list(gone)
    assert openai.responses.retrieve(second.id).output_text == second.output_text
    with pytest.raises(NotFoundError):
        openai.responses.create(input="3", previous_response_id=second.id)


def test_the_input_items_of_a_response(openai: OpenAI) -> None:
    sent: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "input_image", "image_url": URL}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "a mug"},
        {"type": "reasoning", "id": "rs_9", "summary": []},
        {"role": "user", "content": "What is it?"},
    ]
    response = openai.responses.create(model=MODEL, input=sent, store=True)
    items: list[Any] = list(openai.responses.input_items.list(response.id, order="asc", limit=3))
    assert [item.type for item in items] == [
        "message", "message", "message", "function_call", "function_call_output", "reasoning",
        "message",
    ]  # fmt: skip
    assert items[0].content[0].text == "Be brief."
    assert items[1].content[0].type == "output_text"
    assert items[2].content[0].image_url == URL
    assert items[5].id == "rs_9"
    assert len({item.id for item in items}) == 7
    newest = openai.responses.input_items.list(response.id, limit=2)
    assert [item.id for item in newest.data] == [items[6].id, items[5].id]
    assert newest.has_more
    last = openai.responses.input_items.list(response.id, after=items[1].id)
    assert [item.id for item in last.data] == [items[0].id]
    assert not last.has_more


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=", "limit"),
        ("limit=a", "limit"),
        ("limit=²", "limit"),
        ("limit=0001" + "9" * 4400, "limit"),
        ("limit=٣", "limit"),
        ("order=up", "order"),
        ("after=msg_1", "after"),
    ],
)
def test_a_wrong_page_is_refused(http: httpx2.Client, query: str, param: str) -> None:
    name = http.post(RESPONSES, json=asked(store=True)).json()["id"]
    reply = http.get(f"{RESPONSES}/{name}/input_items?{query}")
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param


def test_a_stored_response_is_not_streamed_again(http: httpx2.Client) -> None:
    name = http.post(RESPONSES, json=asked(store=True)).json()["id"]
    reply = http.get(f"{RESPONSES}/{name}?stream=true")
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "stream"


def test_items_are_found_by_reference(openai: OpenAI) -> None:
    first = openai.responses.create(**asked(URL, store=True))
    asked_item = openai.responses.input_items.list(first.id).data[0]
    sent: list[Any] = [
        {"type": "item_reference", "id": asked_item.id},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "And now?"},
    ]
    again = openai.responses.create(model=MODEL, input=sent, store=True)
    same = openai.responses.create(input="And now?", previous_response_id=first.id)
    assert again.output_text == same.output_text
    items = openai.responses.input_items.list(again.id, order="asc").data
    assert items[0] == asked_item
    assert items[1].id == first.output[0].id


@pytest.mark.parametrize("name", ["msg_1", "msg_" + "0" * 32 + "_0", "rs_" + "f" * 32 + "_in1"])
def test_an_unknown_reference_is_refused(openai: OpenAI, name: str) -> None:
    sent: list[Any] = [{"role": "user", "content": "?"}, {"type": "item_reference", "id": name}]
    with pytest.raises(NotFoundError, match="Send the item itself") as caught:
        openai.responses.create(model=MODEL, input=sent)
    assert caught.value.param == "input.1.id"


def test_a_repeated_reference_is_refused(openai: OpenAI) -> None:
    first = openai.responses.create(**asked(URL, store=True))
    reference = {"type": "item_reference", "id": first.output[0].id}
    sent: list[Any] = [reference, {"role": "user", "content": "?"}, reference]
    with pytest.raises(APIStatusError, match="refers to this item twice") as caught:
        openai.responses.create(model=MODEL, input=sent)
    assert caught.value.status_code == 400
    assert caught.value.param == "input.2.id"


@pytest.mark.slow
def test_a_reference_counts_beside_the_conversation() -> None:
    with client_of("--max-body-bytes", "20000") as client:
        first = client.responses.create(input="a" * 12_000, store=True)
        reference: Any = {"type": "item_reference", "id": first.output[0].id}
        assert client.responses.create(input="?", previous_response_id=first.id).output_text
        both: list[Any] = [reference, *user()]
        assert client.responses.create(input=both).output_text
        with pytest.raises(APIStatusError, match="at most 20000 are allowed") as caught:
            client.responses.create(input=[reference], previous_response_id=first.id)
        assert caught.value.status_code == 413


@pytest.mark.slow
def test_a_tenant_finds_only_its_own_responses(tmp_path: Path) -> None:
    keys = [new_key(), new_key()]
    file = tmp_path / "keys.toml"
    file.write_text(fragment("mine", keys[0], None) + fragment("other", keys[1], None))
    with (
        served("--engine", "fake", "--keys-file", str(file)) as running,
        httpx2.Client(base_url=running.url, timeout=30) as http,
    ):
        mine, other = map(bearer, keys)
        response = http.post(RESPONSES, json=asked(store=True), headers=mine).json()
        path = f"{RESPONSES}/{response['id']}"
        reference = {"type": "item_reference", "id": response["output"][0]["id"]}
        for body in (
            {"input": "?", "previous_response_id": response["id"]},
            {"input": [reference, {"role": "user", "content": "?"}]},
        ):
            assert http.post(RESPONSES, json=body, headers=mine).status_code == 200
            assert http.post(RESPONSES, json=body, headers=other).status_code == 404
            assert http.post(RESPONSES, json=body).status_code == 401
        for other_path in (path, f"{path}/input_items"):
            assert http.get(other_path, headers=other).status_code == 404
            assert http.get(other_path).status_code == 401
            assert http.get(other_path, headers=mine).status_code == 200
        assert http.delete(path, headers=other).status_code == 404
        assert http.delete(path).status_code == 401
        assert http.delete(path, headers=mine).json() == {
            "id": response["id"],
            "object": "response",
            "deleted": True,
        }


@pytest.mark.slow
def test_the_settings_say_when_responses_are_stored() -> None:
    with client_of("--response-store", "never") as client:
        assert client.responses.create(input="Hello").output_text
        with pytest.raises(APIStatusError, match="stores no responses") as caught:
            client.responses.create(input="Hello", store=True)
        assert caught.value.param == "store"
    with client_of("--response-store", "by_default") as client:
        stored = client.responses.create(input="Hello")
        assert client.responses.retrieve(stored.id).output_text == stored.output_text
        other = client.responses.create(input="Hello", store=False)
        with pytest.raises(NotFoundError):
            client.responses.retrieve(other.id)


@pytest.mark.slow
def test_a_file_keeps_responses(tmp_path: Path) -> None:
    arguments = ("--response-file", str(tmp_path / "folder" / "responses"))
    with client_of(*arguments) as client:
        first = client.responses.create(**asked(URL, store=True))
    with client_of(*arguments) as client:
        assert client.responses.retrieve(first.id).output_text == first.output_text
        assert client.responses.create(input="2", previous_response_id=first.id).output_text


@pytest.mark.slow
def test_a_file_that_cannot_be_used_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "responses").mkdir()
    with client_of("--response-file", str(tmp_path / "responses")) as client:
        response = client.responses.create(input="Hello", store=True)
        assert response.output_text
        assert response.to_dict()["store"] is False
        with pytest.raises(APIStatusError, match="store of responses is unavailable"):
            client.responses.retrieve(response.id)


@pytest.mark.slow
def test_a_conversation_is_bounded() -> None:
    with client_of("--max-messages", "4", "--max-body-bytes", "20000") as client:

        def continued(name: str | None, text: str) -> Any:
            return client.responses.create(input=text, previous_response_id=name, store=True)

        second = continued(continued(None, "1").id, "2")
        with pytest.raises(APIStatusError, match="at most 4 are allowed") as caught:
            continued(second.id, "3")
        assert caught.value.param == "input"
        second = continued(continued(None, "a" * 9000).id, "b" * 9000)
        with pytest.raises(APIStatusError, match="at most 20000 are allowed") as caught:
            continued(second.id, "3")
        assert caught.value.param == "previous_response_id"
        assert caught.value.status_code == 413


def stored(size: int) -> Stored:
    return Stored(b"[]", b"x" * (size - 2))


async def test_the_oldest_responses_of_the_largest_tenant_are_evicted() -> None:
    settings = ResponseSettings(response_count=4)
    store = ResponseStore(settings)
    await store.put("small", "s", "", stored(100))
    for number in range(5):
        await store.put("large", f"l{number}", "", stored(10))
    assert await store.load("small", "s") is not None
    found = [number for number in range(5) if await store.load("large", f"l{number}")]
    assert found == [2, 3, 4]
    await store.aclose()


async def test_the_bytes_are_bounded() -> None:
    settings = ResponseSettings(response_bytes=1024 * 1024)
    store = ResponseStore(settings)
    await store.put("small", "s", "", stored(1000))
    for number in range(4):
        assert await store.put("large", f"l{number}", "", stored(400_000))
    assert not await store.put("large", "l9", "", stored(1024 * 1024 + 1))
    assert await store.load("small", "s") is not None
    found = [number for number in range(4) if await store.load("large", f"l{number}")]
    assert found == [2, 3]
    await store.aclose()


async def test_responses_expire() -> None:
    now = [1000.0]
    store = ResponseStore(ResponseSettings(response_ttl=10), clock=lambda: now[0])
    await store.put("a", "1", "", stored(10))
    now[0] += 9
    await store.put("a", "2", "1", stored(20))
    assert await store.chain("a", "2", 5) == [Entry("2", 20, "1"), Entry("1", 10, "")]
    assert await store.chain("a", "2", 1) == [Entry("2", 20, "1")]
    assert await store.chain("b", "2", 5) == []
    now[0] += 1
    assert await store.load("a", "1") is None
    assert not await store.delete("a", "1")
    assert await store.chain("a", "2", 5) == [Entry("2", 20, "1")]
    assert await store.delete("a", "2")
    await store.aclose()
