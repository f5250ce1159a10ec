"""The log handler that ships events: a queue in memory, a thread for the disk, one for the server.

Logging an event formats it and appends it to the queue; it never waits for the disk or the server.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from silkline.config import LogSettings
from silkline.config.secrets import read_secret
from silkline.errors import EnvironmentFault
from silkline.observe.shipping.dead_letters import DeadLetters
from silkline.observe.shipping.folders import abandoned, claim
from silkline.observe.shipping.segment import MAX_EVENT_BYTES
from silkline.observe.shipping.server import LogServer
from silkline.observe.shipping.shipper import Counts, Shipper
from silkline.observe.shipping.spool import Spool

logger = logging.getLogger("silkline.logs")

WRITE_SECONDS = 0.05
"""Time between two writes of the queue to the spool."""

SYNC_SECONDS = 1.0
"""Maximum time until events in the spool survive a crash of the machine."""

SHIP_SECONDS = 0.5
"""Time between two looks for events to ship, while there are none."""

ADOPT_SECONDS = 10.0
"""Time between two looks for the spools of processes that have died."""

FLUSH_SECONDS = 3.0
"""Maximum time at the end of the process to ship what is left; the rest stays in the spool."""

_DEAD_SHARE = 16
"""Dead letters take at most the bytes of the spool divided by this."""


@dataclass(frozen=True, slots=True)
class ShippingSnapshot:
    """The state of the shipping of one process.

    Attributes:
        queued_bytes: Events in memory that wait for the spool.
        spool_bytes: Events in the spool.
        spooled: Events that the spool accepted.
        dropped: Events that were lost, by reason: `queue_full`, `too_large` or `damaged`.
        counts: What was shipped.
    """

    queued_bytes: int
    spool_bytes: int
    spooled: int
    dropped: Mapping[str, int]
    counts: Counts


class ShippingHandler(logging.Handler):
    """Ships each record that it gets, as its formatter renders it: one JSON object."""

    def __init__(
        self,
        settings: LogSettings,
        environment: Mapping[str, str],
        setup: Mapping[str, bytes],
    ) -> None:
        """Opens the spool and starts the threads.

        Args:
            settings: The settings; `log_ship_url` is set.
            environment: The environment, which may hold the server's key.
            setup: Documents to put at paths of the server before the first event.

        Raises:
            ConfigError: The server's key cannot be read.
            EnvironmentFault: The spool cannot be opened.
        """
        super().__init__()
        key = read_secret(
            settings.log_ship_key_env,
            settings.log_ship_key_file,
            environment,
            user="the log server",
        )
        self._root = Path(settings.log_spool).expanduser()
        self._spool_bytes = settings.log_spool_bytes
        try:
            self._claim = claim(self._root)
            self._spool = Spool(self._claim.folder, settings.log_spool_bytes)
        except OSError as error:
            raise EnvironmentFault(
                f"log_spool is {self._root}, which cannot be used: "
                f"{os.strerror(error.errno or 0)}. Name a folder that can be written."
            ) from error
        letters = DeadLetters(self._claim.folder, settings.log_spool_bytes // _DEAD_SHARE)
        self._server = LogServer(settings.log_ship_url, settings.log_stream, key)
        self._shipper = Shipper(self._server, letters, settings.log_bulk_bytes, _host_fields())
        self._setup = setup
        self._max_queue = settings.log_queue_bytes
        self._queue: deque[bytes] = deque()
        self._put_lock = threading.Lock()
        self._put_bytes = 0
        self._taken_bytes = 0
        self._spooled = 0
        self._dropped: Counter[str] = Counter()
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write, name="log spool", daemon=True)
        self._sender = threading.Thread(target=self._send, name="log shipper", daemon=True)
        self._writer.start()
        self._sender.start()
        # Before logging closes its handlers: that holds a lock that the threads may need.
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        """Appends the record's line to the queue, or drops it if there is no room."""
        event = self.format(record).encode()
        with self._put_lock:
            if len(event) > MAX_EVENT_BYTES:
                self._dropped["too_large"] += 1
            elif self._put_bytes - self._taken_bytes + len(event) > self._max_queue:
                self._dropped["queue_full"] += 1
            else:
                self._queue.append(event)
                self._put_bytes += len(event)

    def snapshot(self) -> ShippingSnapshot:
        """Returns the state of the shipping."""
        return ShippingSnapshot(
            self._put_bytes - self._taken_bytes,
            self._spool.size,
            self._spooled,
            {"queue_full": 0, "too_large": 0, **self._dropped, "damaged": self._spool.damaged},
            self._shipper.counts,
        )

    def close(self) -> None:
        """Writes the queue to the spool, and ships for at most `FLUSH_SECONDS`; idempotent."""
        super().close()
        if self._ending.is_set():
            return
        atexit.unregister(self.close)
        self._ending.set()
        deadline = time.monotonic() + FLUSH_SECONDS
        self._writer.join(FLUSH_SECONDS)
        self._sender.join(max(0.0, deadline - time.monotonic()))
        self._shipper.stop()
        self._sender.join(FLUSH_SECONDS)
        if not self._sender.is_alive() and not self._writer.is_alive():
            self._server.close()
            self._spool.close()
            self._claim.release()

    def _write(self) -> None:
        """The thread that writes the queue to the spool."""
        waiting: list[bytes] = []
        synced = time.monotonic()
        failing = False
        while not self._ending.wait(WRITE_SECONDS):
            self._write_once(waiting)
            if bool(waiting) != failing:
                failing = bool(waiting)
                _report_spool(self._spool.failure)
            if time.monotonic() - synced >= SYNC_SECONDS:
                self._spool.sync()
                synced = time.monotonic()
        self._write_once(waiting)
        self._spool.sync()

    def _write_once(self, waiting: list[bytes]) -> None:
        """Moves events from the queue to the spool; keeps in `waiting` what it does not accept."""
        while self._queue:
            waiting.append(self._queue.popleft())
        accepted = self._spool.append(waiting)
        self._taken_bytes += sum(map(len, waiting[:accepted]))
        self._spooled += accepted
        del waiting[:accepted]

    def _send(self) -> None:
        """The thread that ships events."""
        self._shipper.setup(self._setup)
        adopted = -ADOPT_SECONDS
        while True:
            ending = not self._writer.is_alive()
            try:
                shipped = self._shipper.ship(self._spool)
            except Exception:  # an internal error must not end the shipping for good
                logger.exception("the shipping of the logs failed")
                shipped = 0
            if ending:
                return
            if not shipped:
                if time.monotonic() - adopted >= ADOPT_SECONDS:
                    self._adopt()
                    adopted = time.monotonic()
                self._ending.wait(SHIP_SECONDS)

    def _adopt(self) -> None:
        """Ships the spools of processes that have died."""
        try:
            for other in abandoned(self._root):
                spool = Spool(other.folder, self._spool_bytes)
                self._shipper.ship(spool)
                spool.close()
        except OSError as error:
            fields = {"error.message": os.strerror(error.errno or 0)}
            logger.warning("old logs cannot be read", extra={"ecs": fields})


def _report_spool(failure: str) -> None:
    if failure:
        logger.warning("the spool of the logs takes no more: %s", failure)
    else:
        logger.info("the spool of the logs takes events again")


def _host_fields() -> bytes:
    """The fields that all events of this host share, to be added at the end of each."""
    fields = {
        "ecs.version": "8.11.0",
        "event.dataset": "silkline",
        "host.hostname": socket.gethostname(),
        "service.name": "silkline",
    }
    return b"," + msgspec.json.encode(fields)[1:-1]
