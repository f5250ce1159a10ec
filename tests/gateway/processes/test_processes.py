"""Several gateway processes as clients and operators meet them, with one set of workers."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psutil
import pytest
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from silkline.gateway.keys import fragment, new_key
from tests.gateway.asking import asked
from tests.serving import Served, served

PROCESSES = 2
LIMIT = 20
WORDS = 4000
SHORT = {"max_tokens": 5}
ANYONE, LIMITED = new_key(), new_key()
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
FAKE = ("--engine", "fake", "--processes", str(PROCESSES), "--cache-ttl", "0")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(
        f'[tenants.all]\npaths = ["/", "/metrics"]\n\n'
        f"[tenants.some]\nrequests_per_minute = {LIMIT}\n\n"
        f"{fragment('all', ANYONE, None)}\n{fragment('some', LIMITED, None)}",
        encoding="utf-8",
    )
    options = f"token_seconds=0.01,answer_words={WORDS},crash_on_text=<<crash>>"
    with served(*FAKE, "--engine-options", options, "--keys-file", str(keys)) as running:
        yield running


class Client:
    """A connection to one of the gateway processes."""

    def __init__(self, running: Served, key: str = ANYONE) -> None:
        self._key = key
        self._connection = http.client.HTTPConnection(*running.host_and_port, timeout=60)
        self._connection.connect()
        self.process = self._process(running)

    def _process(self, running: Served) -> int:
        """The process that has accepted the connection; `/live` makes sure that one has."""
        assert self.ask("GET", "/live")[0] == 200
        port = self._connection.sock.getsockname()[1]
        for process in gateways(running):
            for other in process.net_connections("tcp"):
                if getattr(other.raddr, "port", None) == port:
                    return process.pid
        raise AssertionError("no gateway process has the connection")

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Sends a request; returns status, headers and body."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers |= {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = self._connection.getresponse()
        return reply.status, reply.headers, reply.read()

    def leave(self) -> None:
        """Ends the connection in the middle of a request."""
        self._connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


def gateways(running: Served) -> list[psutil.Process]:
    """The gateway processes."""
    children = psutil.Process(running.process.pid).children()
    return [child for child in children if "silkline.gateway.processes" in child.cmdline()]


@contextmanager
def clients(running: Served, key: str = ANYONE) -> Iterator[tuple[Client, Client]]:
    """A connection to each of the two gateway processes."""
    found: dict[int, Client] = {}
    deadline = time.monotonic() + 60
    with ExitStack() as stack:
        while len(found) < PROCESSES:
            assert time.monotonic() < deadline
            client = stack.enter_context(closing(Client(running, key)))
            found.setdefault(client.process, client)
        first, second = found.values()
        yield first, second


@pytest.fixture
def both(gateway: Served) -> Iterator[tuple[Client, Client]]:
    with clients(gateway) as both:
        yield both


def until(true: Callable[[], bool]) -> None:
    """Waits for what comes soon, but late on a busy machine."""
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def figure(client: Client, name: str, **labels: str) -> float:
    """The sum of a sample's values in the metrics that a process shows."""
    status, _, text = client.ask("GET", "/metrics")
    assert status == 200
    return sum(
        sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_each_process_answers_with_the_one_worker(
    gateway: Served, both: tuple[Client, Client]
) -> None:
    first, second = both
    assert [client.ask("POST", CHAT, asked(**SHORT))[0] for client in (first, second)] == [200, 200]
    workers = [
        child
        for child in psutil.Process(gateway.process.pid).children(recursive=True)
        if "silkline.engines.worker" in child.cmdline()
    ]
    assert len(workers) == 1


def test_metrics_of_each_process_are_those_of_all(both: tuple[Client, Client]) -> None:
    first, second = both
    before = figure(first, "silkline_requests_total", route=CHAT)
    for client in (first, second, second):
        assert client.ask("POST", CHAT, asked(**SHORT))[0] == 200
    assert figure(first, "silkline_requests_total", route=CHAT) == before + 3
    assert figure(second, "silkline_requests_total", route=CHAT) == before + 3
    assert figure(second, "silkline_request_seconds_count", route=CHAT) == before + 3
    assert figure(second, "silkline_replica_ready") == 1
    assert figure(second, "silkline_replica_given_requests_total") == before + 3


def test_each_process_shows_exemplars_of_all(both: tuple[Client, Client]) -> None:
    for asking, other, name in (*both, "of-first"), (*both[::-1], "of-second"):
        assert asking.ask("POST", CHAT, asked(**SHORT), x_request_id=name)[0] == 200
        text = other.ask("GET", "/metrics", accept="application/openmetrics-text")[2].decode()
        assert f'# {{request_id="{name}"}}' in text


def test_a_request_with_an_idempotency_key_is_executed_once(both: tuple[Client, Client]) -> None:
    first, second = both
    replies = [
        client.ask("POST", CHAT, asked(**SHORT), idempotency_key="k1") for client in (first, second)
    ]
    assert [status for status, _, _ in replies] == [200, 200]
    assert replies[1][1]["idempotent-replayed"] == "true"
    assert replies[0][2] == replies[1][2]


def test_the_same_key_at_the_same_time_is_executed_once(both: tuple[Client, Client]) -> None:
    first, second = both
    with ThreadPoolExecutor(2) as threads:
        replies = list(
            threads.map(
                lambda client: client.ask("POST", CHAT, asked(**SHORT), idempotency_key="k2"),
                (first, second),
            )
        )
    replayed = [reply for reply in replies if reply[1]["idempotent-replayed"]]
    assert sorted(status for status, _, _ in replies) in ([200, 409], [200, 200])
    assert len(replayed) == sum(status == 200 for status, _, _ in replies) - 1


def test_a_response_stored_by_one_process_is_found_by_the_other(
    both: tuple[Client, Client],
) -> None:
    first, second = both
    fields = {"store": True, "max_output_tokens": 5}
    status, _, body = first.ask("POST", RESPONSES, {"input": "One.", **fields})
    assert status == 200
    stored = json.loads(body)["id"]
    assert second.ask("GET", f"{RESPONSES}/{stored}")[0] == 200
    continued = {"input": "Two.", "previous_response_id": stored, **fields}
    assert second.ask("POST", RESPONSES, continued)[0] == 200


def test_a_rate_limit_holds_over_all_processes(gateway: Served) -> None:
    with clients(gateway, LIMITED) as both:
        began = time.monotonic()
        asking = asked(max_tokens=1)
        statuses = [both[number % 2].ask("POST", CHAT, asking)[0] for number in range(40)]
    refilled = LIMIT * (time.monotonic() - began) / 60
    admitted = statuses.count(200)
    assert LIMIT <= admitted <= LIMIT + refilled + PROCESSES - 1
    assert statuses.count(429) == len(statuses) - admitted


@pytest.mark.slow
def test_requests_in_flight_on_both_survive_the_death_of_the_worker(
    gateway: Served, both: tuple[Client, Client]
) -> None:
    restarts = figure(both[0], "silkline_replica_restarts_total")
    with ThreadPoolExecutor(2) as threads:
        answers = [
            threads.submit(client.ask, "POST", CHAT, asked(max_tokens=200)) for client in both
        ]
        time.sleep(0.1)
        gateway.worker().kill()
        assert [answer.result()[0] for answer in answers] == [200, 200]
    until(lambda: figure(both[1], "silkline_replica_restarts_total") == restarts + 1)
    assert figure(both[0], "silkline_replica_ready") == 1


def test_a_request_that_kills_workers_is_quarantined_in_all_processes(
    both: tuple[Client, Client],
) -> None:
    first, second = both
    restarts = figure(first, "silkline_replica_restarts_total")
    poison = {"model": "silkline-fake", "messages": [{"role": "user", "content": "<<crash>>"}]}
    assert first.ask("POST", CHAT, poison)[0] == 422
    assert second.ask("POST", CHAT, poison)[0] == 422
    assert second.ask("POST", CHAT, asked(**SHORT))[0] == 200
    assert figure(first, "silkline_replica_restarts_total") == restarts + 2


def test_only_its_own_connections_end_with_a_gateway_process(
    gateway: Served, both: tuple[Client, Client]
) -> None:
    victim, other = both
    worker = gateway.worker().pid
    counted = figure(other, "silkline_requests_total", route=CHAT)
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(victim.ask, "POST", CHAT, asked(max_tokens=WORDS))
        answer = threads.submit(other.ask, "POST", CHAT, asked(max_tokens=20))
        time.sleep(0.1)
        psutil.Process(victim.process).kill()
        assert answer.result()[0] == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            lost.result()
    # The worker works no more for the process that was killed.
    until(lambda: figure(other, "silkline_replica_engine_running") == 0)
    until(lambda: len(gateways(gateway)) == PROCESSES)
    until(lambda: any("serves again" in line for line in gateway.log))
    assert victim.process not in {process.pid for process in gateways(gateway)}
    assert gateway.worker().pid == worker
    with clients(gateway) as new:
        assert len(new) == PROCESSES
    assert figure(other, "silkline_requests_total", route=CHAT) >= counted + 1
    assert figure(other, "silkline_replica_requests") == 0


def test_the_official_client_is_served(gateway: Served) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key=ANYONE, max_retries=0) as client:
        answer = client.chat.completions.create(
            model="silkline-fake", messages=[{"role": "user", "content": "Hello"}], max_tokens=5
        )
    assert answer.choices[0].message.content


def test_every_line_of_the_log_is_whole(gateway: Served, both: tuple[Client, Client]) -> None:
    for client in both:
        client.ask("POST", CHAT, asked(**SHORT))
    until(lambda: len({event["process.pid"] for event in gateway.events("request")}) >= PROCESSES)
    assert all(json.loads(line)["message"] for line in gateway.log)


def test_a_request_is_cancelled_when_its_client_leaves(
    gateway: Served, both: tuple[Client, Client]
) -> None:
    leaving, other = both
    with closing(leaving), ThreadPoolExecutor(1) as threads:
        lost = threads.submit(leaving.ask, "POST", CHAT, asked(max_tokens=WORDS))
        until(lambda: figure(other, "silkline_replica_engine_running") == 1)
        leaving.leave()
        assert lost.exception()
    until(lambda: figure(other, "silkline_replica_engine_running") == 0)


def test_a_signal_drains_all_processes(gateway: Served, both: tuple[Client, Client]) -> None:
    with ThreadPoolExecutor(2) as threads:
        asking = asked(max_tokens=100)
        answers = [threads.submit(client.ask, "POST", CHAT, asking) for client in both]
        time.sleep(0.2)
        gateway.process.send_signal(signal.SIGTERM)
        assert [answer.result()[0] for answer in answers] == [200, 200]
    assert gateway.process.wait(timeout=30) == 0


@pytest.mark.slow
def test_a_hangup_does_not_end_a_server_with_a_settings_file(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(f"[server]\nprocesses = {PROCESSES}\n")
    with served("--engine", "fake", folder=tmp_path) as running:
        running.process.send_signal(signal.SIGHUP)
        until(lambda: any("settings need a restart" in line for line in running.log))
        assert running.process.poll() is None
        with clients(running) as (first, second):
            assert {each.ask("GET", "/ready")[0] for each in (first, second)} == {200}


@pytest.mark.full
def test_a_server_ends_whose_gateway_process_keeps_dying() -> None:
    with served(*FAKE) as running:
        deadline = time.monotonic() + 120
        while running.process.poll() is None:
            assert time.monotonic() < deadline
            # The one that was started last is the one that is killed each time.
            for process in sorted(gateways(running), key=psutil.Process.create_time)[1:]:
                process.kill()
            time.sleep(0.5)
        assert running.process.returncode != 0
    assert any("ended 5 times soon after its start" in line for line in running.log)


@pytest.mark.full
def test_a_gateway_process_that_hangs_is_replaced() -> None:
    with served(*FAKE) as running:
        stopped = gateways(running)[0]
        stopped.suspend()
        until(lambda: not stopped.is_running() or stopped.status() == psutil.STATUS_ZOMBIE)
        until(lambda: any("does not respond and is killed" in line for line in running.log))
        until(lambda: any("serves again" in line for line in running.log))


@pytest.mark.full
def test_all_processes_end_with_their_owner() -> None:
    with served(*FAKE) as running:
        family = psutil.Process(running.process.pid).children(recursive=True)
        assert set(gateways(running)) < set(family)
        running.process.kill()
        assert not psutil.wait_procs(family, timeout=30)[1]


@pytest.mark.full
def test_a_second_server_cannot_take_the_port() -> None:
    refused = pytest.raises(AssertionError, match="Address already in use")
    with served(*FAKE) as running, refused, served(*FAKE, "--port", str(running.host_and_port[1])):
        pass
