"""What a gateway process shares with the other processes of its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

from silkline.observe.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Siblings:
    """What a gateway process shares with the others.

    Attributes:
        metrics: The metrics of this process.
        render: Returns the metrics of all processes in Prometheus' text format. Raises
            `Overloaded` if they are not available now.
    """

    metrics: Metrics
    render: Callable[[], Awaitable[bytes]]

    @classmethod
    def none(cls) -> Self:
        """What a gateway has that is the only process."""
        metrics = Metrics()

        async def render() -> bytes:
            return metrics.render()

        return cls(metrics, render)
