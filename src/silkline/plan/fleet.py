"""How many replicas a peak needs for a P99: a queue in front of the slots of all batches.

There are `c` slots, each busy for `T` seconds with a request, and `r` requests a second. A request
waits with the probability of Erlang's C formula, and longer than `t` with `exp(-(c / T - r) t)` of
that (L. Kleinrock, Queueing Systems, volume 1, 1975). The P99 is `T` and the time that 1% wait
longer than. Times of service vary less than the formula assumes: it errs on the safe side.
"""

from __future__ import annotations

import math

from silkline.plan.roofline import Timing

_LATE = 0.01
_MAX_REPLICAS = 100_000


def waiting_share(slots: int, load: float) -> float:
    """Erlang's C: the share of requests that wait.

    Args:
        slots: Number of slots.
        load: Slots that are busy on average; below `slots`.
    """
    blocked = 1.0  # Erlang's B, one slot more at a time
    for count in range(1, slots + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / slots * (1 - blocked))


def p99(timing: Timing, replicas: int, rate: float) -> float:
    """Returns the P99 of the latency in seconds; infinite if the replicas are too few.

    Args:
        timing: A replica's full batch.
        replicas: Number of replicas.
        rate: Requests a second to all of them.
    """
    slots, load = replicas * timing.batch, rate * timing.latency
    if load >= slots:
        return math.inf
    waits = waiting_share(slots, load)
    spare = slots / timing.latency - rate
    return timing.latency + max(0.0, math.log(waits / _LATE) / spare if waits else 0.0)


def replicas_for(timing: Timing, rate: float, slo: float, utilisation: float) -> int | None:
    """Returns the fewest replicas that keep the P99; None if no number does.

    Args:
        timing: A replica's full batch.
        rate: Requests a second at the peak.
        slo: Seconds.
        utilisation: Highest share of a replica's rate that is used, from 0 to 1.
    """
    if timing.latency > slo:
        return None
    fewest = max(1, math.ceil(rate / (timing.rate * utilisation)))
    for replicas in range(fewest, min(fewest * 4, _MAX_REPLICAS) + 1):
        if p99(timing, replicas, rate) <= slo:
            return replicas
    return None
