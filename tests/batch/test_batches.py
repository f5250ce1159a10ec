"""Batches without a server: what happens when their time is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from silkline.batch.batch import VALIDATING, Batch, StoredFile
from silkline.batch.batches import Batches
from silkline.batch.item import Result
from silkline.batch.store import BatchStore, new_id
from silkline.config import BatchSettings
from silkline.service.idle import Idle
from silkline.service.models import ServedModels
from tests.gateway.batches.jobs import CHAT, line

T = TypeVar("T")


class AlwaysIdle(Idle):
    """Room for one request after the other."""

    def __init__(self) -> None:
        super().__init__(ServedModels([]), 1.0)
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None, None]:
        yield

    async def run(self, model: str | None, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turn:
            return await work()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def stored(store: BatchStore, lines: int) -> Batch:
    """A batch of an hour, whose file is in place."""
    name, now = new_id("file-"), int(store.clock())
    path = store.path_of(name)
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(json.dumps(line(f"id-{n}", f"text {n}")) for n in range(lines)))
    await store.add_file(
        StoredFile(
            id=name, tenant="shop", purpose="batch", filename="in.jsonl",
            bytes=path.stat().st_size, created_at=now, expires_at=now + 7200,
        )
    )  # fmt: skip
    batch = Batch(
        id=new_id("batch_"), tenant="shop", salt="", endpoint=CHAT, input_file_id=name,
        completion_window="1h", metadata=None, status=VALIDATING, created_at=now,
        expires_at=now + 3600, output_ttl=86_400,
    )  # fmt: skip
    await store.add_batch(batch)
    return batch


async def finished(store: BatchStore) -> None:
    for _ in range(1000):
        if not await store.unfinished():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the batch does not end")


def content(store: BatchStore, file: str | None) -> list[dict[str, Any]]:
    assert file is not None
    return [json.loads(one) for one in store.path_of(file).read_text().splitlines()]


async def test_a_batch_that_expires_keeps_what_was_answered(tmp_path: Path) -> None:
    clock, asked = Clock(), 0
    held = asyncio.Event()

    async def answer(batch: Batch, body: bytes) -> Result:
        nonlocal asked
        asked += 1
        if asked > 5:
            clock.now += 3600
            await held.wait()
        return Result(b'{"status_code": 200}')

    async with aclosing(BatchStore(tmp_path, BatchSettings(), clock=clock)) as store:
        batch = await stored(store, 20)
        batches = Batches(store, AlwaysIdle(), answer, 1_000_000)
        async with batches.running():
            await finished(store)
        found = await store.find_batch("shop", batch.id)
        assert found is not None
        assert (found.status, found.total, found.completed, found.failed) == ("expired", 20, 5, 0)
        answers, others = content(store, found.output_file_id), content(store, found.error_file_id)
        assert len(answers) == 5
        assert {one["error"]["code"] for one in others} == {"batch_expired"}
        ids = {one["custom_id"] for one in answers + others}
        assert len(answers + others) == 20
        assert ids == {f"id-{n}" for n in range(20)}
        clock.now += 2 * 86_400
        await store.sweep()
        assert await store.list_files("shop", 10, oldest_first=True) == []
        assert not [*(tmp_path / "files").iterdir(), *(tmp_path / "running").iterdir()]
