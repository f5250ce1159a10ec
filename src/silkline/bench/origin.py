"""Serves the load test's images on loopback, in a process of its own, for the form `url`.

It prints its URL as one line and exits when its standard input closes. The server under test must
be allowed to fetch from it: `silkline up --private-hosts 127.0.0.1:PORT`.

    python -m silkline.bench.origin PORT     (a line of JSON, the `Traffic`, on standard input)
"""

from __future__ import annotations

import asyncio
import signal
import sys

import msgspec
import uvloop
from aiohttp import web

from silkline.bench.catalogue import Catalogue, load_catalogue
from silkline.bench.spec import Traffic

HOST = "127.0.0.1"
PATH = "/pictures"


def create_app(catalogue: Catalogue) -> web.Application:
    """An app that serves a catalogue's images at `GET /pictures/NUMBER-VARIANT`."""

    async def image(request: web.Request) -> web.Response:
        found = catalogue.image(
            int(request.match_info["number"]), int(request.match_info["variant"])
        )
        return web.Response(body=found.data, content_type=found.media_type)

    app = web.Application()
    app.router.add_get(PATH + r"/{number:\d+}-{variant:\d+}", image)
    return app


async def serve(port: int) -> None:
    """Serves until standard input closes."""
    line = await asyncio.to_thread(sys.stdin.buffer.readline)
    catalogue = load_catalogue(msgspec.json.decode(line, type=Traffic))
    runner = web.AppRunner(create_app(catalogue), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, backlog=4096)
    await site.start()
    address = runner.addresses[0]
    sys.stdout.write(f"http://{HOST}:{address[1]}{PATH}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.buffer.read)
    await runner.cleanup()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the session handles Ctrl-C and ends this process
    uvloop.run(serve(int(sys.argv[1])))
