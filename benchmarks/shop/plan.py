"""What is played: phases of load, and what happens meanwhile."""

from __future__ import annotations

import msgspec

SLO = 0.42
"""Seconds within which an answer is in time."""

BASE_RATE = 139.0
"""Requests a second: 12 million a day."""

WEIGHTS = (3, 2, 1)
"""Of the gateways behind nginx."""


class Phase(msgspec.Struct, frozen=True):
    """A time of constant load.

    Attributes:
        name: What it is.
        rate: Requests a second.
        seconds: Its length.
    """

    name: str
    rate: float
    seconds: float


class Plan(msgspec.Struct, frozen=True):
    """The case.

    Attributes:
        rate: Requests a second outside the sale.
        sale_factor: So many times as many in the sale.
        sale_seconds: Length of the sale.
        calm_seconds: Length of the time before it, and of the time after it.
        catalogue: Products at the beginning.
        new: Share of requests about a product that was never asked for, 0 to 1.
        zipf: Exponent of the products' popularity.
        planted: Share of products whose row in the table has one wrong value.
        warm: Most popular products that are asked for before the clock starts.
        canary_share: The candidate's share of the products.
        sample: Products whose answers are compared with the model alone.
        step_seconds: Length of a step of the search for the highest load.
        first_step: Load of the first step for the other design, in requests a second.
        naive_seconds: Length of the other design's time at the base rate.
        timeout: Seconds from when a request was due until it is lost.
        machine_price: Of the machine per hour, in any currency.
        seed: Equal seeds send equal requests.
    """

    rate: float = BASE_RATE
    sale_factor: float = 5.0
    sale_seconds: float = 600.0
    calm_seconds: float = 120.0
    catalogue: int = 5000
    new: float = 0.02
    zipf: float = 1.0
    planted: float = 0.1
    warm: int = 1000
    canary_share: float = 0.05
    sample: int = 500
    step_seconds: float = 8.0
    first_step: float = 20.0
    naive_seconds: float = 30.0
    timeout: float = 30.0
    machine_price: float = 0.1
    seed: int = 1

    @property
    def sale_rate(self) -> float:
        """Requests a second in the sale."""
        return self.rate * self.sale_factor

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of the run, in order."""
        return (
            Phase("before", self.rate, self.calm_seconds),
            Phase("sale", self.sale_rate, self.sale_seconds),
            Phase("after", self.rate, self.calm_seconds),
        )

    @property
    def seconds(self) -> float:
        """Length of the run."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def canary_at(self) -> float:
        """When the canary begins, in seconds."""
        return self.calm_seconds / 2

    @property
    def kill_at(self) -> float:
        """When a gateway is killed: in the middle of the sale."""
        return self.calm_seconds + self.sale_seconds / 2

    @property
    def restart_at(self) -> float:
        """When it is started again."""
        return self.kill_at + min(30.0, self.sale_seconds / 6)

    def new_products(self) -> int:
        """New products to keep ready: those of the run, and as many again for what comes after."""
        requests = sum(phase.rate * phase.seconds for phase in self.phases)
        search = self.step_seconds * self.sale_rate * 12
        return round((requests * 1.1 + search) * self.new) + 20


QUICK = Plan(
    rate=20.0,
    sale_seconds=6.0,
    calm_seconds=6.0,
    catalogue=60,
    warm=30,
    sample=40,
    step_seconds=2.0,
    naive_seconds=4.0,
)
"""Shows that all parts run; its figures say nothing."""
