"""Events that are shipped to a real log server, which fails in the ways that such servers do."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from silkline.config import LogSettings
from silkline.errors import ConfigError, EnvironmentFault
from silkline.observe.shipping.handler import ShippingHandler
from tests.observe.shipping.log_server import Proxy, documents, free_port, wait_for
from tests.observe.shipping.shipping import numbers, shipped


def first_attempts(share: int, status: int) -> Any:
    """Refuses every `share`-th event once, with a status."""
    seen: set[int] = set()

    def refuse(event: dict[str, Any]) -> int:
        number = event.get("silkline.number", 1)  # the shipper logs outages itself
        if number % share or number in seen:
            return 0
        seen.add(number)
        return status

    return refuse


def test_an_event_arrives_with_its_fields(log_server: str, tmp_path: Path) -> None:
    with shipped(log_server, tmp_path, log_stream="fields") as log:
        log.number(1, **{"url.path": '/\u00e4"\n', "event.duration": 5})
        log.wait_shipped(1)
    (event,) = documents(log_server, "fields")
    assert event["message"] == "request"
    assert event["log.logger"] == "silkline.test"
    assert event["url.path"] == '/\u00e4"\n'
    assert event["service.name"] == event["event.dataset"] == "silkline"
    assert event["host.hostname"]


def test_events_keep_their_order(log_server: str, tmp_path: Path) -> None:
    with shipped(log_server, tmp_path, log_stream="order") as log:
        log.number(*range(400))
        log.wait_shipped(400)
        snapshot = log.handler.snapshot()
    assert numbers(documents(log_server, "order")) == list(range(400))
    assert snapshot.spooled == 400
    assert snapshot.queued_bytes == 0
    assert set(snapshot.dropped.values()) == {0}


def test_an_outage_loses_and_doubles_nothing(faulty: Proxy, tmp_path: Path) -> None:
    with shipped(faulty.url, tmp_path, log_stream="outage") as log:
        log.number(*range(100))
        log.wait_shipped(100)
        faulty.faults.down = True
        log.number(*range(100, 300))
        log.wait_spooled(300)
        wait_for(lambda: log.handler.snapshot().counts.failing, 10)
        faulty.faults.down = False
        log.wait_shipped(300)
        assert not log.handler.snapshot().counts.failing
    assert numbers(documents(faulty.target, "outage")) == list(range(300))


@pytest.mark.parametrize("status", [429, 503, 403, 404, 500])
def test_events_that_the_server_refuses_for_now_are_sent_again(
    faulty: Proxy, tmp_path: Path, status: int
) -> None:
    stream = f"partial-{status}"
    faulty.faults.refuse = first_attempts(10, status)
    with shipped(faulty.url, tmp_path, log_stream=stream) as log:
        log.number(*range(100))
        log.wait_shipped(100)
        counts = log.handler.snapshot().counts
    assert counts.retries == 10
    assert counts.dead == 0
    assert numbers(documents(faulty.target, stream)) == list(range(100))


@pytest.mark.parametrize("status", [429, 401, 500, 502])
def test_a_server_that_refuses_everything_is_asked_again(
    faulty: Proxy, tmp_path: Path, status: int
) -> None:
    stream = f"storm-{status}"
    faulty.faults.status = status
    with shipped(faulty.url, tmp_path, log_stream=stream) as log:
        log.number(*range(50))
        wait_for(lambda: faulty.seen.requests >= 2, 10)
        faulty.faults.status = 0
        log.wait_shipped(50)
    assert numbers(documents(faulty.target, stream)) == list(range(50))


def test_events_whose_answer_was_lost_are_not_doubled(faulty: Proxy, tmp_path: Path) -> None:
    faulty.faults.lose_answers = 0.5
    with shipped(faulty.url, tmp_path, log_stream="lost", log_bulk_bytes=64 * 1024) as log:
        log.number(*range(300), **{"silkline.text": "x" * 1000})
        log.wait_shipped(300)
    assert faulty.seen.requests > 6
    assert numbers(documents(faulty.target, "lost")) == list(range(300))


def test_an_event_that_the_server_never_takes_is_a_dead_letter(
    log_server: str, tmp_path: Path
) -> None:
    with OpenSearch(log_server) as client:
        client.indices.create(
            index="dead",
            body={
                "mappings": {"properties": {"silkline": {"properties": {"n": {"type": "long"}}}}}
            },
        )
    with shipped(log_server, tmp_path, log_stream="dead") as log:
        log.number(1, 2, **{"silkline.n": 5})
        log.number(3, **{"silkline.n": "five"})
        log.number(4, **{"silkline.n": 6})
        log.wait_shipped(3)
        assert log.handler.snapshot().counts.dead == 1
    assert numbers(documents(log_server, "dead")) == [1, 2, 4]
    (line,) = (tmp_path / "0" / "dead.ndjson").read_text().splitlines()
    letter = json.loads(line)
    assert letter["status"] == 400
    assert letter["event"]["silkline.n"] == "five"
    assert "mapper_parsing_exception" in letter["error"]


def test_an_event_with_which_the_server_fails_for_good_is_a_dead_letter(
    faulty: Proxy, tmp_path: Path
) -> None:
    faulty.faults.refuse = lambda event: 500 if event["silkline.number"] == 1 else 0
    with shipped(faulty.url, tmp_path, log_stream="poison") as log:
        log.number(*range(10))
        wait_for(lambda: log.handler.snapshot().counts.dead == 1, 30)
        log.wait_shipped(9)
    assert numbers(documents(faulty.target, "poison")) == [0, *range(2, 10)]


def test_dead_letters_are_bounded(faulty: Proxy, tmp_path: Path) -> None:
    faulty.faults.refuse = lambda event: 400
    with shipped(faulty.url, tmp_path, log_stream="bounded", log_spool_bytes=2**20) as log:
        for start in range(0, 1000, 100):
            log.number(*range(start, start + 100))
            wait_for(lambda: log.handler.snapshot().counts.dead == start + 100, 10)  # noqa: B023
    kept = sorted((tmp_path / "0").glob("dead*"))
    assert len(kept) == 2
    assert sum(path.stat().st_size for path in kept) <= 2**20 // 16
    newest = json.loads((tmp_path / "0" / "dead.ndjson").read_text().splitlines()[-1])
    assert newest["event"]["silkline.number"] > 800


def test_a_bulk_request_that_is_too_large_is_split(faulty: Proxy, tmp_path: Path) -> None:
    faulty.faults.max_bytes = 3000
    with shipped(faulty.url, tmp_path, log_stream="split") as log:
        log.number(*range(10))
        log.number(10, **{"silkline.long": "x" * 4000})
        log.number(*range(11, 20))
        log.wait_shipped(19)
        wait_for(lambda: log.handler.snapshot().counts.dead == 1, 10)
    assert numbers(documents(faulty.target, "split")) == [*range(10), *range(11, 20)]


def test_bulk_requests_keep_to_their_size(faulty: Proxy, tmp_path: Path) -> None:
    with shipped(faulty.url, tmp_path, log_stream="sized", log_bulk_bytes=64 * 1024) as log:
        log.number(*range(300), **{"silkline.text": "x" * 1000})
        log.wait_shipped(300)
    assert faulty.seen.requests >= 5
    assert faulty.seen.largest < 2 * 64 * 1024  # with ids and the host's fields


def test_memory_is_bounded_while_the_disk_takes_nothing(faulty: Proxy, tmp_path: Path) -> None:
    settings: Any = {"log_queue_bytes": 64 * 1024, "log_stream": "memory"}
    with shipped(faulty.url, tmp_path, **settings) as log:
        spool: Any = log.handler._spool
        with spool._lock:  # a disk that does not come back
            thread = threading.Thread(target=log.number, args=range(5000))
            thread.start()
            thread.join(timeout=30)
            assert not thread.is_alive()  # logging did not wait
            snapshot = log.handler.snapshot()
        assert snapshot.queued_bytes <= 64 * 1024
        dropped = snapshot.dropped["queue_full"]
        assert 0 < dropped < 5000
        log.wait_shipped(5000 - dropped)
    found = numbers(documents(faulty.target, "memory"))
    assert found == list(range(5000 - dropped))


def test_disk_is_bounded_while_the_server_is_down(faulty: Proxy, tmp_path: Path) -> None:
    settings: Any = {"log_queue_bytes": 64 * 1024, "log_spool_bytes": 2**20, "log_stream": "disk"}
    faulty.faults.down = True
    with shipped(faulty.url, tmp_path, **settings) as log:
        number = 0
        while not log.handler.snapshot().dropped["queue_full"]:
            log.number(number)
            number += 1
        files = list((tmp_path / "0").glob("*.events"))
        assert sum(path.stat().st_size for path in files) <= 2**20
        assert log.handler.snapshot().spool_bytes <= 2**20
        faulty.faults.down = False
        log.wait_shipped(number - log.handler.snapshot().dropped["queue_full"])
        dropped = log.handler.snapshot().dropped["queue_full"]
    found = numbers(documents(faulty.target, "disk"))
    assert found == list(range(number - dropped))  # what was dropped came last


def test_an_event_that_is_too_large_is_dropped_and_counted(log_server: str, tmp_path: Path) -> None:
    with shipped(log_server, tmp_path, log_stream="large") as log:
        log.number(1, **{"silkline.long": "x" * 300_000})
        log.number(2)
        log.wait_shipped(1)
        assert log.handler.snapshot().dropped["too_large"] == 1
    assert numbers(documents(log_server, "large")) == [2]


def test_what_is_left_at_the_end_is_shipped_by_the_next_process(
    faulty: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("silkline.observe.shipping.handler.FLUSH_SECONDS", 0.5)
    faulty.faults.down = True
    with shipped(faulty.url, tmp_path, log_stream="left") as log:
        log.number(*range(20))
    faulty.faults.down = False
    with shipped(faulty.url, tmp_path, log_stream="left") as log:
        log.number(20)
        log.wait_shipped(21)
    assert numbers(documents(faulty.target, "left")) == list(range(21))


def test_the_end_of_the_process_ships_what_it_logged_last(log_server: str, tmp_path: Path) -> None:
    with shipped(log_server, tmp_path, log_stream="last") as log:
        log.number(*range(100))
    assert numbers(documents(log_server, "last")) == list(range(100))
    assert list((tmp_path / "0").glob("*.events")) == []


KILLED = """
import itertools, logging, sys, time
from silkline.config import LogSettings
from silkline.observe.logs import configure_logging, shipping_snapshot

url, spool, stream, first = sys.argv[1:]
configure_logging(LogSettings(log_ship_url=url, log_spool=spool, log_stream=stream))
logging.getLogger().handlers.pop(0)
log = logging.getLogger("silkline.test")
for number in itertools.count(int(first)):
    log.info("request", extra={"ecs": {"silkline.number": number}})
    time.sleep(0.0005)
    if number % 20 == 0:
        print(number, shipping_snapshot().spooled, flush=True)
"""


def test_a_process_that_is_killed_loses_nothing_that_the_spool_had(
    faulty: Proxy, tmp_path: Path
) -> None:
    faulty.faults.refuse = first_attempts(7, 429)
    accepted = []
    for first in (0, 10_000_000):
        arguments = [faulty.url, str(tmp_path), "killed", str(first)]
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        spooled = 0
        for line in process.stdout or ():
            spooled = int(line.split()[1])
            if spooled > 200:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        accepted.append(spooled)
    with shipped(faulty.url, tmp_path, log_stream="killed") as log:
        log.number(-1)
        wait_for(lambda: log.handler.snapshot().spool_bytes < 200, 30)
        log.wait_shipped(1)
    events = documents(faulty.target, "killed")
    found = numbers([event for event in events if event["message"] == "request"])
    assert len(found) == len(set(found))
    for first, spooled in zip((0, 10_000_000), accepted, strict=True):
        of_life = [number for number in found if first <= number < first + 10_000_000]
        assert of_life == list(range(first, first + len(of_life)))
        assert len(of_life) >= spooled


def test_another_process_ships_what_one_that_died_has_left(log_server: str, tmp_path: Path) -> None:
    dead = tmp_path / "1"
    with shipped(f"http://127.0.0.1:{free_port()}", tmp_path, log_stream="adopted") as first:
        del first
    from silkline.observe.shipping.spool import Spool  # noqa: PLC0415

    spool = Spool(dead, 2**20)
    spool.append([b'{"silkline.number":%d}' % number for number in range(10)])
    with shipped(log_server, tmp_path, log_stream="adopted") as log:
        log.wait_shipped(10)
    assert numbers(documents(log_server, "adopted")) == list(range(10))
    assert list(dead.glob("*.events")) == []


def test_each_process_has_a_spool_of_its_own(log_server: str, tmp_path: Path) -> None:
    with (
        shipped(log_server, tmp_path, log_stream="several") as one,
        shipped(log_server, tmp_path, log_stream="several") as other,
    ):
        one.number(*range(100))
        other.number(*range(100, 200))
        one.wait_shipped(100)
        other.wait_shipped(100)
    assert sorted(numbers(documents(log_server, "several"))) == list(range(200))


@pytest.mark.parametrize(
    ("key", "header"),
    [("abc123==", "ApiKey abc123=="), ("user:pass:word", "Basic dXNlcjpwYXNzOndvcmQ=")],
)
def test_the_key_is_sent_as_the_server_expects_it(
    faulty: Proxy, tmp_path: Path, key: str, header: str
) -> None:
    settings: Any = {"log_stream": "keyed", "log_ship_key_env": "KEY"}
    with shipped(faulty.url, tmp_path, {"KEY": key}, **settings) as log:
        log.number(1)
        log.wait_shipped(1)
    assert faulty.seen.authorizations == {header}


def test_a_key_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    settings = LogSettings(
        log_ship_url="http://127.0.0.1:1", log_spool=str(tmp_path), log_ship_key_env="NOTHING"
    )
    with pytest.raises(ConfigError, match="variable NOTHING holds no key for the log server"):
        ShippingHandler(settings, {}, {})


def test_a_spool_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = LogSettings(
        log_ship_url="http://127.0.0.1:1", log_spool=str(tmp_path / "file" / "spool")
    )
    with pytest.raises(EnvironmentFault, match=r"log_spool is .* Not a directory"):
        ShippingHandler(settings, {}, {})
