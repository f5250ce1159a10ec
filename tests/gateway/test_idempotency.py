"""The layer that executes keyed requests once, over a real socket."""

import asyncio
import logging
import os
import tracemalloc

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.errors import Overloaded
from silkline.gateway.idempotency.fingerprint import fingerprint
from silkline.gateway.idempotency.layer import MAX_BODY_BYTES
from silkline.gateway.idempotency.saved import SavedAnswer, decode_saved
from silkline.idempotency.base import Claim, Found, store_unavailable
from silkline.idempotency.memory import MemoryKeys
from tests.engines.asking import eventually
from tests.gateway.keyed import CHAT, Keyed, keyed

REPLAYED = "idempotent-replayed"


def code(response: httpx2.Response) -> str:
    return str(response.json()["error"]["code"])


@pytest.mark.parametrize("path", [CHAT, "/predict"])
async def test_a_second_request_gets_the_first_ones_answer(path: str) -> None:
    async with keyed() as server:
        first = await server.post("ask", path=path)
        again = await server.post("ask", path=path)
        assert (first.status_code, first.text) == (again.status_code, again.text) == (200, "1")
        assert REPLAYED not in first.headers
        assert again.headers[REPLAYED] == "true"
        assert again.headers["x-silkline-cache"] == "miss"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert len(again.headers.get_list("x-request-id")) == 1
        assert again.headers["x-request-id"] != first.headers["x-request-id"]
        assert (await server.post("ask", "two", path)).text == "2"


@pytest.mark.parametrize(("path", "key"), [(CHAT, None), ("/other", "one")])
async def test_without_a_key_or_elsewhere_each_is_executed(path: str, key: str | None) -> None:
    async with keyed() as server:
        assert [(await server.post("ask", key, path)).text for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize(("body", "path"), [("ask more", CHAT), ("ask", "/predict")])
async def test_another_request_with_the_key_is_refused(body: str, path: str) -> None:
    async with keyed() as server:
        await server.post("ask")
        refused = await server.post(body, path=path)
        assert (refused.status_code, code(refused)) == (422, "idempotency_key_reused")
        assert (await server.post("ask")).text == "1"
        assert server.executions == ["ask"]


async def test_a_duplicate_in_progress_is_told_when_to_come_again() -> None:
    async with keyed() as server:
        first = asyncio.create_task(server.post("hold"))
        await eventually(lambda: server.executions == ["hold"])
        duplicates = await asyncio.gather(*(server.post("hold") for _ in range(5)))
        assert {(each.status_code, code(each)) for each in duplicates} == {
            (409, "duplicate_in_progress")
        }
        assert int(duplicates[0].headers["retry-after"]) >= 1
        other = await server.post("ask")
        assert (other.status_code, code(other)) == (422, "idempotency_key_reused")
        server.gate.set()
        assert (await first).text == (await server.post("hold")).text == "1"
        counts = {outcome.value: count for outcome, count in server.layer.snapshot().items()}
        assert counts == {"executed": 1, "replayed": 1, "in_progress": 5, "reused": 1}


@pytest.mark.parametrize(("body", "status", "kept"), [
    ("wrong", 400, True), ("away", 400, False), ("defect", 500, False), ("busy", 503, False),
    ("long 1048576", 200, True), ("long 1048577", 200, False),
])  # fmt: skip
async def test_what_would_only_repeat_is_kept(body: str, status: int, kept: bool) -> None:
    async with keyed() as server:
        responses = [await server.post(body) for _ in range(2)]
        assert {each.status_code for each in responses} == {status}
        assert responses[0].content == responses[1].content
        assert len(server.executions) == (1 if kept else 2)
        assert (REPLAYED in responses[1].headers) == kept
    assert MAX_BODY_BYTES == 1048576


async def test_a_stream_is_replayed_as_a_stream() -> None:
    async with keyed() as server:
        first, again = [await server.post("stream") for _ in range(2)]
        assert first.text == again.text
        assert again.text.endswith("data: [DONE]\n\n")
        assert again.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert server.executions == ["stream"]


@pytest.mark.parametrize("failure", ["busy", "away", "defect"])
async def test_a_stream_that_may_end_better_is_executed_again(failure: str) -> None:
    async with keyed() as server:
        first, again = [await server.post(f"stream and {failure}") for _ in range(2)]
        assert "event: error" in first.text
        assert '"count":2' in again.text


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\tb"])
async def test_a_malformed_key_is_refused(key: str) -> None:
    async with keyed() as server:
        headers = {b"Idempotency-Key": key.encode()}
        refused = await server.client.post(CHAT, content="ask", headers=headers)
        assert (refused.status_code, code(refused)) == (400, "invalid_request")
        twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "a")]
        assert (await server.client.post(CHAT, content="ask", headers=twice)).status_code == 400
        assert not server.executions


@pytest.mark.parametrize("key", ["~", "a key with   spaces", "x" * 255, '"8e03978e-40d5-43dd"'])
async def test_any_printable_key_is_taken(key: str) -> None:
    async with keyed() as server:
        assert [(await server.post("ask", key)).text for _ in range(2)] == ["1", "1"]


async def test_an_altered_answer_is_executed_again() -> None:
    class Altered(MemoryKeys):
        """Gives back what it kept with one bit turned."""

        async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
            broken = answer[:-1] + bytes([answer[-1] ^ 1])
            return await super().finish(key, claim, broken, ttl_seconds)

    async with keyed(Altered()) as server:
        assert [(await server.post("ask")).text for _ in range(2)] == ["1", "2"]


async def test_a_long_execution_keeps_its_claim_and_a_dead_one_does_not() -> None:
    store = MemoryKeys()
    async with keyed(store, lease_seconds=0.3) as server:
        first = asyncio.create_task(server.post("hold"))
        await asyncio.sleep(1.0)
        assert (await server.post("hold")).status_code == 409
        server.gate.set()
        assert (await first).status_code == 200


async def test_a_store_that_does_not_serve_refuses_before_work_begins() -> None:
    class Failing(MemoryKeys):
        async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> None:
            raise store_unavailable()

    async with keyed(Failing()) as server:
        refused = await server.post("ask")
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert (await server.post("ask", None)).status_code == 200
        assert server.executions == ["ask"]


async def test_a_store_that_fails_at_the_end_does_not_cost_the_answer() -> None:
    class Forgetful(MemoryKeys):
        async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
            raise Overloaded("gone")

    async with keyed(Forgetful()) as server:
        assert [(await server.post("ask")).text for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("body", ["ask", "stream"])
async def test_who_has_the_whole_answer_finds_it_kept(body: str) -> None:
    class Slow(MemoryKeys):
        async def finish(self, key: bytes, claim: Claim, answer: bytes, ttl_seconds: float) -> bool:
            await asyncio.sleep(0.1)
            return await super().finish(key, claim, answer, ttl_seconds)

    async with keyed(Slow()) as server:
        assert [(await server.post(body)).status_code for _ in range(2)] == [200, 200]
        assert server.executions == [body]


async def send(server: Keyed, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    await writer.drain()
    return reader, writer


def head(length: int) -> bytes:
    return (
        f"POST {CHAT} HTTP/1.1\r\nhost: x\r\nidempotency-key: one\r\n"
        f"content-length: {length}\r\n\r\n"
    ).encode()


async def test_a_request_that_is_lost_on_the_way_is_not_executed() -> None:
    async with keyed() as server:
        for part in (b"", b"h", b"hol"):
            _, writer = await send(server, head(4) + part)
            await asyncio.sleep(0.02)
            writer.transport.abort()
        assert not server.executions
        server.gate.set()
        assert (await server.post("hold")).text == "1"


async def test_a_reply_that_is_lost_is_there_for_the_next_attempt() -> None:
    async with keyed() as server:
        _, writer = await send(server, head(4) + b"hold")
        await eventually(lambda: server.executions == ["hold"])
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert (await server.post("hold")).status_code == 409
        server.gate.set()
        await asyncio.sleep(0.05)
        again = await server.post("hold")
        assert (again.status_code, again.text) == (200, "1")
        assert server.executions == ["hold"]


def form(boundary: str, prompt: str) -> bytes:
    fields = f'--{boundary}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{prompt}\r\n'
    return f"{fields}--{boundary}--\r\n".encode()


def scope(boundary: str) -> dict[str, object]:
    kind = f'multipart/form-data; boundary="{boundary}"'.encode()
    return {"method": "POST", "path": "/predict", "headers": [(b"content-type", kind)]}


def test_the_boundary_of_a_form_is_no_part_of_the_request() -> None:
    def digest(boundary: str, prompt: str, tenant: str = "t") -> bytes:
        return fingerprint(scope(boundary), form(boundary, prompt), tenant)

    assert digest("one", "What?") == digest("another", "What?")
    assert digest("one", "What?") != digest("one", "Why?")
    assert digest("one", "What?") != digest("one", "What?", "u")


def test_a_boundary_that_is_all_over_the_body_takes_no_memory() -> None:
    body = b"a" * 2_000_000
    tracemalloc.start()
    try:
        assert fingerprint(scope("a"), body, "t") != fingerprint(scope("a"), body[1:], "t")
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body) + 100_000
    finally:
        tracemalloc.stop()


@given(
    st.builds(
        SavedAnswer,
        st.integers(100, 599),
        st.lists(st.tuples(st.binary(), st.binary())),
        st.binary(),
        st.none() | st.text(),
    )
)
def test_saved_answers_come_back(answer: SavedAnswer) -> None:
    assert decode_saved(answer.encode()) == answer


@given(st.binary())
def test_nonsense_is_no_saved_answer(data: bytes) -> None:
    assert decode_saved(data + os.urandom(1)) is None


class BrokenKeys(MemoryKeys):
    """A store with a defect, as where the system refuses it a thread."""

    async def claim(self, key: bytes, claim: Claim, lease_seconds: float) -> Found | None:
        raise RuntimeError("can't start new thread")


async def test_a_defect_before_the_routes_is_told_as_one_in_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with keyed(BrokenKeys()) as server:
        reply = await server.post("a")
        assert reply.status_code == 500
        assert reply.json()["error"]["code"] == "internal_error"
        assert reply.headers["x-request-id"]
        assert (await server.post("a", key=None)).status_code == 200
    told = [vars(record)["ecs"] for record in caplog.records if record.getMessage() == "request"]
    assert [fields["http.response.status_code"] for fields in told] == [500, 200]
