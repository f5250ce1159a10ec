"""The load: a closed loop over one server with one workload, in a process of its own.

python -m benchmarks.gateways.load URL WORKLOAD FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.closed_loop import Cell, Measured, Reply, closed_loop, serve_cells
from benchmarks.gateways.upstream import CHUNKS
from benchmarks.gateways.workloads import STREAM, Requests
from silkline.bench.client import HttpClient, Response

_BROKEN = 0
"""The status of a request whose connection broke, or whose answer is not whole."""

_OK = 200
_WORDS = b" word"


async def run_load(url: str, workload: str, folder: Path) -> None:
    """Runs the cells of standard input."""

    async def run(cell: Cell) -> Measured:
        client = HttpClient(url, cell.concurrency)
        last = cell.first_picture + cell.pictures
        requests = Requests(workload, urlsplit(url).netloc, last, folder)

        async def ask(number: int) -> Response:
            response = Response()
            try:
                await client.exchange(requests[number], response)
            except (OSError, httptools.HttpParserError):
                response.status = _BROKEN
            return response

        measured = await closed_loop(cell, range(cell.first_picture, last), ask, _read)
        client.close()
        return measured

    def _read(response: Response) -> Reply:
        body = response.body
        whole = body.endswith(b"data: [DONE]\n\n") if workload == STREAM else body.endswith(b"}")
        words = body.count(_WORDS)
        good = whole and words >= CHUNKS - 1
        return Reply(response.status if good or response.status != _OK else _BROKEN, tokens=words)

    await serve_cells(run)


if __name__ == "__main__":
    uvloop.run(run_load(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
