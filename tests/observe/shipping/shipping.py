"""Loggers whose events are shipped, as the gateway does it, but beside the tests' own logging."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from silkline.config import LogSettings
from silkline.observe.logs import EcsFormatter
from silkline.observe.shipping.handler import ShippingHandler
from tests.observe.shipping.log_server import wait_for


class Shipped(logging.Logger):
    """A logger whose events are shipped."""

    def __init__(self, handler: ShippingHandler) -> None:
        super().__init__("silkline.test")
        self.handler = handler
        handler.setFormatter(EcsFormatter())
        self.addHandler(handler)

    def number(self, *numbers: int, **fields: object) -> None:
        """Logs events with these numbers."""
        for number in numbers:
            self.info("request", extra={"ecs": {"silkline.number": number, **fields}})

    def wait_shipped(self, count: int, seconds: float = 30) -> None:
        wait_for(lambda: self.handler.snapshot().counts.shipped >= count, seconds)

    def wait_spooled(self, count: int, seconds: float = 30) -> None:
        wait_for(lambda: self.handler.snapshot().spooled >= count, seconds)


@contextmanager
def shipped(
    url: str,
    spool: Path,
    environment: Mapping[str, str] = {},
    setup: Mapping[str, bytes] = {},
    **settings: Any,
) -> Iterator[Shipped]:
    """A logger whose events go to the server at a URL until the block ends."""
    chosen = LogSettings(log_ship_url=url, log_spool=str(spool), **settings)
    handler = ShippingHandler(chosen, environment, setup)
    try:
        yield Shipped(handler)
    finally:
        handler.close()


def numbers(events: list[dict[str, Any]]) -> list[int]:
    return [event["silkline.number"] for event in events]
