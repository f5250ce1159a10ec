"""How long a device takes for a request: the roofline model.

A step takes the longer of what its operations take at the device's rate and what its bytes take at
the memory's bandwidth (S. Williams et al., 2009, https://doi.org/10.1145/1498765.1498785). Of both
rates a share is reached; the shares are assumptions, or come from a measurement here.

- Prefill: two operations for each parameter and token, of the tower for each image token, of the
  decoder for each token of the prompt, and attention's 2 * layers * width * tokens^2, which causal
  masks halve.
- Each of these takes a fixed time beside that, which is most of it for a small model.
- A decode step of a batch: the decoder's weights and all keys and values are read once, and each
  sequence takes two operations a parameter.
- In a batch of `b` that is always full, each request takes its prefill alone and its share of the
  steps, so `b / rate` is its mean time (J. Little, 1961).
"""

from __future__ import annotations

import msgspec

from silkline.plan.devices import Device
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload


class Reached(msgspec.Struct, frozen=True):
    """Shares of a device's figures that programs reach.

    Attributes:
        compute: Of its operations a second.
        bandwidth: Of its memory's bandwidth.
        overhead: Seconds of a prefill or a step beside both: launching kernels, scheduling.
    """

    compute: float = 0.45
    bandwidth: float = 0.7
    overhead: float = 0.002


class Timing(msgspec.Struct, frozen=True):
    """A full batch on a device.

    Attributes:
        batch: Requests in it.
        prefill: Seconds of a request's prefill.
        step: Seconds of a decode step of the batch.
        rate: Requests a second.
        latency: Mean seconds of a request in the full batch.
    """

    batch: int
    prefill: float
    step: float
    rate: float
    latency: float


def timing(
    shape: Shape, work: Workload, device: Device, batch: int, bits: int, reached: Reached
) -> Timing:
    """Returns the times of a full batch.

    Args:
        shape: The model.
        work: Its requests.
        device: The device.
        batch: Requests in the batch, at least 1.
        bits: Bits of a weight: 16, 8 or 4. Weights of 4 bits are multiplied in 16.
        reached: Which shares of the device's figures are reached.
    """
    compute = device.rate(bits) * reached.compute
    bandwidth = device.bandwidth * reached.bandwidth
    tokens = shape.image_tokens + work.prompt_tokens
    operations = 2 * (shape.vision * shape.image_tokens + shape.decoder * tokens)
    operations += 2 * shape.layers * shape.width * tokens**2
    prefill = max(operations / compute, shape.parameters * bits / 8 / bandwidth) + reached.overhead
    context = tokens + work.answer_tokens / 2
    read = shape.decoder * bits / 8 + batch * context * shape.kv_bytes
    step = max(read / bandwidth, 2 * shape.decoder * batch / compute) + reached.overhead
    rate = 1 / (prefill + work.answer_tokens * step / batch)
    return Timing(batch, prefill, step, rate, batch / rate)
