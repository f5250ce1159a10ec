"""What a gateway process shares with the other processes of its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from silkline.config import SloSettings
from silkline.observe.exposition import Format
from silkline.observe.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Siblings:
    """What a gateway process shares with the others.

    Attributes:
        metrics: The metrics of this process.
        render: Returns the metrics of all processes in a text format. Raises `Overloaded` if they
            are not available now.
    """

    metrics: Metrics
    render: Callable[[Format], Awaitable[bytes]]

    @classmethod
    def none(cls, slo: SloSettings) -> Self:
        """What a gateway has that is the only process, with the objectives that it counts."""
        metrics = Metrics(slo)

        async def render(form: Format) -> bytes:
            return metrics.render(form)

        return cls(metrics, render)
