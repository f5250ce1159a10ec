"""Smaller images under load, for engines whose image tokens depend on the pixels.

The curve gives the share of the pixel budget by load, which is the predicted wait divided by the
SLO. A tenant's budget falls at once, and rises one step at a time after the load has been well
below the step for a while. The load is the tenant's own: a tenant that floods the server gets small
images, the others keep theirs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from silkline.core import PixelBudget
from silkline.errors import ConfigError

CALM_SHARE = 0.5
"""A tenant leaves a step when the load is below this share of the load where the step begins."""

CALM_SECONDS = 2.0
"""How long the load must have been so low."""

MAX_TENANTS = 1000
"""Maximum tenants whose step is kept; the least recently used one is dropped."""


@dataclass(slots=True)
class _Step:
    """A tenant's step, 0 for full size, and when that step was last needed."""

    index: int
    needed: float


class Resolution:
    """Chooses the share of the pixel budget for a tenant's images."""

    def __init__(self, curve: Mapping[float, float], clock: Callable[[], float]) -> None:
        """Takes the curve: shares by the load at which they begin.

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
        """The share of the pixel budget for a tenant's next request, above 0 and at most 1."""
        now = self._clock()
        target = sum(load >= begins for begins, _ in self._curve)
        step = self._steps.get(tenant)
        if step is None:
            if not target:
                return 1.0
            step = _Step(target, now)
        self._move(step, load, target, now)
        if not step.index:
            del self._steps[tenant]
            return 1.0
        self._steps[tenant] = step
        self._steps.move_to_end(tenant)
        if len(self._steps) > MAX_TENANTS:
            self._steps.popitem(last=False)
        return self._curve[step.index - 1][1]

    def lowest(self) -> float:
        """The smallest share of any tenant at its last request; 1 when none is reduced."""
        return min((self._curve[step.index - 1][1] for step in self._steps.values()), default=1.0)

    def _move(self, step: _Step, load: float, target: int, now: float) -> None:
        if target >= step.index:
            step.index, step.needed = target, now
        elif load >= self._curve[step.index - 1][0] * CALM_SHARE:
            step.needed = now
        elif now - step.needed >= CALM_SECONDS:
            up = int((now - step.needed) / CALM_SECONDS)
            step.index, step.needed = max(target, step.index - up), now


def reduced(budget: PixelBudget, share: float) -> PixelBudget:
    """A budget with a share of the pixels."""
    return replace(budget, max_pixels=max(1, int(budget.max_pixels * share)))
