"""The fetcher against real origins on loopback, opened by `private_hosts`."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from silkline.config import FetchSettings
from silkline.errors import (
    DeadlineExceeded,
    ImageFetchFailed,
    ImageTooLarge,
    InternalFault,
    RequestTooLarge,
    SilklineError,
    UrlBlocked,
)
from silkline.ingress.fetch import Fetcher
from silkline.ingress.urls import parse
from tests.ingress.network import (
    Hit,
    Names,
    RawOrigin,
    Respond,
    gives,
    raw_origin,
    redirects,
    says,
    within,
)

BODY = b"\xff\xd8\xff" + bytes(range(256)) * 40
CAP = 1_000_000
KERNEL_BUFFERS = 12_000_000  # what two loopback sockets may hold between them


@asynccontextmanager
async def fetching(respond: Respond, **settings: Any) -> AsyncIterator[tuple[Fetcher, RawOrigin]]:
    """An origin, and a fetcher that may go there under the name origin.test."""
    async with raw_origin(respond) as origin:
        private = (f"127.0.0.1:{origin.port}", f"origin.test:{origin.port}")
        fetch = FetchSettings(private_hosts=private, **settings)
        names = Names(origin_test=[["127.0.0.1"]])
        async with Fetcher(fetch, names) as fetcher:
            yield fetcher, origin


async def get(
    fetcher: Fetcher, origin: RawOrigin, path: str = "/a.jpg", budget: int = CAP
) -> bytes:
    url = parse(f"http://origin.test:{origin.port}{path}")
    return (await fetcher.fetch(url, CAP, within(budget))).data


async def fails(error: type[SilklineError], respond: Respond, **settings: Any) -> str:
    """The message of the error that a fetch must end with."""
    async with fetching(respond, **settings) as (fetcher, origin):
        with pytest.raises(error) as caught:
            await get(fetcher, origin)
    assert "127.0.0.1" not in caught.value.message
    assert str(origin.port) not in caught.value.message
    return caught.value.message


async def test_a_picture_is_fetched_with_plain_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with fetching(gives(BODY, "Set-Cookie: id=1")) as (fetcher, origin):
        assert await get(fetcher, origin, "/a%7e?b=%2f") == BODY
        assert await get(fetcher, origin) == BODY
        first, second = origin.hits
        assert first.line == "GET /a%7e?b=%2f HTTP/1.1"
        assert first.headers["host"] == f"origin.test:{origin.port}"
        assert first.headers["accept-encoding"] == "identity"
        assert not {"cookie", "authorization", "referer"} & (first.headers | second.headers).keys()
        assert origin.connections == 1  # the second took the first's connection


async def test_redirects_are_followed_up_to_the_limit() -> None:
    def count(limit: int) -> Respond:
        async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
            step = int(hit.line.split()[1].strip("/") or 0)
            status = (301, 302, 303, 307, 308)[step % 5]
            answer = redirects(f"/{step + 1}", status) if step < limit else gives(BODY)
            await answer(hit, writer)

        return respond

    async with fetching(count(3), max_redirects=3) as (fetcher, origin):
        assert await get(fetcher, origin, "/0") == BODY
    async with fetching(count(99), max_redirects=3) as (fetcher, origin):
        with pytest.raises(ImageFetchFailed, match="more than 3 times"):
            await get(fetcher, origin, "/0")
        assert len(origin.hits) == 4
    async with fetching(redirects("/a.jpg")) as (fetcher, origin):  # a loop
        with pytest.raises(ImageFetchFailed, match="more than 3 times"):
            await get(fetcher, origin)
    await fails(ImageFetchFailed, redirects("/b.jpg"), max_redirects=0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://metadata.test/",
     "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "//[::ffff:7f00:1]:{port}/",
     "//2130706433:{port}/", "gopher://127.0.0.1:{port}/", "http://user@origin.test/",
     "http://canary.test:{port}/"],
)  # fmt: skip
async def test_a_redirect_gets_no_further_than_a_url(
    status: int, location: str, dialled: list[str]
) -> None:
    async with raw_origin(gives(BODY)) as canary:
        answer = redirects(location.format(port=canary.port), status)
        async with fetching(answer) as (fetcher, origin):
            names = {"canary.test": [["127.0.0.1"]], "metadata.test": [["169.254.169.254"]]}
            fetcher._resolver.answers.update(names)  # type: ignore[union-attr]
            with pytest.raises(UrlBlocked):
                await get(fetcher, origin)
        assert (len(origin.hits), canary.connections) == (1, 0)
        assert dialled == ["127.0.0.1"]


async def test_the_body_of_a_redirect_is_not_read() -> None:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        if "/b.jpg" in hit.line:
            return await gives(BODY)(hit, writer)
        head = b"HTTP/1.1 302 Found\r\nLocation: /b.jpg\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head)
        while True:
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()

    async with fetching(respond) as (fetcher, origin):
        assert await get(fetcher, origin) == BODY
        assert origin.connections == 2


async def test_a_redirect_without_location_fails() -> None:
    await fails(ImageFetchFailed, says("HTTP/1.1 302 Found\nContent-Length: 0"))


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 400, 403, 404, 500, 503])
async def test_only_200_counts(status: int) -> None:
    answer = says(f"HTTP/1.1 {status} Secret\nContent-Length: 11", b"secret page")
    message = await fails(ImageFetchFailed, answer)
    assert "secret" not in message.lower()


@pytest.mark.parametrize(
    "answer",
    [
        says("HTTP/1.1 200 OK\nContent-Length: 100", b"short"),
        says("HTTP/1.1 200 OK\nContent-Length: nonsense", b"x"),
        says("HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2", b"xx"),
        says("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"zz\r\nx"),
        says("HTTP/1.1 200 OK\nX: " + "y" * 20_000),
        says("SSH-2.0-OpenSSH_9.2"),
        says("", b""),
    ],
    ids=["short", "length", "lengths", "chunk", "header", "protocol", "nothing"],
)
async def test_an_origin_that_breaks_http_fails(answer: Respond) -> None:
    async def once(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await answer(hit, writer)
        writer.close()

    await fails(ImageFetchFailed, once)


async def test_an_origin_that_is_not_there_fails() -> None:
    async with raw_origin(gives(BODY)) as gone:
        pass
    async with Fetcher(FetchSettings(private_hosts=(f"127.0.0.1:{gone.port}",))) as fetcher:
        with pytest.raises(ImageFetchFailed):
            await fetcher.fetch(parse(f"http://127.0.0.1:{gone.port}/"), CAP, within(CAP))


async def test_a_name_without_address_fails() -> None:
    async with Fetcher(FetchSettings(), Names(empty_test=[[]])) as fetcher:
        for name in ("nowhere.test", "empty.test"):
            with pytest.raises(ImageFetchFailed):
                await fetcher.fetch(parse(f"http://{name}/"), CAP, within(CAP))


async def test_a_length_over_the_limit_is_refused_before_the_body() -> None:
    async def announce(hit: Hit, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {CAP + 1}\r\n\r\n".encode())
        await asyncio.Event().wait()  # the body never comes

    await fails(ImageTooLarge, announce)


async def test_exactly_the_limit_passes() -> None:
    async with fetching(gives(bytes(CAP))) as (fetcher, origin):
        assert len(await get(fetcher, origin)) == CAP


@pytest.mark.parametrize("over", ["limit", "budget"])
async def test_an_endless_body_is_cut(over: str) -> None:
    sent = 0

    async def endless(hit: Hit, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
            await writer.drain()
            sent += 65_536

    async with fetching(endless) as (fetcher, origin):
        expected = ImageTooLarge if over == "limit" else RequestTooLarge
        with pytest.raises(expected):
            await get(fetcher, origin, budget=2 * CAP if over == "limit" else CAP // 2)
    assert sent < CAP + KERNEL_BUFFERS


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "unit"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 1000),
        (b"", b"\r\n" * 20_000),
        (CHUNKED + b"1;", b"x" * 65_536),
        (CHUNKED, b"0" * 65_536),
        (CHUNKED, b"1\r\nx\r\n" * 10_000),
    ],
    ids=["interim", "empty lines", "extension", "length", "small chunks"],
)
async def test_what_is_no_body_does_not_go_on_for_ever(head: bytes, unit: bytes) -> None:
    """It would count for nothing, and keep the event loop from all else."""
    sent = 0

    async def endless(hit: Hit, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(unit)
            await writer.drain()
            sent += len(unit)

    await fails(ImageFetchFailed, endless)
    assert sent < 1_000_000 + KERNEL_BUFFERS


@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nhelloXX\r\n"])
async def test_broken_chunks_end_the_fetch_at_once(rest: bytes) -> None:
    """Else the connection is gone, and the fetch waits until its time is over."""

    async def breaks(hit: Hit, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\nx\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(rest)
        await asyncio.Event().wait()

    await fails(ImageFetchFailed, breaks, fetch_timeout=10.0)


async def test_a_body_in_small_chunks_is_taken() -> None:
    parts = [BODY[at : at + 16] for at in range(0, len(BODY), 16)] * 200
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    answer = says("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", body)
    async with fetching(answer) as (fetcher, origin):
        for _ in range(3):
            url = parse(f"http://origin.test:{origin.port}/")
            assert (await fetcher.fetch(url, 2**23, within(2**23))).data == b"".join(parts)
        assert origin.connections == 1


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "gzip, identity", "x-unknown"])
async def test_a_compressed_body_is_refused(encoding: str) -> None:
    body = gzip.compress(bytes(10_000_000))
    await fails(ImageFetchFailed, gives(body, f"Content-Encoding: {encoding}"))


async def test_identity_is_no_compression() -> None:
    async with fetching(gives(BODY, "Content-Encoding: Identity")) as (fetcher, origin):
        assert await get(fetcher, origin) == BODY


async def drip(hit: Hit, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def silent(hit: Hit, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("respond", [drip, silent])
async def test_slow_origins_meet_the_deadline(respond: Respond) -> None:
    await fails(DeadlineExceeded, respond, fetch_timeout=0.3)


async def test_the_deadline_holds_for_all_hops_together() -> None:
    async def slowly(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await redirects("/next")(hit, writer)

    await fails(DeadlineExceeded, slowly, fetch_timeout=0.5, max_redirects=20)


@pytest.mark.slow
async def test_slow_origins_do_not_hold_up_others() -> None:
    parallel = 200
    waiting = asyncio.Semaphore(0)

    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        if "slow" in hit.line:
            waiting.release()
        await (drip if "slow" in hit.line else gives(BODY))(hit, writer)

    async with fetching(respond, fetch_timeout=4.0) as (fetcher, origin):
        slow = [asyncio.create_task(get(fetcher, origin, "/slow")) for _ in range(parallel)]
        for _ in range(parallel):
            await waiting.acquire()
        for _ in range(10):
            assert await get(fetcher, origin, "/fast") == BODY
        assert not any(task.done() for task in slow)
        outcomes = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {DeadlineExceeded}


async def test_a_cancelled_fetch_leaves_the_fetcher_usable() -> None:
    async def respond(hit: Hit, writer: asyncio.StreamWriter) -> None:
        await (silent if "hang" in hit.line else gives(hit.line.encode()))(hit, writer)

    async with fetching(respond) as (fetcher, origin):
        for turn in range(20):
            hanging = asyncio.create_task(get(fetcher, origin, "/hang"))
            await asyncio.sleep(0.001 * turn)
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging
            assert await get(fetcher, origin, f"/{turn}") == f"GET /{turn} HTTP/1.1".encode()


async def test_a_fetcher_works_between_start_and_aclose_only() -> None:
    fetcher = Fetcher(FetchSettings(private_hosts=("127.0.0.1:1",)))
    with pytest.raises(InternalFault):
        await fetcher.fetch(parse("http://127.0.0.1:1/"), CAP, within(CAP))
    await fetcher.start()
    await fetcher.aclose()
    await fetcher.aclose()
    with pytest.raises(InternalFault):
        await fetcher.fetch(parse("http://127.0.0.1:1/"), CAP, within(CAP))
