"""What a plan says about one replica under a load, beside what was measured."""

from __future__ import annotations

import math

import msgspec

from silkline.plan.device import Device
from silkline.plan.memory import memory_of
from silkline.plan.roofline import Reached, service_times
from silkline.plan.shape import Shape
from silkline.plan.simulation import Fleet, simulate
from silkline.plan.traffic import Curve
from silkline.plan.workload import Workload

AIMS = {"memory": 0.10, "throughput": 0.15, "mean": 0.15, "p99": 0.30}
"""The errors that a plan should stay within, as shares of what was measured."""

_SHORTEST = 20.0
"""Simulated seconds below which a percentile says little."""


class Load(msgspec.Struct, frozen=True):
    """A load on one replica.

    Attributes:
        seconds: How long.
        clients: Clients that each wait for their answer; 0 sends at `rate`.
        rate: Requests a second of a Poisson process, answers from the cache included.
    """

    seconds: float
    clients: int = 0
    rate: float = 1.0


class Figures(msgspec.Struct, frozen=True):
    """What a replica does under a load.

    Attributes:
        memory: Bytes of the engine's process; None if unknown.
        throughput: Answers a second.
        mean: Mean latency in seconds, answers from the cache included.
        p99: 99th percentile of the same.
    """

    memory: int | None
    throughput: float
    mean: float
    p99: float

    def error(self, name: str, measured: Figures) -> float | None:
        """The signed error of a figure against a measured one, as a share; None if unknown."""
        own, real = getattr(self, name), getattr(measured, name)
        return None if own is None or not real else own / real - 1


def predict(
    shape: Shape,
    work: Workload,
    device: Device,
    bits: int,
    reached: Reached,
    load: Load,
    *,
    batch: int,
    lengths: tuple[int, ...] = (),
) -> Figures:
    """Predicts a replica under a load: the roofline's times, simulated with the real admission.

    Args:
        shape: The model.
        work: Its requests; the rate is that of `load`.
        device: The device.
        bits: Bits of a weight.
        reached: Shares of the device's figures that programs reach.
        load: The load.
        batch: Maximum requests in the engine's batch.
        lengths: Tokens of answers as measured; empty spreads them evenly around the mean.
    """
    times = service_times(shape, work, device, batch, bits, reached)
    if lengths:
        times = msgspec.structs.replace(
            times, lengths=lengths, answer_tokens=sum(lengths) / len(lengths)
        )
    fleet = Fleet(
        times=times,
        slo=math.inf,
        hit_rate=work.hit_rate,
        hit_seconds=reached.gateway,
        minimum=1,
        maximum=1,
        clients=load.clients,
    )
    seconds = max(_SHORTEST, load.seconds)
    found = simulate(Curve((0.0, seconds), (load.rate, load.rate)), fleet, None)
    answered = sum(minute.requests - minute.refused for minute in found.minutes)
    running = min(batch, load.clients or batch)
    return Figures(
        memory=memory_of(shape, work, device, running, bits).total,
        throughput=answered / (1 - work.hit_rate) / seconds,
        mean=found.mean,
        p99=found.p99_all,
    )
