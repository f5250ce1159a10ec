"""Faults of the gateway's process, its children, its cache and its keys."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psutil

from silkline.gateway.keys import fragment, new_key
from tests.cache.redis_server import RedisServer
from tests.deploy.faults import leaking
from tests.deploy.faults.site import Site
from tests.deploy.faults.traffic import question
from tests.gateway.keyrings import write_keys
from tests.pictures import data_url, encoded
from tests.processes import DECODER

_LEAK = 20_000_000
"""Bytes a second. The machine's gigabyte lasts for a third of what a day of the alerts takes."""

_CRASHES = 11


def gateway_ends(site: Site) -> Iterator[None]:
    """The gateway is killed."""
    site.serve()
    yield
    site.gateway.process.kill()
    yield


def event_loop_blocked(site: Site) -> Iterator[None]:
    """The gateway is stopped for most of each second, as throttling does it."""
    site.serve()
    ended = threading.Event()
    site.stack.callback(ended.set)
    yield
    threading.Thread(target=_interrupt, args=(site, ended), daemon=True).start()
    yield


def _interrupt(site: Site, ended: threading.Event) -> None:
    process = site.gateway.process
    while not ended.wait(0.3):
        process.send_signal(signal.SIGSTOP)
        ended.wait(0.7)
        process.send_signal(signal.SIGCONT)


def memory_grows(site: Site) -> Iterator[None]:
    """The gateway leaks so much that its machine's memory would be full in a third of a day."""
    begins = site.folder / "leak"
    site.serve(program=(leaking.__file__, str(begins), str(_LEAK)))
    yield
    begins.touch()
    yield


def decoders_crash(site: Site) -> Iterator[None]:
    """Children that decode images stop, and are replaced when they take too long."""
    site.serve(
        '[engine]\nengine = "fake"\n[decode]\ndecode_processes = 1\ndecode_timeout = 0.5\n',
        asked=False,
    )
    site.ask("What is it?", data_url(encoded(40, 40)))  # starts the children
    yield
    for number in range(_CRASHES):
        for child in psutil.Process(site.gateway.process.pid).children(recursive=True):
            if DECODER in " ".join(child.cmdline()):
                child.suspend()
        site.ask("What is it?", data_url(encoded(41 + number, 40)))
        site.wait("decode_replaced_total", number)
    yield


def cache_degraded(site: Site) -> Iterator[None]:
    """The Redis behind a tier of the cache ends."""
    redis = site.stack.enter_context(closing(RedisServer(site.folder)))
    site.serve(f'[engine]\nengine = "fake"\n[cache]\ncache_redis = "{redis.url}"\n')
    yield
    redis.kill()
    site.wait("cache_degraded", 0)
    yield


def key_expires(site: Site) -> Iterator[None]:
    """A key has seven days left a moment from now."""
    keys = write_keys(site.folder)
    site.serve(
        f'[engine]\nengine = "fake"\n[auth]\nkeys_file = "{keys.file}"\n',
        key=keys.shop,
        scraper=keys.scraper,
    )
    yield
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
    with keys.file.open("a") as file:
        file.write(fragment("shop", new_key(), None) + f"expires = {expires.isoformat()}\n")
    site.wait("keys_next_expiry_seconds", 0)
    yield


def false_hits(site: Site) -> Iterator[None]:
    """Images that look alike get answers that differ."""
    site.serve('[engine]\nengine = "fake"\n[cache]\nnear_duplicates = true\nnear_sample = 1.0\n')
    yield

    def ask(number: int) -> dict[str, object]:
        image = data_url(encoded(64, 64, "red", quality=95 - number % 60))
        return question("What is it?", image)

    site.traffic.make = ask
    site.wait("cache_near_false_hits_total", 2)
    yield
