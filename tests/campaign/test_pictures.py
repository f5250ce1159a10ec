"""Cases 9 to 11 through HTTP: whatever a picture is, its request ends soon, with its own code."""

import asyncio
import io
import json
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psutil
import pytest

from silkline.errors import ERRORS_BY_CODE, http_face
from tests.campaign.figures import record
from tests.campaign.sizes import sizes
from tests.campaign.standing import assert_no_defects, idle, settled
from tests.gateway.asking import asked
from tests.ingress.test_bombs import TOO_LARGE
from tests.ingress.test_mutations import mutated, seeds
from tests.pictures import data_url
from tests.processes import DECODER
from tests.serving import Served, served

HANG_SECONDS = 5.0
"""Twice what the issue allows, for a machine that does other things as well."""

MEMORY_BYTES = 200 * 1024**2
CORPUS = Path(__file__).parents[2] / ".cache" / "corpus"


class Sent:
    """Sends pictures to a gateway and keeps what became of them."""

    def __init__(self, running: Served) -> None:
        self._running = running
        self._at_once = asyncio.Semaphore(4)
        self.outcomes: dict[str, int] = {}
        self.slowest = 0.0
        self.wrong: list[str] = []

    async def all(self, pictures: Iterable[tuple[str, bytes]]) -> None:
        connector = aiohttp.TCPConnector(limit=4)
        async with aiohttp.ClientSession(connector=connector) as http:
            waiting: set[asyncio.Task[None]] = set()
            for name, data in pictures:
                waiting.add(asyncio.create_task(self._one(http, name, data)))
                if len(waiting) >= 8:
                    _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(*waiting)

    async def _one(self, http: aiohttp.ClientSession, name: str, data: bytes) -> None:
        body = json.dumps(asked(data_url(data), max_tokens=4))
        url, headers = (
            f"{self._running.url}/v1/chat/completions",
            {"content-type": "application/json"},
        )
        async with self._at_once:
            began = time.monotonic()
            async with http.post(url, data=body, headers=headers) as reply:
                told = await reply.json()
            seconds = time.monotonic() - began
        self.slowest = max(self.slowest, seconds)
        code = "answered" if reply.status == 200 else told["error"]["code"]
        self.outcomes[code] = self.outcomes.get(code, 0) + 1
        if seconds > HANG_SECONDS:
            self.wrong.append(f"{name}: {seconds:.1f} s")
        if reply.status >= 500:
            self.wrong.append(f"{name}: {reply.status} {code}")
        elif reply.status != 200 and http_face(ERRORS_BY_CODE[code]("")).status != reply.status:
            self.wrong.append(f"{name}: {reply.status} for {code}")


def decoders(running: Served) -> set[int]:
    children = psutil.Process(running.process.pid).children(recursive=True)
    return {child.pid for child in children if DECODER in " ".join(child.cmdline())}


@asynccontextmanager
async def sending() -> AsyncIterator[Sent]:
    """A gateway whose decoders must all survive."""
    with served("--engine", "fake", "--cache-ttl", "0") as running:
        sent = Sent(running)
        await sent.all([("good", seeds()[0])])
        before, alive = await idle(running), decoders(running)
        yield sent
        await settled(running, before)
        assert decoders(running) == alive
        await sent.all([("good", seeds()[0])])
    assert_no_defects(running)
    assert not sent.wrong


@pytest.mark.parametrize("count", sizes(300, 10_000, minutes=20))
async def test_mutated_pictures(seed: int, count: float) -> None:
    chance, valid = random.Random(seed), seeds()
    async with sending() as sent:
        await sent.all(
            (f"mutation {place}", mutated(chance.choice(valid), chance))
            for place in range(int(count))
        )
    record(
        "09-mutated-pictures", seed=seed, whole=count > 300, pictures=int(count),
        outcomes=sent.outcomes, slowest_seconds=round(sent.slowest, 3),
    )  # fmt: skip
    assert sent.outcomes["answered"] > count / 20
    assert len(sent.outcomes) > 2


async def test_bombs() -> None:
    async with sending() as sent:
        await sent.all(TOO_LARGE.items())
    record(
        "11-bombs", seed=0, whole=True, outcomes=sent.outcomes,
        slowest_seconds=round(sent.slowest, 3),
    )  # fmt: skip
    assert sent.outcomes == {"answered": 2, "image_too_large": len(TOO_LARGE)}


@pytest.mark.full
@pytest.mark.timeout(900)
async def test_pillows_own_pictures() -> None:
    """Every file of the pictures that Pillow tests itself with: whole, broken and hostile ones."""
    async with sending() as sent:
        await sent.all(corpus())
    record(
        "10-pillow-corpus", seed=0, whole=True, outcomes=sent.outcomes,
        slowest_seconds=round(sent.slowest, 3),
    )  # fmt: skip
    assert sum(sent.outcomes.values()) > 1000


def corpus() -> Iterable[tuple[str, bytes]]:
    """The pictures in Pillow's source package, which pip downloads once."""
    found = sorted(CORPUS.glob("pillow-*.tar.gz"))
    if not found:
        subprocess.run(
            [
                sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                "--no-binary", "pillow", "--dest", CORPUS, "pillow==13.0.0",
            ],
            check=True,
        )  # fmt: skip
        found = sorted(CORPUS.glob("pillow-*.tar.gz"))
    with tarfile.open(found[-1]) as package:
        for member in package:
            file = package.extractfile(member) if "/Tests/images/" in member.name else None
            if file is not None:
                yield member.name, io.BytesIO(file.read()).getvalue()
