"""An HTTP proxy before an S3 server that spoils what it passes on, as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession, web
from yarl import URL

Spoil = Callable[[web.Request, int, Mapping[str, str], bytes], Awaitable[web.StreamResponse]]
"""Makes the response: from the request and the status, headers and body of the real one."""

NOT_PASSED_ON = {"content-length", "transfer-encoding", "connection", "date", "server"}


@dataclass
class S3Proxy:
    """Passes requests on.

    Attributes:
        port: Where it listens.
        spoil: What it does to responses; None leaves them alone.
        requests: How many it got.
    """

    port: int = 0
    spoil: Spoil | None = None
    requests: int = 0


@asynccontextmanager
async def s3_proxy(port: int) -> AsyncGenerator[S3Proxy, None]:
    """Listens on a free port for requests to the server at `port`."""
    proxy = S3Proxy()

    async def handle(request: web.Request) -> web.StreamResponse:
        proxy.requests += 1
        url = URL(f"http://127.0.0.1:{port}{request.raw_path}", encoded=True)
        body = await request.read()
        # The signature covers the headers, the host among them: all go on as they came.
        async with session.request(
            request.method, url, headers=request.headers, data=body, skip_auto_headers=["Accept"]
        ) as real:
            content = await real.read()
        headers = {
            name: value for name, value in real.headers.items() if name.lower() not in NOT_PASSED_ON
        }
        if proxy.spoil is None:
            return web.Response(status=real.status, headers=headers, body=content)
        return await proxy.spoil(request, real.status, headers, content)

    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    async with ClientSession(auto_decompress=False) as session:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.port = runner.addresses[0][1]
        try:
            yield proxy
        finally:
            await runner.cleanup()


async def fails(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """S3's own form of an error."""
    error = b"<Error><Code>InternalError</Code><Message>We failed.</Message></Error>"
    return web.Response(status=500, body=error, content_type="application/xml")


async def refuses(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """What a wrong key gets."""
    error = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
    return web.Response(status=403, body=error, content_type="application/xml")


async def stalls(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Says nothing for longer than anybody waits."""
    await asyncio.sleep(60)
    return web.Response(status=status, headers=headers, body=body)


async def drips(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Sends a byte now and then."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    for place in range(len(body)):
        await response.write(body[place : place + 1])
        await asyncio.sleep(0.05)
    return response


async def breaks_off(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Ends the connection in the middle of the body."""
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


async def resets(
    request: web.Request, status: int, headers: Mapping[str, str], body: bytes
) -> web.StreamResponse:
    """Ends the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=status)


def changes(change: Callable[[bytes], bytes]) -> Spoil:
    """Another body, sent in good order."""

    async def changed(
        request: web.Request, status: int, headers: Mapping[str, str], body: bytes
    ) -> web.StreamResponse:
        if status not in {200, 206} or request.method != "GET":
            return web.Response(status=status, headers=headers, body=body)
        return web.Response(status=status, headers=headers, body=change(body))

    return changed
