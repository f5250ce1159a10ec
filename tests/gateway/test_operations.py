"""Readiness, metrics, logs, draining, and what happens when a worker dies."""

import json
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import httpx2
import pytest
from openai import NotFoundError, OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.asking import MODEL, asked, messages
from tests.pictures import data_url, encoded
from tests.serving import served

SLOW = ("--engine", "fake", "--engine-options", "token_seconds=0.05,answer_words=40")


def metric(http: httpx2.Client, name: str, **labels: str) -> float:
    families = text_string_to_metric_families(http.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def wait_until_ready(url: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while httpx2.get(f"{url}/ready").status_code != 200:
        assert time.monotonic() < deadline, "not ready again in time"
        time.sleep(0.05)


def test_live_and_ready(http: httpx2.Client) -> None:
    assert http.get("/live").json() == {"status": "live"}
    assert http.get("/ready").json() == http.get("/health").json() == {"status": "ready"}


def test_probes_may_ask_for_the_head_alone(http: httpx2.Client) -> None:
    assert [http.head(path).status_code for path in ("/live", "/ready", "/health")] == [200] * 3


def test_the_version_is_told(http: httpx2.Client) -> None:
    assert http.get("/version").json() == {"version": version("silkline")}


def test_there_are_no_embeddings(openai: OpenAI) -> None:
    with pytest.raises(NotFoundError) as refused:
        openai.embeddings.create(model=MODEL, input="Hello")
    assert refused.value.code == "not_found"
    assert "No engine of this server computes embeddings" in refused.value.message


def test_the_document_tells_bodies_and_errors(http: httpx2.Client) -> None:
    document = http.get("/openapi.json").json()
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert {"400", "404", "413", "415", "503", "504"} <= set(chat["responses"])
    assert "422" in chat["responses"]
    name = chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "temperature" in document["components"]["schemas"][name]["properties"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_requests_errors_and_stages_are_counted(http: httpx2.Client) -> None:
    chat = {"route": "/v1/chat/completions"}
    good = metric(http, "silkline_requests_total", code="200", **chat)
    bad = metric(http, "silkline_requests_total", code="415", **chat)
    decoded = metric(http, "silkline_stage_seconds_count", stage="decode")
    http.post("/v1/chat/completions", json=asked(data_url(encoded())))
    http.post("/v1/chat/completions", json=asked(data_url(b"text")))
    http.get("/no/such/path")
    assert metric(http, "silkline_requests_total", code="200", **chat) == good + 1
    assert metric(http, "silkline_requests_total", code="415", **chat) == bad + 1
    assert metric(http, "silkline_stage_seconds_count", stage="decode") == decoded + 1
    assert metric(http, "silkline_replica_ready") == 1
    text = http.get("/metrics").text
    assert "/no/such/path" not in text
    for name in ("given_requests", "errors", "restarts"):
        assert f"# TYPE silkline_replica_{name}_total counter" in text
    assert "# TYPE silkline_replica_requests gauge" in text


@pytest.mark.slow
def test_a_request_is_one_line_of_the_log_without_its_content() -> None:
    with served("--engine", "fake") as running:
        picture = data_url(encoded())
        body = asked(picture) | {"messages": messages(picture, text="secret prompt")}
        httpx2.post(
            f"{running.url}/v1/chat/completions",
            json=body,
            headers={"x-request-id": "find-me", "authorization": "Bearer secret-key"},
        )
    events = [event for event in running.events("request") if event["http.request.id"] == "find-me"]
    assert len(events) == 1
    assert events[0]["http.response.status_code"] == 200
    log = "".join(running.log)
    for secret in ("secret prompt", "secret-key", picture[40:80]):
        assert secret not in log


@pytest.mark.slow
def test_a_server_that_drains_ends_what_runs_and_takes_nothing_new() -> None:
    with served(*SLOW) as running, httpx2.Client(base_url=running.url, timeout=30) as http:
        body = asked(data_url(encoded()), stream=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as reply:
            lines = reply.iter_lines()
            next(lines)
            running.process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert rest[-2] == "data: [DONE]"
        assert running.process.wait(timeout=20) == 0
        with pytest.raises(httpx2.ConnectError):
            http.get("/live")


@pytest.mark.slow
def test_what_does_not_end_in_time_ends_in_an_error_of_its_own() -> None:
    slow = ("--engine", "fake", "--engine-options", "token_seconds=0.3,answer_words=500")
    with served(*slow, "--drain-timeout", "1") as running, ThreadPoolExecutor(2) as pool:
        whole = pool.submit(_post, running.url, asked())
        streamed = pool.submit(_post, running.url, asked(data_url(encoded()), stream=True))
        time.sleep(1)
        running.process.send_signal(signal.SIGTERM)
        assert whole.result(timeout=20).status_code == 503
        assert whole.result().json()["error"]["code"] == "shutting_down"
        assert whole.result().headers["x-request-id"]
        assert streamed.result(timeout=20).text.rstrip().splitlines()[-2] == "event: error"
        assert running.process.wait(timeout=20) == 0
    assert "Traceback" not in "".join(running.log)


def _post(url: str, body: dict[str, object]) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60)


@pytest.mark.slow
def test_a_reader_that_stops_reading_loses_its_place() -> None:
    many = ("--engine", "fake", "--engine-options", "answer_words=40000,context_length=100000")
    limits = ("--request-timeout", "3", "--max-queue", "2", "--max-answer-tokens", "100000")
    with served(*many, *limits) as running, httpx2.Client(base_url=running.url) as http:
        body = json.dumps(asked(stream=True, max_tokens=90_000)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
        head += b"content-type: application/json\r\n"
        head += b"content-length: %d\r\n\r\n" % len(body)
        with (
            socket.create_connection(running.host_and_port) as first,
            socket.create_connection(running.host_and_port) as second,
        ):
            for reader in (first, second):
                reader.sendall(head + body)
            deadline = time.monotonic() + 20
            while http.post("/v1/chat/completions", json=asked(max_tokens=1)).status_code != 200:
                assert time.monotonic() < deadline, "the places were not given back"
                time.sleep(0.2)


@pytest.mark.slow
def test_a_second_signal_does_not_wait() -> None:
    with served(*SLOW, "--engine-options", "token_seconds=30") as running:
        asking = threading.Thread(target=_ignore_failure, args=(running.url,), daemon=True)
        asking.start()
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(timeout=15)
        asking.join(timeout=5)


def _ignore_failure(url: str) -> None:
    try:
        httpx2.post(f"{url}/v1/chat/completions", json=asked(), timeout=60)
    except httpx2.HTTPError:
        return


@pytest.mark.slow
def test_killing_the_worker_under_load_loses_nothing() -> None:
    options = "token_seconds=0.02,answer_words=20"
    with served("--engine", "fake", "--engine-options", options) as running:
        with ThreadPoolExecutor(32) as pool:
            asking = [pool.submit(_ask, running.url, place) for place in range(64)]
            time.sleep(0.3)
            running.worker().kill()
            outcomes = [future.result(timeout=60) for future in asking]
        assert all(status in {200, 503} for status, _ in outcomes)
        assert all(retry for status, retry in outcomes if status == 503)
        assert sum(status == 200 for status, _ in outcomes) > 32
        wait_until_ready(running.url)
        assert _ask(running.url, 0)[0] == 200


def _ask(url: str, place: int) -> tuple[int, str | None]:
    body = asked(data_url(encoded(width=40 + place)))
    reply = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    return reply.status_code, reply.headers.get("retry-after")


@pytest.mark.slow
def test_a_stream_whose_worker_dies_ends_in_an_error_event() -> None:
    with served(*SLOW) as running, httpx2.Client(base_url=running.url, timeout=30) as http:
        with http.stream("POST", "/v1/chat/completions", json=asked(stream=True)) as reply:
            lines = reply.iter_lines()
            next(lines)
            running.worker().kill()
            rest = [line for line in lines if line]
        assert rest[-2] == "event: error"
        error = json.loads(rest[-1].removeprefix("data: "))["error"]
        assert error["code"] == "worker_lost"
        assert "data: [DONE]" not in rest
        wait_until_ready(running.url)


@pytest.mark.slow
def test_a_client_that_leaves_frees_its_slot() -> None:
    with served(*SLOW) as running, httpx2.Client(base_url=running.url, timeout=30) as http:
        with pytest.raises(httpx2.ReadTimeout):
            http.post("/v1/chat/completions", json=asked(), timeout=0.3)
        other = asked(data_url(encoded()), stream=True)
        with http.stream("POST", "/v1/chat/completions", json=other) as reply:
            next(reply.iter_lines())
        with socket.create_connection(running.host_and_port) as cut:
            cut.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n")
            cut.sendall(b"content-type: application/json\r\n\r\n{")
            time.sleep(0.3)  # the request has begun when the client goes
        deadline = time.monotonic() + 5
        while (
            metric(http, "silkline_replica_requests") > 0
            or metric(http, "silkline_errors_total", code="client_left") < 3
        ):
            assert time.monotonic() < deadline, "a client that left was not noticed"
            time.sleep(0.05)
        assert metric(http, "silkline_requests_total", code="500") == 0
    assert "Traceback" not in "".join(running.log)


def test_a_server_without_its_model_does_not_start() -> None:
    with (
        pytest.raises(AssertionError, match="There is no file or folder /no/such/model"),
        served("--model", "/no/such/model"),
    ):
        pass


def test_an_answer_is_about_the_model_asked_for(openai: OpenAI) -> None:
    assert openai.models.retrieve(MODEL).id == MODEL
