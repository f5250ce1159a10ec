"""How much memory a model takes on a device, by part."""

from __future__ import annotations

import msgspec

from silkline.plan.device import Device
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload

_OVERHEAD = 0.08
"""Share of the device's memory for the runtime, its kernels and fragments; an assumption."""

HOST_RUNTIME_BYTES = 270_000_000
"""Of an engine's process on a processor: interpreter, libraries, compiled kernels; measured."""

HOST_REQUEST_BYTES = 3_600_000
"""What each further request of the batch adds there, beside its keys and values; measured."""

_ACTIVATION_BYTES = 2
_TOWER_WIDTHS = 12
"""Numbers of a tower's activations, alive at once, for each of its output; an assumption."""


class Memory(msgspec.Struct, frozen=True):
    """Bytes by part.

    Attributes:
        weights: The model's weights.
        cache: Keys and values of a full batch.
        activations: Of the tower, for one image at a time.
        overhead: Runtime, kernels and fragments.
    """

    weights: int
    cache: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.activations + self.overhead


def memory_of(shape: Shape, work: Workload, device: Device, batch: int, bits: int) -> Memory:
    """Returns what a full batch takes.

    Args:
        shape: The model.
        work: Its requests.
        device: The device.
        batch: Requests in the batch.
        bits: Bits of a weight.
    """
    tokens = shape.image_tokens + work.prompt_tokens + work.answer_tokens
    return Memory(
        weights=shape.parameters * bits // 8,
        cache=batch * tokens * shape.kv_bytes,
        activations=shape.image_tokens * shape.width * _TOWER_WIDTHS * _ACTIVATION_BYTES,
        overhead=_overhead(device, batch),
    )


def _overhead(device: Device, batch: int) -> int:
    if device.cores:
        return HOST_RUNTIME_BYTES + (batch - 1) * HOST_REQUEST_BYTES
    return round(device.memory * _OVERHEAD)
