"""Traces of real gateways, received by a real OpenTelemetry collector."""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import rotel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.observe.shipping.log_server import free_port, wait_for
from tests.pictures import data_url, encoded
from tests.serving import Served, served

AGENT = Path(rotel.__file__).with_name("rotel-agent")
IMAGE = data_url(encoded(64, 48, kind="PNG"), "image/png")
SERVER_KIND = 2
ERROR = 2


@dataclass
class Sink:
    """The spans that the collector passed on, by their trace, and where it sends them."""

    url: str = ""
    traces: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.traces.setdefault(span.trace_id.hex(), []).append(span)

    def trace(self, trace_id: str, servers: int = 1) -> list[Any]:
        """The spans of a trace, once as many servers have sent theirs."""
        wait_for(lambda: len(roots(self.traces.get(trace_id, []))) >= servers, 60)
        return self.traces[trace_id]


def roots(spans: list[Any]) -> list[Any]:
    return [span for span in spans if span.kind == SERVER_KIND]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    """What lies behind the collector."""
    found = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            gzipped = self.headers.get("Content-Encoding") == "gzip"
            found.add(gzip.decompress(body) if gzipped else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found.url = f"http://127.0.0.1:{server.server_port}"
        yield found
        server.shutdown()


@pytest.fixture(scope="module")
def collector(sink: Sink) -> Iterator[str]:
    """The URL of a real collector that passes on what it gets."""
    grpc, http = free_port(), free_port()
    agent = subprocess.Popen(
        [
            str(AGENT), "start",
            "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}",
            "--otlp-http-endpoint", f"127.0.0.1:{http}",
            "--exporter", "otlp", "--otlp-exporter-endpoint", sink.url,
            "--otlp-exporter-protocol", "http",
            "--otlp-exporter-compression", "none", "--batch-timeout", "100ms",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{http}"
    finally:
        agent.kill()
        agent.wait(timeout=10)


@pytest.fixture(scope="module")
def traced(collector: str) -> Iterator[Served]:
    """A gateway that keeps the traces of errors, slow requests and callers that sample."""
    with served(
        "--engine", "fake", "--engine-options", "token_seconds=0.02,oom_on_text=<<oom>>",
        "--decode-processes", "1", "--log-format", "json",
        "--trace-url", collector, "--trace-ratio", "0", "--trace-slow", "2",
    ) as running:  # fmt: skip
        yield running


def parent(number: int, *, sampled: bool = True) -> tuple[str, dict[str, str]]:
    """A trace id, and the headers of a caller that is in it."""
    trace_id = f"{number:032x}"
    return trace_id, {"traceparent": f"00-{trace_id}-{number:016x}-{int(sampled):02x}"}


def ask(
    running: Served, headers: dict[str, str], text: str = "What?", **fields: Any
) -> tuple[httpx2.Response, float]:
    """Asks about an image; returns the response, and the seconds until it was there."""
    image = {"type": "image_url", "image_url": {"url": IMAGE}}
    message = {"role": "user", "content": [{"type": "text", "text": text}, image]}
    body = {"model": "silkline-fake", "messages": [message], "max_tokens": 40, **fields}
    with httpx2.Client(base_url=running.url, timeout=60) as http:
        http.get("/ready")  # connects
        began = time.monotonic()
        response = http.post("/v1/chat/completions", json=body, headers=headers)
        return response, time.monotonic() - began


def seconds(span: Any) -> float:
    return float(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


def attributes(span: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        kind = value.WhichOneof("value")
        if kind == "array_value":
            return [plain(item) for item in value.array_value.values]
        return getattr(value, kind)

    return {pair.key: plain(pair.value) for pair in span.attributes}


def leaves(spans: list[Any]) -> list[Any]:
    inner = {span.parent_span_id for span in spans}
    return [span for span in spans if span.span_id not in inner]


def test_the_spans_of_a_trace_sum_to_the_wall_time(traced: Served, sink: Sink) -> None:
    trace_id, headers = parent(11)
    response, wall = ask(traced, headers)
    assert response.status_code == 200
    spans = sink.trace(trace_id)
    (root,) = roots(spans)
    assert 0.8 * wall < seconds(root) < wall  # the client also waits for its own turn
    assert sum(map(seconds, leaves(spans))) == pytest.approx(seconds(root), rel=0.05)
    by_name = {span.name: span for span in spans}
    assert {"receive", "decode", "prefill", "generate", "respond"} <= by_name.keys()
    # The work that stages name is nearly all of it; `respond` is what no stage accounts for.
    assert seconds(by_name["respond"]) < 0.3 * seconds(root)
    assert attributes(by_name["decode"])["silkline.process"] == "decoder"
    assert attributes(by_name["generate"])["silkline.process"] == "worker"


def test_spans_lie_in_each_other_and_in_their_order(traced: Served, sink: Sink) -> None:
    trace_id, headers = parent(12)
    ask(traced, headers, "Where?")
    spans = sink.trace(trace_id)
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if span.parent_span_id in by_id:
            outer = by_id[span.parent_span_id]
            assert outer.start_time_unix_nano - 1000 <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= outer.end_time_unix_nano + 1000
    in_order = sorted(leaves(spans), key=lambda span: int(span.start_time_unix_nano))
    for one, following in itertools.pairwise(in_order):
        assert one.end_time_unix_nano <= following.start_time_unix_nano + 1000


def test_a_trace_names_the_request_the_model_and_the_image_but_holds_no_image(
    traced: Served, sink: Sink
) -> None:
    trace_id, headers = parent(13)
    response, _ = ask(traced, {**headers, "x-request-id": "request-13"}, "Which secret?")
    spans = sink.trace(trace_id)
    (root,) = roots(spans)
    assert root.parent_span_id.hex() == f"{13:016x}"
    assert root.name == "POST /v1/chat/completions"
    found = attributes(root)
    assert found["http.response.status_code"] == 200
    assert found["silkline.request.id"] == "request-13"
    operation = next(span for span in spans if span.name == "chat silkline-fake")
    facts = attributes(operation)
    usage = response.json()["usage"]
    assert facts["gen_ai.operation.name"] == "chat"
    assert facts["gen_ai.request.model"] == "silkline-fake"
    assert facts["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
    assert facts["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
    assert facts["gen_ai.response.finish_reasons"] == [
        response.json()["choices"][0]["finish_reason"]
    ]
    (digest,) = facts["silkline.image.digests"]
    assert len(digest) == 64
    assert facts["silkline.image.pixels"] == [64 * 48]
    everything = b"".join(span.SerializeToString() for span in spans)
    assert len(everything) < 5000
    for private in (b"secret", b"base64", b"PNG"):
        assert private not in everything


def test_the_log_line_has_the_ids_of_the_trace(traced: Served, sink: Sink) -> None:
    trace_id, headers = parent(14)
    ask(traced, {**headers, "x-request-id": "request-14"}, "Who?")
    (root,) = roots(sink.trace(trace_id))
    wait_for(lambda: any("request-14" in line for line in traced.log), 10)
    (event,) = [
        event for event in traced.events("request") if event["http.request.id"] == "request-14"
    ]
    assert event["trace.id"] == trace_id
    assert event["span.id"] == root.span_id.hex()


def test_traces_of_errors_and_slow_requests_are_kept_and_of_others_are_not(
    traced: Served, sink: Sink
) -> None:
    ordinary, headers = parent(21, sampled=False)
    assert ask(traced, headers, "Ordinary?")[0].status_code == 200
    failed, headers = parent(22, sampled=False)
    assert ask(traced, headers, "<<oom>>")[0].status_code >= 500
    invalid, headers = parent(23, sampled=False)
    assert ask(traced, headers, max_tokens=-1)[0].status_code == 400
    slow, headers = parent(24, sampled=False)
    assert ask(traced, headers, "Slow?", max_tokens=120, min_tokens=120)[1] > 2
    (root,) = roots(sink.trace(failed))
    assert root.status.code == ERROR
    assert attributes(root)["error.type"] == root.status.message != ""
    sink.trace(slow)
    assert not {ordinary, invalid} & sink.traces.keys()


@pytest.mark.slow
def test_a_trace_goes_on_in_a_remote_server(traced: Served, collector: str, sink: Sink) -> None:
    trace_id, headers = parent(31)
    with served(
        "--engine", "remote", "--remotes", traced.url, "--decode-processes", "1",
        "--trace-url", collector,
    ) as front:  # fmt: skip
        assert ask(front, headers, "Remote?")[0].status_code == 200
    both = roots(sink.trace(trace_id, servers=2))
    outer = next(span for span in both if span.parent_span_id.hex() == f"{31:016x}")
    (inner,) = [span for span in both if span is not outer]
    assert inner.parent_span_id == outer.span_id
    assert seconds(inner) < seconds(outer)


def test_nothing_of_it_is_loaded_when_traces_are_off() -> None:
    program = "import sys, silkline.gateway.app; print('opentelemetry.sdk' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout == "False\n"


@pytest.mark.slow
def test_the_spans_of_a_collector_that_is_away_are_dropped_and_requests_go_on() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with served("--engine", "fake", "--trace-url", url, "--trace-ratio", "1") as running:
        for number in range(5):
            assert ask(running, {}, f"Number {number}?")[0].status_code == 200
