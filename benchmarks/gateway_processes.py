"""What several gateway processes give: cached answers and remote answers a second.

Text questions in a closed loop over kept-alive connections, from load processes of their own: the
same question again and again for cached answers, ever new ones for remote answers. An upstream in a
process of its own gives these after 20 ms. Load and upstream share the cores with what is measured;
the report says how much processor time each part took.

    python -m benchmarks.gateway_processes [--processes 1 2] [--clients 64] [--seconds 10]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
import uvloop
from aiohttp import web

from benchmarks.machine import machine, versions
from benchmarks.options import base_parser, place_of
from benchmarks.processes import BenchmarkError, cpu_seconds, free_port, leave, next_line, started
from benchmarks.report import command_line, today, write_report
from benchmarks.subjects import Place, Server, gateway
from silkline.bench.percentiles import percentile

CACHED, REMOTE = "cached", "remote"
UPSTREAM_SECONDS = 0.02
_MODEL = "upstream"
_WARM_SECONDS = 1.0


class Load(msgspec.Struct, frozen=True):
    """What one load process does.

    Attributes:
        host: Host of the server.
        port: Its port.
        model: The model's name.
        clients: Connections, each of which asks again when it is answered.
        seconds: For how long, after a warm-up of a second.
        repeats: Whether all questions are the same.
        number: Tells the questions of load processes apart.
    """

    host: str
    port: int
    model: str
    clients: int
    seconds: float
    repeats: bool
    number: int


class Seen(msgspec.Struct, frozen=True):
    """What one load process saw: the seconds of each answer, and how many requests failed."""

    seconds: list[float]
    failed: int


class Row(msgspec.Struct, frozen=True):
    """One measurement.

    Attributes:
        kind: `cached` or `remote`.
        processes: Gateway processes.
        rate: Answers a second.
        p50: Median seconds of an answer.
        p99: The 99th percentile.
        failed: Requests that were not answered with 200.
        cpu: Milliseconds of processor time for each answer, by part.
    """

    kind: str
    processes: int
    rate: float
    p50: float
    p99: float
    failed: int
    cpu: dict[str, float]


class Report(msgspec.Struct, frozen=True):
    """Everything that one run found."""

    command: str
    date: str
    machine: dict[str, str]
    clients: int
    rows: list[Row]


def main() -> None:
    """Measures; exit code 1 when a request failed."""
    if sys.argv[1:2] == ["load"]:
        _load()
    elif sys.argv[1:2] == ["upstream"]:
        _upstream(int(sys.argv[2]))
    else:
        _measure_all(_arguments())


def _measure_all(arguments: argparse.Namespace) -> None:
    signal.signal(signal.SIGTERM, leave)
    before = machine()
    try:
        rows = [
            _measure(kind, processes, arguments)
            for kind in (CACHED, REMOTE)
            for processes in arguments.processes
        ]
    except BenchmarkError as error:
        sys.exit(f"benchmark: {error}")
    report = Report(
        command_line("gateway_processes"), today(), before | versions(), arguments.clients, rows
    )
    text = markdown(report)
    path = write_report(report, text, arguments.results, "gateway", report.date, "processes")
    print(f"\n{text}\nwritten to {path} and .json beside it")
    if any(row.failed for row in rows):
        sys.exit("benchmark: some requests failed")


def _measure(kind: str, processes: int, arguments: argparse.Namespace) -> Row:
    place = Place(place_of(arguments).cache, "fake", "silkline-mini")
    with ExitStack() as stack:
        options = ["--processes", str(processes), "--log-level", "warning"]
        parts: dict[str, int] = {}
        if kind == REMOTE:
            url, parts["upstream"] = stack.enter_context(_started_upstream(place))
            options += ["--remotes", f"{url} limit={max(64, arguments.clients)}"]
            options += ["--cache-ttl", "0"]
            place = Place(place.cache, "remote", place.model)
        server = stack.enter_context(gateway(place, options))
        model = _MODEL if kind == REMOTE else "silkline-fake"
        cpu = _cpu(server, parts)
        seen = _run_loads(server, model, kind, arguments, place)
        after = _cpu(server, parts)
    seconds = sorted(second for each in seen for second in each.seconds)
    if not seconds:
        raise BenchmarkError(f"no request was answered; see {place.log('gateway')}")
    used = {name: (after[name] - cpu.get(name, 0.0)) * 1e3 / len(seconds) for name in after}
    row = Row(
        kind,
        processes,
        len(seconds) / arguments.seconds,
        percentile(seconds, 0.5),
        percentile(seconds, 0.99),
        sum(each.failed for each in seen),
        used,
    )
    print(f"{kind}, {processes}: {row.rate:.0f}/s, {row.failed} failed", flush=True)
    return row


def _run_loads(
    server: Server, model: str, kind: str, arguments: argparse.Namespace, place: Place
) -> list[Seen]:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    clients = arguments.clients // arguments.loads
    repeats = kind == CACHED
    with ExitStack() as stack:
        loads = []
        for number in range(arguments.loads):
            log = place.log(f"processes load {number}")
            command = [sys.executable, "-m", "benchmarks.gateway_processes", "load"]
            process = stack.enter_context(started(command, log))
            load = Load(host, int(port), model, clients, arguments.seconds, repeats, number)
            assert process.stdin is not None
            process.stdin.write(msgspec.json.encode(load) + b"\n")
            process.stdin.flush()
            loads.append((process, log))
        return [msgspec.json.decode(next_line(process, log), type=Seen) for process, log in loads]


def _cpu(server: Server, parts: dict[str, int]) -> dict[str, float]:
    """Processor seconds so far: of the gateway's parts, and of the upstream."""
    others = {name: sum(cpu_seconds(pid).values()) for name, pid in parts.items()}
    return cpu_seconds(server.pid) | others


@contextmanager
def _started_upstream(place: Place) -> Iterator[tuple[str, int]]:
    log, port = place.log("processes upstream"), free_port()
    command = [sys.executable, "-m", "benchmarks.gateway_processes", "upstream", str(port)]
    with started(command, log) as process:
        next_line(process, log)
        yield f"http://127.0.0.1:{port}", process.pid


def _upstream(port: int) -> None:
    """Serves one model that answers after `UPSTREAM_SECONDS`, until it is ended."""

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": _MODEL, "object": "model"}]})

    async def chat(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        await asyncio.sleep(UPSTREAM_SECONDS)
        answer = {"id": "a", "created": 0, "model": _MODEL}
        usage = {"prompt_tokens": 8, "completion_tokens": 1, "total_tokens": 9}
        message = {"role": "assistant", "content": "Yes."}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer |= {"object": "chat.completion", "choices": [choice], "usage": usage}
            return web.json_response(answer)
        choice = {"index": 0, "delta": message, "finish_reason": "stop"}
        chunk = answer | {"object": "chat.completion.chunk", "choices": [choice], "usage": usage}
        events = b"data: " + msgspec.json.encode(chunk) + b"\n\ndata: [DONE]\n\n"
        return web.Response(body=events, content_type="text/event-stream")

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 28)
        app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
        print("ready", flush=True)
        await asyncio.Event().wait()

    uvloop.run(serve())


def _load() -> None:
    """Runs one `Load` of standard input, and prints what it saw."""
    load = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
    seen = uvloop.run(_closed_loop(load))
    sys.stdout.buffer.write(msgspec.json.encode(seen) + b"\n")


async def _closed_loop(load: Load) -> Seen:
    seconds: list[float] = []
    failed = 0
    opens = time.perf_counter() + _WARM_SECONDS
    closes = opens + load.seconds

    async def client(client_number: int) -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection(load.host, load.port)
        number = 0
        while (began := time.perf_counter()) < closes:
            text = "Is it red?" if load.repeats else f"{load.number} {client_number} {number}"
            number += 1
            writer.write(_request(load, text))
            status = await _read_status(reader)
            ended = time.perf_counter()
            if status != 200:
                failed += 1
            elif opens <= ended <= closes:
                seconds.append(ended - began)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(load.clients)))
    return Seen(seconds, failed)


def _request(load: Load, text: str) -> bytes:
    message = {"role": "user", "content": text}
    body = msgspec.json.encode({"model": load.model, "messages": [message], "max_tokens": 8})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {load.host}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _read_status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(line for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split(b" ", 2)[1])


def markdown(report: Report) -> str:
    """The report for people."""
    lines = [
        "# Gateway processes",
        "",
        f"`{report.command}`, {report.date}",
        "",
        *(f"- {name}: {value}" for name, value in report.machine.items()),
        f"- {report.clients} clients; an upstream that answers after {UPSTREAM_SECONDS:g} s",
        "",
        "| answers | processes | a second | P50 (ms) | P99 (ms) | failed | CPU of an answer (ms) |",
        "|---|---|---|---|---|---|---|",
        *map(_line, report.rows),
    ]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    cpu = ", ".join(f"{name} {value:.2f}" for name, value in row.cpu.items())
    return (
        f"| {row.kind} | {row.processes} | {row.rate:.0f} | {row.p50 * 1e3:.1f} | "
        f"{row.p99 * 1e3:.1f} | {row.failed} | {cpu} |"
    )


def _arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = base_parser("What several gateway processes give.")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--loads", type=int, default=2, help="load processes")
    parser.add_argument("--seconds", type=float, default=10.0)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
