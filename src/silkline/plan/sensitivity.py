"""What a plan would be if the workload were another one."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from silkline.plan.device import Device
from silkline.plan.plan import Choice, choose
from silkline.plan.roofline import Reached
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload


class Variation(msgspec.Struct, frozen=True):
    """A changed workload, and the best choice for it on the same device.

    Attributes:
        change: What is changed, in words.
        choice: With the changed workload; None if none keeps the SLO.
    """

    change: str
    choice: Choice | None


def variations(
    shape: Shape, work: Workload, device: Device, bits: int, reached: Reached
) -> tuple[Variation, ...]:
    """Returns the choices for a device and precision if one thing about the workload changes."""
    return tuple(
        Variation(change, found if isinstance(found, Choice) else None)
        for change, changed, other in _changes(shape, work)
        for found in (choose(changed, other, device, bits, reached, None),)
    )


def _changes(shape: Shape, work: Workload) -> Iterator[tuple[str, Shape, Workload]]:
    def other(**fields: float) -> Workload:
        return msgspec.structs.replace(work, **fields)

    yield "as asked", shape, work
    yield "twice the traffic", shape, other(rate=2 * work.rate)
    yield "no answer cache", shape, other(hit_rate=0.0)
    yield "twice the answer's tokens", shape, other(answer_tokens=2 * work.answer_tokens)
    fewer = msgspec.structs.replace(shape, image_tokens=max(1, shape.image_tokens // 2))
    yield "half of the image tokens", fewer, work
    yield "half of the time", shape, other(slo=work.slo / 2)
