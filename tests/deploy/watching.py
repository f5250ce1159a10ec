"""A real Prometheus with the rendered configuration, on a clock that may run faster."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.promtool import program

SCRAPE_SECONDS = 15.0
LOOKBACK_SECONDS = 300.0
MIN_SCRAPE_SECONDS = 0.5

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?<=\[)(\d+)([smhd])(?=\])|(?<=for: )(\d+)([smhd])$", re.MULTILINE)
_NUMBER = re.compile(r"(?<=, )86400(?=\))|\b4 \* 3600\b")
"""The durations that PromQL takes as numbers."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def scaled(rules: str, factor: float) -> str:
    """Rules whose durations are divided by a factor; their expressions keep their form."""

    def shorter(found: re.Match[str]) -> str:
        number, unit = (found[1], found[2]) if found[1] else (found[3], found[4])
        return f"{round(int(number) * _SECONDS[unit] * 1000 / factor)}ms"

    numbers = {"86400": f"{86400 / factor:g}", "4 * 3600": f"{4 * 3600 / factor:g}"}
    return _NUMBER.sub(lambda found: numbers[found[0]], _DURATION.sub(shorter, rules))


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=10)

    def ask(self, path: str, **query: str) -> Any:
        reply = self._client.get(f"/api/v1/{path}", params=query)
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]

    def value(self, query: str) -> list[Any]:
        found: list[Any] = self.ask("query", query=query)["result"]
        return found

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self.ask("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def fired(self, seconds: float) -> set[str]:
        """The names of the alerts that fire or have fired in so many seconds."""
        firing = f'ALERTS{{alertstate="firing"}}[{round(seconds * 1000)}ms]'
        found = self.value(f"count by (alertname) (last_over_time({firing}))")
        return {each["metric"]["alertname"] for each in found}

    def close(self) -> None:
        self._client.close()

    def ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx2.HTTPError:
            return False


@contextmanager
def prometheus(folder: Path, factor: float = SCRAPE_SECONDS) -> Iterator[Prometheus]:
    """Runs Prometheus with a rendered configuration.

    Args:
        folder: Where it was rendered.
        factor: How often it scrapes and evaluates, as a multiple of what was rendered.
    """
    every = f"{round(max(SCRAPE_SECONDS / factor, MIN_SCRAPE_SECONDS) * 1000)}ms"
    file = folder / "prometheus" / "prometheus.yml"
    text = file.read_text().replace("15s", every)
    file.write_text(text.replace("scrape_timeout: 10s", f"scrape_timeout: {every}"))
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--query.lookback-delta={round(max(LOOKBACK_SECONDS / factor, 1))}s",
                "--enable-feature=exemplar-storage",
            ],
            stdout=log,
            stderr=log,
        )
    running = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(running.ready)
        yield running
    finally:
        running.close()
        process.terminate()
        process.wait(timeout=20)


def until(true: Callable[[], Any], seconds: float = 90, pause: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(pause)
