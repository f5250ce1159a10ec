"""The request history's store: what is found, kept, evicted and deleted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from silkline.config import HistorySettings
from silkline.core import (
    Delta,
    FinishReason,
    Image,
    ImagePart,
    Message,
    Part,
    Role,
    TextPart,
    Usage,
)
from silkline.gateway.history.entry import Entry
from silkline.gateway.history.query import Query
from silkline.gateway.history.store import HistoryStore
from silkline.ingress.identity import Identity
from silkline.service.details import Content, Details
from tests.engines.asking import eventually

DAY = 86_400


@dataclass
class Clock:
    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


def entry(name: str, tenant: str = "acme", **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "id": name, "answer": "", "at": time.time(), "method": "POST", "path": "/predict",
        "status": 200, "seconds": 0.1, "tenant": tenant, "model": "mini@1a2b", "cache": "miss",
        "error": "", "reason": "", "timeline": {"prefill": 0.04}, "first_token_seconds": None,
        "asked": None, "images": [], "pixel_budgets": (), "attempts": [], "usage": Usage(7, 3),
        "finish": ["stop"], "received_bytes": 10, "sent_bytes": 20, "ignored": (), "keyed": False,
    }  # fmt: skip
    return Entry(**(values | fields))


def image(seed: int, side: int = 2) -> tuple[Image, Identity]:
    pixels = bytes((seed + n) % 256 for n in range(side * side * 3))
    digest = f"digest-{seed}-{side}"
    return Image(side, side, pixels, digest), Identity(digest, side * side, None)


def content(secret: str, *images: tuple[Image, Identity], computed: bool = True) -> Details:
    parts: tuple[Part, ...] = (*map(ImagePart, range(len(images))), TextPart(secret))
    kept = Content((Message(Role.USER, parts),), ("",) * len(images), [])
    if computed:
        kept.images = tuple(one for one, _ in images)
    kept.answers.append([Delta("A red "), Delta("mug.", FinishReason.STOP)])
    return Details(images=tuple(identity for _, identity in images), content=kept)


@asynccontextmanager
async def opened(clock: Clock | None = None, **settings: Any) -> AsyncGenerator[HistoryStore, None]:
    store = HistoryStore(HistorySettings(**settings), clock=clock or time.time)
    async with store.running():
        yield store


async def ids(store: HistoryStore, **query: Any) -> list[str]:
    return [found["id"] for found in (await store.find(Query(**query))).requests]


async def test_a_request_is_found_as_soon_as_it_has_ended() -> None:
    async with opened() as store:
        store.add(entry("a"), Details())
        found = await store.get("a")
        assert found is not None
        assert (found["status"], found["timeline"]) == (200, {"prefill": 0.04})
        assert (found["usage"]["prompt_tokens"], found["content"]) == (7, False)
        assert await store.get("b") is None


async def test_every_filter_finds_its_requests() -> None:
    async with opened() as store:
        now = time.time()
        store.add(entry("old", at=now - 100), Details())
        store.add(entry("slow", seconds=3.0), Details())
        store.add(entry("wrong", error="overloaded"), Details())
        store.add(entry("other", tenant="umbrella", model="big@ff", error="timeout"), Details())
        assert await ids(store) == ["other", "wrong", "slow", "old"]
        assert await ids(store, slow=3.0) == ["slow"]
        assert await ids(store, failed=True) == ["other", "wrong"]
        assert await ids(store, error="overloaded") == ["wrong"]
        assert await ids(store, tenant="umbrella") == ["other"]
        assert await ids(store, model="big") == await ids(store, model="big@ff") == ["other"]
        assert await ids(store, model="bi") == []
        assert await ids(store, since=now - 50) == ["other", "wrong", "slow"]
        assert await ids(store, failed=True, tenant="acme") == ["wrong"]


async def test_pages_are_disjoint_and_complete_while_requests_arrive() -> None:
    async with opened() as store:
        for number in range(7):
            store.add(entry(str(number)), Details())
        seen: list[str] = []
        cursor: int | None = None
        for _ in range(4):
            page = await store.find(Query(limit=2, before=cursor))
            seen += [found["id"] for found in page.requests]
            cursor = page.next
            store.add(entry("new"), Details())
        assert seen == ["6", "5", "4", "3", "2", "1", "0"]
        assert cursor is None


async def test_a_tenant_with_many_requests_evicts_only_its_own() -> None:
    async with opened(history_count=10) as store:
        for number in range(4):
            store.add(entry(f"a{number}"), Details())
        for number in range(50):
            store.add(entry(f"b{number}", tenant="busy"), Details())
            store.add(entry(f"x{number}", tenant=""), Details())
        assert await ids(store, tenant="acme") == ["a3", "a2", "a1", "a0"][: 10 // 3]
        assert await ids(store, tenant="busy") == ["b49", "b48", "b47"]
        assert len(await ids(store)) <= 10


async def test_no_request_is_kept_where_the_history_is_off() -> None:
    async with opened(history_count=0, history_content={"acme": 60}) as store:
        store.add(entry("a"), content("secret"))
        assert await ids(store) == []


async def test_requests_and_content_end_with_their_age() -> None:
    clock = Clock()
    async with opened(clock, history_ttl=DAY, history_content={"acme": 60}) as store:
        store.add(entry("a"), content("secret", image(1)))
        assert await store.content("a") is not None
        assert await store.image("a", 0) is not None
        clock.now += 61
        assert await store.content("a") is None
        assert await store.image("a", 0) is None
        found = await store.get("a")
        assert found is not None
        assert found["content"] is False
        clock.now += DAY
        assert await ids(store) == []


async def test_only_tenants_that_are_named_have_content_kept() -> None:
    async with opened(history_content={"acme": 60}) as store:
        store.add(entry("a"), content("secret", image(1), image(2)))
        store.add(entry("b", tenant="umbrella"), content("other"))
        kept = await store.content("a")
        assert kept is not None
        assert kept["messages"][0]["parts"][-1] == {"text": "secret"}
        assert kept["answers"][0]["text"] == "A red mug."
        assert [one["index"] for one in kept["images"]] == [0, 1]
        first = await store.image("a", 0)
        assert first is not None
        assert first.data.startswith(b"\x89PNG")
        assert await store.image("a", 2) is None
        assert await store.content("b") is None


async def test_an_answer_from_the_cache_shows_the_image_of_the_request_before() -> None:
    async with opened(history_content={"acme": 60, "other": 60}) as store:
        store.add(entry("a"), content("one", image(1)))
        store.add(entry("b"), content("two", image(1), computed=False))
        store.add(entry("c", tenant="other"), content("three", image(1), computed=False))
        await store.delete("a")
        assert await store.image("b", 0) is not None
        assert await store.image("c", 0) is None


async def test_content_stays_within_its_bytes() -> None:
    mib = 1024 * 1024
    async with opened(history_content={"acme": 60}, history_content_bytes=mib) as store:
        for number in range(5):
            _, identity = image(number, side=384)
            noise = random.Random(number).randbytes(identity.original_pixels * 3)
            picture = Image(384, 384, noise, identity.digest)
            store.add(entry(str(number)), content("x", (picture, identity)))
        kept = [name for name in map(str, range(5)) if await store.content(name)]
        assert kept == ["3", "4"]
        assert len(await ids(store)) == 5


async def test_deleted_content_is_not_in_the_file_any_more(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    async with opened(history_file=str(path), history_content={"acme": DAY}) as store:
        store.add(entry("a"), content("the-first-secret"))
        store.add(entry("b"), content("the-second-secret"))
        assert await store.content("a") is not None

        def on_disk() -> bytes:
            return b"".join(part.read_bytes() for part in tmp_path.iterdir())

        assert b"the-first-secret" in on_disk()
        assert await store.delete("a") == 1
        assert b"the-first-secret" not in on_disk()
        assert b"the-second-secret" in on_disk()
        assert await store.delete_tenant("acme") == 1
        assert b"the-second-secret" not in on_disk()
        assert await ids(store) == []


async def test_a_file_is_shared_by_processes_and_survives_them(tmp_path: Path) -> None:
    path = str(tmp_path / "folder" / "history.db")
    async with opened(history_file=path) as first, opened(history_file=path) as second:
        first.add(entry("a"), Details())
        assert await ids(first) == ["a"]
        second.add(entry("b"), Details())
        assert await ids(second) == ["b", "a"]
        assert await ids(first) == ["b", "a"]
        first.add(entry("c"), Details())
        for _ in range(200):
            if len(await ids(second)) == 3:
                break
            await asyncio.sleep(0.05)
        assert await ids(second) == ["c", "b", "a"]
        first.add(entry("last"), Details())
    async with opened(history_file=path) as later:
        assert await ids(later) == ["last", "c", "b", "a"]
    assert (tmp_path / "folder" / "history.db").stat().st_mode & 0o777 == 0o600


async def test_a_file_that_fails_costs_the_history_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "history.db").mkdir()
    async with opened(history_file=str(tmp_path / "history.db")) as store:
        store.add(entry("a"), Details())
        await eventually(lambda: store.dropped == 1)


@pytest.mark.parametrize("hostile", ["'); DROP TABLE requests; --", 'a"b\\c', "\u2028", "x" * 128])
async def test_text_from_clients_is_only_text(hostile: str) -> None:
    async with opened() as store:
        store.add(entry(hostile, tenant=hostile, path=hostile, reason=hostile), Details())
        found = await store.get(hostile)
        assert found is not None
        assert found["reason"] == hostile
        assert await ids(store, tenant=hostile) == [hostile]
