"""How long a device takes for a request: the roofline model.

A step takes the longer of what its operations take at the device's rate and what its bytes take at
the memory's bandwidth (S. Williams et al., 2009, https://doi.org/10.1145/1498765.1498785). Of both
rates a share is reached; the shares are assumptions, or come from a measurement here.

- Prefill: two operations for each parameter and token, of the tower for each image token, of the
  decoder for each token of the prompt, and attention's 2 * layers * width * tokens^2, which causal
  masks halve.
- Each of these takes a fixed time beside that, which is most of it for a small model: a prefill
  passes through the tower and the decoder, a step through the decoder alone. Each request adds a
  fixed time to a step: sampling, detokenizing, sending.
- A decode step of a batch: the decoder's weights and all keys and values are read once, and each
  sequence takes two operations a parameter.
- In a batch of `b` that is always full, each request takes its prefill alone and its share of the
  steps, so `b / rate` is its mean time (J. Little, 1961).
"""

from __future__ import annotations

import msgspec

from silkline.plan.device import Device
from silkline.plan.service_times import ServiceTimes
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload


class Reached(msgspec.Struct, frozen=True):
    """Shares of a device's figures that programs reach.

    Attributes:
        compute: Of its operations a second.
        bandwidth: Of its memory's bandwidth.
        overhead: Seconds of a step beside both: launching kernels, scheduling.
        prefill_overhead: The same of a prefill.
        request_overhead: Seconds that each request adds to a step.
        gateway: Seconds of a request in the gateway, beside the engine.
        decode: Seconds that decode and reduce an image, per million pixels.
    """

    compute: float = 0.45
    bandwidth: float = 0.7
    overhead: float = 0.002
    prefill_overhead: float = 0.002
    request_overhead: float = 0.0
    gateway: float = 0.003
    decode: float = 0.015


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
    times = service_times(shape, work, device, batch, bits, reached)
    rate = times.answers_per_second()
    return Timing(batch, times.prefill, times.step_seconds(batch), rate, batch / rate)


def service_times(
    shape: Shape, work: Workload, device: Device, batch: int, bits: int, reached: Reached
) -> ServiceTimes:
    """Returns the times by which the simulated engine runs; arguments as of `timing`.

    A step's time is a line through that of one request and that of a full batch. Where the engine
    shares its cores with the gateway, decoding an image takes its share of the cores from the
    engine.
    """
    compute = device.rate(bits) * reached.compute
    bandwidth = device.bandwidth * reached.bandwidth
    tokens = shape.image_tokens + work.prompt_tokens
    operations = 2 * (shape.vision * shape.image_tokens + shape.decoder * tokens)
    operations += 2 * shape.layers * shape.width * tokens**2
    prefill = max(operations / compute, shape.parameters * bits / 8 / bandwidth)
    context = tokens + work.answer_tokens / 2

    def step(running: int) -> float:
        read = shape.decoder * bits / 8 + running * context * shape.kv_bytes
        return max(read / bandwidth, 2 * shape.decoder * running / compute)

    each = (step(batch) - step(1)) / (batch - 1) if batch > 1 else 0.0
    decoding = work.megapixels * reached.decode
    taken = decoding / device.cores if device.cores else 0.0
    return ServiceTimes(
        prefill=prefill + reached.prefill_overhead + taken,
        step=step(1) - each + reached.overhead,
        step_request=each + reached.request_overhead,
        answer_tokens=work.answer_tokens,
        batch=batch,
        prepare=reached.gateway + decoding - taken,
    )
