"""Smaller pictures under load, where the engine's tokens follow the pixels.

The curve says from which load on which share of the pixel budget is used, the load being the
predicted wait divided by the SLO. A tenant's budget goes down at once and up again one step at a
time, after the load has been well below the step for a while. It goes by the tenant's own wait:
one who floods the server gets small pictures, the others keep theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from silkline.core import PixelBudget
from silkline.errors import ConfigError

CALM_SHARE = 0.5
"""A step is left again when the load is below this part of where it begins."""

CALM_SECONDS = 2.0
"""For how long the load must have been so low."""

MAX_TENANTS = 1000
"""Tenants whose step is kept; that of the one that was away longest is forgotten."""


@dataclass(slots=True)
class _Step:
    """Which step a tenant is on, counted from 0, and when it was last needed."""

    place: int
    needed: float


class Resolution:
    """Which share of the pixel budget a tenant's pictures get."""

    def __init__(self, curve: Mapping[float, float], clock: Callable[[], float]) -> None:
        """Takes shares by the load that they begin at.

        Raises:
            ConfigError: A higher load has a larger share.
        """
        self._curve = sorted(curve.items())
        if any(low[1] < high[1] for low, high in pairwise(self._curve)):
            raise ConfigError(
                "resolution_curve gives a higher load a larger share of the pixels; the shares "
                "must fall, or stay, as the load rises."
            )
        self._clock = clock
        self._steps: OrderedDict[str, _Step] = OrderedDict()

    def share(self, tenant: str, load: float) -> float:
        """The share of the pixel budget for a tenant's next request, above 0 to 1."""
        now = self._clock()
        wanted = sum(load >= begins for begins, _ in self._curve)
        step = self._steps.get(tenant)
        if step is None:
            if not wanted:
                return 1.0
            step = _Step(wanted, now)
        self._move(step, load, wanted, now)
        if not step.place:
            del self._steps[tenant]
            return 1.0
        self._steps[tenant] = step
        self._steps.move_to_end(tenant)
        if len(self._steps) > MAX_TENANTS:
            self._steps.popitem(last=False)
        return self._curve[step.place - 1][1]

    def lowest(self) -> float:
        """The smallest share that a tenant had at its last request; 1 when none is reduced."""
        return min((self._curve[step.place - 1][1] for step in self._steps.values()), default=1.0)

    def _move(self, step: _Step, load: float, wanted: int, now: float) -> None:
        if wanted >= step.place:
            step.place, step.needed = wanted, now
        elif load >= self._curve[step.place - 1][0] * CALM_SHARE:
            step.needed = now
        elif now - step.needed >= CALM_SECONDS:
            up = int((now - step.needed) / CALM_SECONDS)
            step.place, step.needed = max(wanted, step.place - up), now


def reduced(budget: PixelBudget, share: float) -> PixelBudget:
    """A budget with a share of the pixels."""
    return replace(budget, max_pixels=max(1, int(budget.max_pixels * share)))
