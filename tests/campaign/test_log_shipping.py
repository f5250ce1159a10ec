"""100,000 events through an outage, partial failures, 429 storms, a full spool and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.observe.shipping.log_server import Proxy, documents, osmem, proxy, wait_for
from tests.observe.shipping.shipping import numbers, shipped

EVENTS = 100_000
LIVES = 4
OF_A_LIFE = 10_000_000
SPOOL_BYTES = 8 * 2**20

LIFE = """
import logging, sys, time
from silkline.config import LogSettings
from silkline.observe.logs import configure_logging, shipping_snapshot

url, spool, first, count, spool_bytes = sys.argv[1:]
configure_logging(
    LogSettings(
        log_ship_url=url, log_spool=spool, log_stream="campaign",
        log_spool_bytes=int(spool_bytes), log_queue_bytes=2**20,
    )
)
logging.getLogger().handlers.pop(0)
log = logging.getLogger("silkline.test")
for number in range(int(first), int(first) + int(count)):
    while shipping_snapshot().queued_bytes > 2**19:  # the spool is full: this campaign drops none
        time.sleep(0.01)
    log.info("request", extra={"ecs": {"silkline.number": number}})
    if number % 500 == 0:
        print(shipping_snapshot().spooled, flush=True)
while shipping_snapshot().queued_bytes:
    time.sleep(0.01)
print(shipping_snapshot().spooled, sum(shipping_snapshot().dropped.values()), flush=True)
sys.stdin.read()
"""


def run_life(url: str, spool: Path, life: int) -> int:
    """Logs events and is killed; returns how many of them the spool had."""
    count = EVENTS // LIVES
    arguments = [url, str(spool), str(life * OF_A_LIFE), str(count), str(SPOOL_BYTES)]
    process = subprocess.Popen(
        [sys.executable, "-c", LIFE, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    spooled = 0
    for line in process.stdout or ():
        assert sum(path.stat().st_size for path in spool.rglob("*.events")) <= SPOOL_BYTES
        spooled, *dropped = map(int, line.split())
        if dropped:
            assert dropped == [0]
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return spooled


def trouble(faults: Any, stopped: threading.Event) -> None:
    """An outage of 30 s, then storms of 429, for as long as the campaign runs."""
    time.sleep(5)
    faults.down = True
    time.sleep(30)
    faults.down = False
    while not stopped.wait(5):
        faults.status = 429
        stopped.wait(2)
        faults.status = 0


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_no_event_is_lost_or_doubled_whatever_happens(tmp_path: Path) -> None:
    seen: set[int] = set()

    def refuse(event: dict[str, Any]) -> int:
        number = int(event.get("silkline.number", 1))  # the shipper logs outages itself
        if number % 10 or number in seen:
            return 0
        seen.add(number)
        return 429 if number % 20 else 503

    stopped = threading.Event()
    with osmem() as url, proxy(url) as faulty:
        faulty.faults.refuse = refuse
        faulty.faults.lose_answers = 0.05
        troubles = threading.Thread(target=trouble, args=(faulty.faults, stopped))
        troubles.start()
        accepted = [run_life(faulty.url, tmp_path, life) for life in range(LIVES)]
        stopped.set()
        troubles.join()
        _ship_the_rest(faulty, tmp_path)
        shipped_events = documents(url, "campaign")
    found = numbers([event for event in shipped_events if event["message"] == "request"])
    assert found.pop() == -1  # of `_ship_the_rest`
    assert min(accepted) >= EVENTS // LIVES  # and what the shipper logged about the outage
    expected = [
        life * OF_A_LIFE + number for life in range(LIVES) for number in range(EVENTS // LIVES)
    ]
    assert found == expected


def _ship_the_rest(faulty: Proxy, folder: Path) -> None:
    with shipped(faulty.url, folder, log_stream="campaign", log_spool_bytes=SPOOL_BYTES) as log:
        log.number(-1)
        wait_for(lambda: log.handler.snapshot().spool_bytes < 1000, 900)
