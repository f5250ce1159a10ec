"""A plan: for each device and precision, the fewest replicas that keep the SLO at the peak."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from silkline.plan.device import Device
from silkline.plan.fleet import p99, replicas_for
from silkline.plan.memory import Memory, memory_of
from silkline.plan.roofline import Reached, Timing, timing
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload

UTILISATION = 0.75
"""Highest share of a replica's rate that a plan uses."""

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BITS = (16, 8, 4)

_TEXT_BYTES = 4
"""Bytes of a token's text."""


class Choice(msgspec.Struct, frozen=True):
    """A way to serve the workload.

    Attributes:
        device: The device's name.
        cards: Devices that a replica takes: more than one share the weights (tensor parallelism).
        bits: Bits of a weight.
        timing: A replica's full batch.
        memory: Bytes of a replica.
        replicas: How many are needed.
        p99: Seconds.
        utilisation: Share of their rate that the peak uses.
        cost: Of a million answers, the cached ones included, in the unit of the price; None
            without a price.
    """

    device: str
    cards: int
    bits: int
    timing: Timing
    memory: Memory
    replicas: int
    p99: float
    utilisation: float
    cost: float | None


class Refusal(msgspec.Struct, frozen=True):
    """A device and precision that cannot serve the workload, and why."""

    device: str
    bits: int
    why: str


class Gateway(msgspec.Struct, frozen=True):
    """What stands before the replicas.

    Attributes:
        cores: Processor cores at the peak, for requests and for decoding new images.
        received: Bytes a second from clients at the peak.
        sent: Bytes a second to clients at the peak.
    """

    cores: int
    received: float
    sent: float


class Plan(msgspec.Struct, frozen=True):
    """All that was found.

    Attributes:
        shape: The model.
        work: The workload.
        reached: The assumed shares of the devices' figures.
        choices: Ways to serve it, the fewest devices first, or the cheapest where there is a price.
        refusals: What cannot.
        gateway: What stands before them.
    """

    shape: Shape
    work: Workload
    reached: Reached
    choices: tuple[Choice, ...]
    refusals: tuple[Refusal, ...]
    gateway: Gateway


def make_plan(
    shape: Shape,
    work: Workload,
    devices: Iterable[Device],
    *,
    bits: Iterable[int] = BITS,
    reached: Reached | None = None,
    price: float | None = None,
) -> Plan:
    """Plans for each device and precision.

    Args:
        shape: The model.
        work: The workload.
        devices: The devices to look at.
        bits: Bits of a weight to look at.
        reached: Shares of the devices' figures that programs reach; None takes the assumptions.
        price: Of an hour of one device; None if unknown.
    """
    reached = reached or Reached()
    choices: list[Choice] = []
    refusals: list[Refusal] = []
    for device in devices:
        for width in bits:
            found = choose(shape, work, device, width, reached, price)
            if isinstance(found, Choice):
                choices.append(found)
            else:
                refusals.append(found)
    choices.sort(key=lambda each: (each.cost or 0.0, each.replicas * each.cards, each.p99))
    return Plan(shape, work, reached, tuple(choices), tuple(refusals), gateway_for(work, reached))


def choose(
    shape: Shape, work: Workload, device: Device, bits: int, reached: Reached, price: float | None
) -> Choice | Refusal:
    """Returns the batch with the fewest replicas on a device, or why there is none."""
    cards = cards_for(shape, work, device, bits)
    if cards is None:
        need = memory_of(shape, work, device, 1, bits)
        return Refusal(device.name, bits, f"it takes {need.total / 1e9:.1f} GB")
    group = _grouped(device, cards)
    best: Choice | None = None
    slowest = math.inf
    for batch in BATCHES:
        memory = memory_of(shape, work, group, batch, bits)
        if memory.total > group.memory:
            break
        found = timing(shape, work, group, batch, bits, reached)
        slowest = min(slowest, found.latency)
        replicas = replicas_for(found, work.computed, work.slo, UTILISATION)
        if replicas is not None and (best is None or replicas < best.replicas):
            best = _choice(device, cards, bits, found, memory, replicas, work, price)
    if best is None:
        return Refusal(device.name, bits, f"one request alone takes {slowest * 1000:.0f} ms")
    return best


def cards_for(shape: Shape, work: Workload, device: Device, bits: int) -> int | None:
    """Returns how many devices hold the model and one request: 1, 2, 4 or 8; None if 8 do not."""
    for cards in (1, 2, 4, 8):
        group = _grouped(device, cards)
        if memory_of(shape, work, group, 1, bits).total <= group.memory:
            return cards
    return None


def _grouped(device: Device, cards: int) -> Device:
    """Several devices as one; the exchange between them is left out."""
    return Device(
        device.name,
        cards * device.memory,
        cards * device.bandwidth,
        cards * device.flops,
        cards * device.ops8,
        device.source,
        cards * device.cores,
    )


def _choice(
    device: Device,
    cards: int,
    bits: int,
    found: Timing,
    memory: Memory,
    replicas: int,
    work: Workload,
    price: float | None,
) -> Choice:
    hourly = None if price is None else price * cards * replicas
    return Choice(
        device=device.name,
        cards=cards,
        bits=bits,
        timing=found,
        memory=memory,
        replicas=replicas,
        p99=p99(found, replicas, work.computed),
        utilisation=work.computed / (replicas * found.rate),
        cost=None if hourly is None else hourly / (work.rate * 3600) * 1e6,
    )


def gateway_for(work: Workload, reached: Reached) -> Gateway:
    """Returns what stands before the replicas at the peak."""
    requests = work.rate * work.peak
    decoding = work.computed * work.megapixels * reached.decode
    busy = requests * reached.gateway + decoding
    return Gateway(
        cores=math.ceil(busy / UTILISATION),
        received=requests * (work.image_bytes + work.prompt_tokens * _TEXT_BYTES),
        sent=requests * work.answer_tokens * _TEXT_BYTES,
    )
