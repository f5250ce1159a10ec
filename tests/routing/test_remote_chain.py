"""Two Silklines, one in front of the other, as a team would run them."""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.cache.redis_server import free_port
from tests.campaign.standing import metric
from tests.gateway.keyrings import write_keys
from tests.pictures import data_url, encoded
from tests.serving import Served, served

FAKE = ("--engine", "fake", "--cache-ttl", "0")


@pytest.fixture(scope="module")
def far() -> Iterator[Served]:
    with served(
        *FAKE, "--engine-options", "token_seconds=0.002,oom_on_text=<oom>,slow_on_text=<slow>"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def near(far: Served) -> Iterator[Served]:
    with served("--engine", "remote", "--remotes", f"{far.url} name=far") as server:
        yield server


def chat(text: str = "What is this?", **fields: object) -> dict[str, object]:
    picture = {"type": "image_url", "image_url": {"url": data_url(encoded())}}
    content = [picture, {"type": "text", "text": text}]
    messages = [{"role": "user", "content": content}]
    return {"model": "silkline-fake", "messages": messages, **fields}


def text_of(stream: str) -> str:
    chunks = [
        json.loads(line.removeprefix("data: "))
        for line in stream.splitlines()
        if line.startswith("data: {")
    ]
    return "".join(
        choice["delta"].get("content", "") for each in chunks for choice in each["choices"]
    )


def test_both_give_the_same_answer_whole_and_streamed(far: Served, near: Served) -> None:
    with httpx2.Client(timeout=30) as client:
        path = "/v1/chat/completions"
        direct = client.post(far.url + path, json=chat()).json()
        through = client.post(near.url + path, json=chat())
        assert through.status_code == 200, through.text
        body = through.json()
        assert body["choices"] == direct["choices"]
        assert body["usage"] == direct["usage"]
        assert through.headers["x-silkline-cache"] == "miss"
        streamed = client.post(near.url + path, json=chat(stream=True, seed=1)).text
        assert text_of(streamed) == direct["choices"][0]["message"]["content"]
        assert streamed.endswith("data: [DONE]\n\n")
        listed = client.get(near.url + "/v1/models").json()["data"][0]
        assert (listed["id"], listed["engine"]) == ("silkline-fake", "remote")


def test_no_worker_runs_in_front(near: Served) -> None:
    commands = [" ".join(child.cmdline()) for child in psutil.Process(near.process.pid).children()]
    assert not [command for command in commands if "engines.worker" in command]
    metrics = httpx2.get(near.url + "/metrics").text
    assert re.search(r'silkline_replica_ready\{model="[^"]+",replica="far"\} 1.0', metrics)


def test_the_same_id_is_in_both_logs(far: Served, near: Served) -> None:
    httpx2.post(near.url + "/v1/chat/completions", json=chat("id?"), headers={"x-request-id": "a1"})
    limit = time.monotonic() + 5
    while time.monotonic() < limit:
        ids = [
            {event.get("http.request.id") for event in server.events("request")}
            for server in (far, near)
        ]
        if all("a1" in each for each in ids):
            return
        time.sleep(0.05)
    pytest.fail("the id is not in both logs")


def test_an_error_there_is_an_error_here(near: Served) -> None:
    refused = httpx2.post(near.url + "/v1/chat/completions", json=chat("<oom>"))
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) == 5
    long = httpx2.post(near.url + "/v1/chat/completions", json=chat("many words " * 8000))
    assert (long.status_code, long.json()["error"]["param"]) == (400, "messages")


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_gone_everywhere(far: Served, near: Served, stream: bool) -> None:
    def running(server: Served) -> float:
        return metric(server.url, "silkline_replica_requests")

    def wait(count: float, server: Served) -> None:
        limit = time.monotonic() + 10
        while running(server) != count:
            assert time.monotonic() < limit, "it did not come to be"
            time.sleep(0.02)

    body = json.dumps(chat("<slow>", stream=stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
    with socket.create_connection(near.host_and_port) as client:
        client.sendall(head.encode() + b"content-type: application/json\r\n\r\n" + body)
        for server in (near, far):
            wait(1, server)
    for server in (near, far):
        wait(0, server)


def first_status(url: str, seconds: float = 20.0) -> int:
    """What a server says that may not listen yet."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        try:
            return httpx2.get(url).status_code
        except httpx2.TransportError:
            time.sleep(0.05)
    pytest.fail("nobody listens")


@pytest.mark.slow
def test_it_starts_before_its_server_and_is_ready_when_that_is() -> None:
    far_port, near_port = free_port(), free_port()
    seen: list[int] = []
    over = threading.Event()

    def later() -> None:
        seen.append(first_status(f"http://127.0.0.1:{near_port}/ready"))
        with served(*FAKE, "--port", str(far_port)):
            over.wait(30)

    thread = threading.Thread(target=later)
    thread.start()
    try:
        remote = f"http://127.0.0.1:{far_port}"
        with served("--port", str(near_port), "--remotes", remote) as near:
            assert seen == [503]
            assert httpx2.get(near.url + "/ready").status_code == 200
            assert httpx2.post(near.url + "/v1/chat/completions", json=chat()).status_code == 200
    finally:
        over.set()
        thread.join(40)


@pytest.mark.slow
def test_the_far_one_may_want_a_key(tmp_path: Path) -> None:
    keys = write_keys(tmp_path)
    held = tmp_path / "held"
    held.write_text(keys.shop + "\n")
    with served(*FAKE, "--keys-file", str(keys.file)) as far:
        assert httpx2.get(far.url + "/v1/models").status_code == 401
        with served("--remotes", f"{far.url} key_file={held}") as near:
            assert httpx2.post(near.url + "/v1/chat/completions", json=chat()).status_code == 200
            assert not [line for line in near.log if keys.shop in line]


@pytest.mark.slow
def test_workers_and_remotes_stand_side_by_side(far: Served) -> None:
    with served(*FAKE, "--remotes", f"{far.url} name=far") as server:
        assert server.worker().is_running()
        limit = time.monotonic() + 10
        while metric(server.url, "silkline_replica_ready", replica="far") != 1:
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert metric(server.url, "silkline_replica_ready", replica="0") == 1
        statuses = {
            httpx2.post(server.url + "/v1/chat/completions", json=chat(seed=seed)).status_code
            for seed in range(10)
        }
        assert statuses == {200}
        given = [
            metric(server.url, "silkline_replica_given_requests_total", replica=name)
            for name in ("0", "far")
        ]
        assert sum(given) == 10
