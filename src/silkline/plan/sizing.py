"""How many replicas a rate needs: the fewest with which the simulation keeps the SLO."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from silkline.models.inspection import Inspection
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulation import Fleet, simulate
from silkline.plan.traffic import Curve

TRIAL_REQUESTS = 1500
"""Requests of a trial that the cache does not answer."""

_SHORTEST, _LONGEST = 60.0, 1800.0
_MAX_FACTOR, _MAX_MORE = 4, 8
"""Up to this factor of the fewest possible replicas, and so many more, are tried."""


class Memory(msgspec.Struct, frozen=True):
    """Memory of one replica by part, in bytes; None where the model's files do not tell.

    Attributes:
        weights: The weights as they are stored.
        kv_cache: Keys and values of a full batch, at two bytes a number.
        tokens: Tokens of a request that the KV cache was computed for.
    """

    weights: int | None
    kv_cache: int | None
    tokens: int | None


class Trial(msgspec.Struct, frozen=True):
    """A number of replicas under a constant rate.

    Attributes:
        replicas: How many.
        attainment: Share of all requests within the SLO, answers from the cache included.
        p99: 99th percentile of the computed answers, in seconds.
    """

    replicas: int
    attainment: float
    p99: float


def memory_of(found: Inspection, times: ServiceTimes, text_tokens: int) -> Memory:
    """The memory of a replica that serves a model.

    Args:
        found: The model; its first image size is that of the traffic.
        times: The batch and the answer's tokens.
        text_tokens: Tokens of the prompt's text.
    """
    weights = found.weights.tensor_bytes or sum(found.weights.openvino.values())
    weights = weights or found.weights.declared_bytes or sum(found.weights.pointers.values())
    image = found.image_tokens.images[0].total if found.image_tokens else None
    if image is None or found.kv_bytes_per_token is None:
        return Memory(weights or None, None, None)
    tokens = image + text_tokens + times.answer_tokens
    return Memory(weights or None, times.batch * tokens * found.kv_bytes_per_token["float16"],
                  tokens)  # fmt: skip


def fewest_replicas(
    rate: float,
    fleet: Fleet,
    target: float,
    on_trial: Callable[[Trial], None] = lambda _: None,
) -> list[Trial]:
    """Tries rising numbers of replicas until the SLO is kept.

    Args:
        rate: Requests a second, answers from the cache included, above 0.
        fleet: The fleet; `minimum` and `maximum` are not used.
        target: Share of all requests that must be within the SLO, such as 0.99.
        on_trial: Gets each trial when it ends.

    Returns:
        All trials; the last one keeps the SLO, unless no number does.
    """
    misses = rate * (1 - fleet.hit_rate)
    seconds = min(_LONGEST, max(_SHORTEST, TRIAL_REQUESTS / misses)) if misses else _SHORTEST
    curve = Curve((0.0, seconds), (rate, rate))
    count = max(1, math.ceil(misses / fleet.times.answers_per_second()))
    most = _MAX_FACTOR * count + _MAX_MORE
    trials: list[Trial] = []
    while count <= most:
        found = simulate(curve, msgspec.structs.replace(fleet, minimum=count, maximum=count), None)
        trials.append(Trial(count, found.attainment, found.p99))
        on_trial(trials[-1])
        hopeless = fleet.times.alone() > fleet.slo and len(trials) > 1
        if found.attainment >= target or hopeless:
            break
        count += max(1, count // 8)
    return trials
