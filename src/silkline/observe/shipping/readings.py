"""Reads the state of the shipping of the logs as metrics."""

from __future__ import annotations

from collections.abc import Iterator

from silkline.observe import catalogue
from silkline.observe.declared import Reading
from silkline.observe.shipping.handler import ShippingSnapshot


def log_readings(shipping: ShippingSnapshot | None) -> Iterator[Reading]:
    """Metrics of the shipping of the logs; none if they are not shipped."""
    if shipping is None:
        return
    counts = shipping.counts
    yield catalogue.LOG_QUEUED, (), shipping.queued_bytes
    yield catalogue.LOG_SPOOL, (), shipping.spool_bytes
    yield catalogue.LOG_FAILING, (), counts.failing
    yield catalogue.LOG_SPOOLED, (), shipping.spooled
    yield catalogue.LOG_SHIPPED, (), counts.shipped
    yield catalogue.LOG_RETRIES, (), counts.retries
    yield catalogue.LOG_DEAD, (), counts.dead
    for reason, count in shipping.dropped.items():
        yield catalogue.LOG_DROPPED, (reason,), count
