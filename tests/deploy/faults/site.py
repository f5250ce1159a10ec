"""A gateway under traffic that a real Prometheus watches, on a clock that runs faster."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from tests.campaign.standing import metric
from tests.deploy.faults.traffic import CHAT, Traffic, question
from tests.deploy.promtool import rendered
from tests.deploy.watching import Prometheus, prometheus, scaled, until
from tests.gateway.keyrings import bearer
from tests.serving import SILKLINE, Served, served

MODEL = "silkline-fake"


class Site:
    """What a fault is injected into; `serve` starts it.

    Attributes:
        folder: An empty folder, which is the gateway's working folder.
        factor: How much faster time runs for the alerts.
        stack: What is closed at the end, the last first.
        gateway: The gateway.
        watcher: The Prometheus that scrapes it, with the rendered rules.
        traffic: Who asks it.
    """

    gateway: Served
    watcher: Prometheus
    traffic: Traffic

    def __init__(self, folder: Path, factor: float) -> None:
        self.folder = folder
        self.factor = factor
        self.stack = ExitStack()
        self._key = self._scraper = ""
        self._began = time.monotonic()

    def __enter__(self) -> Site:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stack.close()

    def shorter(self, seconds: float) -> float:
        """Seconds on the clock of the tests, of seconds on the clock of the alerts."""
        return seconds / self.factor

    def serve(
        self,
        settings: str = '[engine]\nengine = "fake"\n',
        *,
        key: str = "",
        scraper: str = "",
        asked: bool = True,
        program: tuple[str, ...] = SILKLINE,
    ) -> None:
        """Starts the gateway, Prometheus, and the traffic if it is to be asked.

        Args:
            settings: The settings.
            key: An API key that may ask questions, if the settings name a keys file.
            scraper: One that may read the metrics.
            asked: Whether there is traffic from the start.
            program: As of `served`.
        """
        self._key, self._scraper = key, scraper
        (self.folder / "silkline.toml").write_text(settings)
        running = served(folder=self.folder, program=program)
        self.gateway = self.stack.enter_context(running)
        host, port = self.gateway.host_and_port
        watched = f'[monitoring]\nscrape_targets = ["{host}:{port}"]\nalertmanagers = []\n'
        if scraper:
            (self.folder / "scrape.key").write_text(scraper)
            watched += f'scrape_key_file = "{self.folder / "scrape.key"}"\n'
        rules = self.folder / "rendered"
        rules.mkdir()
        rendered(rules, settings + watched)
        for file in (rules / "prometheus" / "rules").iterdir():
            file.write_text(scaled(file.read_text(), self.factor))
        self.watcher = self.stack.enter_context(prometheus(rules, self.factor))
        if asked:
            self.traffic = Traffic(self.gateway.url, key)
            self.stack.callback(self.traffic.stop)
        until(lambda: self.watcher.value("up == 1"))
        self._began = time.monotonic()

    def ask(self, text: str, *urls: str, **fields: Any) -> httpx2.Response:
        """Asks one question, and waits for the response."""
        headers = bearer(self._key) if self._key else {}
        body = question(text, *urls, **fields)
        return httpx2.post(self.gateway.url + CHAT, json=body, headers=headers, timeout=60)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels."""
        return metric(self.gateway.url, f"silkline_{name}", self._scraper, **labels)

    def wait(self, name: str, above: float, seconds: float = 60, **labels: str) -> None:
        """Waits until a metric is above a value."""
        until(lambda: self.metric(name, **labels) > above, seconds)

    def fired(self) -> set[str]:
        """The alerts that fire or have fired since the gateway was first scraped."""
        return self.watcher.fired(max(0.1, time.monotonic() - self._began))

    def settle(self, seconds: float) -> None:
        """Lets healthy time pass, on the clock of the tests."""
        time.sleep(seconds)
