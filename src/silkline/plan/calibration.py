"""What a load test says about a device: the shares of its figures that programs reach there.

Two runs with the same kind of requests are needed to tell everything: one of a single client, one
that fills the batch. Of the single client, `prefill` and `generate` are the engine's stages, the
rest of the latency is the gateway's. In the full batch, a request takes `1 / rate` of the engine:
its prefill, and its share of the steps. So the difference between both runs is what a further
request adds to a step. Where the engine does more at a time than that allows, because it encodes
images beside the steps, the prefill is shorter by that, and the time counts as beside the engine.

Each measured time is what the roofline says and a fixed time. One measurement cannot tell them
apart, so the larger one is fitted and the smaller one stays as it was assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from silkline.bench.summary import Summary
from silkline.core import Stage
from silkline.errors import UNDECODABLE, ConfigError
from silkline.plan.device import Device
from silkline.plan.roofline import Reached, service_times
from silkline.plan.shape import Shape
from silkline.plan.workload import Workload

_FULL = 2.0
"""A run with this many times the requests in flight of the smallest one tells about batches."""

_PREPARING = (Stage.FETCH, Stage.DECODE, Stage.RESIZE)
_FEWEST = 10
_MAX_EACH = 0.9
"""Share of a step that each request may add; some of it must be the step's own."""


class Measured(msgspec.Struct, frozen=True):
    """What a load test found. Times are means in seconds.

    Attributes:
        rate: Answers a second.
        latency: Of all answers.
        p99: 99th percentile of the latency.
        prefill: Of the engine's stage.
        generate: The same.
        preparing: Fetching, decoding and reducing the images.
        tokens: Of an answer.
        pixels: Width and height of the images.
    """

    rate: float
    latency: float
    p99: float
    prefill: float
    generate: float
    preparing: float
    tokens: float
    pixels: int

    @property
    def in_flight(self) -> float:
        """Mean requests in flight (J. Little, 1961)."""
        return self.rate * self.latency


class _Traffic(msgspec.Struct):
    pixels: int


class _Spec(msgspec.Struct):
    traffic: _Traffic


class _Figures(msgspec.Struct):
    spec: _Spec
    targets: list[Summary]


def read_measured(path: Path) -> Measured:
    """Reads the figures of a load test's first target, from its `summary.json`.

    Raises:
        ConfigError: The file cannot be read or is none, or its server reported no stages.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Figures)
        summary = found.targets[0]
    except (OSError, *UNDECODABLE, IndexError) as error:
        raise ConfigError(
            f"{path} is not the result of a load test. Expected the summary.json of silkline bench."
        ) from error
    return measured_of(summary, found.spec.traffic.pixels)


def measured_of(summary: Summary, pixels: int) -> Measured:
    """What a load test found on one target.

    Raises:
        ConfigError: Too few requests were answered, or the server reported no stages.
    """
    stages = {name: found.mean for name, found in summary.by_stage.items()}
    if summary.served < _FEWEST or not {Stage.PREFILL, Stage.GENERATE} <= stages.keys():
        raise ConfigError(
            f"The load test of {summary.name} has {summary.served} answers, and its server must "
            "report the stages prefill and generate. Load a Silkline server for longer."
        )
    return Measured(
        rate=summary.served / summary.seconds,
        latency=summary.latency.mean,
        p99=summary.latency.p99,
        prefill=stages[Stage.PREFILL],
        generate=stages[Stage.GENERATE],
        preparing=sum(stages.get(stage, 0.0) for stage in _PREPARING),
        tokens=summary.completion_tokens / summary.served,
        pixels=pixels,
    )


def calibrate(
    shape: Shape,
    work: Workload,
    device: Device,
    bits: int,
    runs: Sequence[Measured],
    assumed: Reached | None = None,
) -> Reached:
    """Returns the shares and times with which the plan agrees with what was measured.

    Args:
        shape: The model, with the image tokens of the images that were sent.
        work: The requests; the size of the images and the tokens of the answers are those of the
            runs.
        device: What ran the model.
        bits: Bits of a weight.
        runs: At least one; with several, the ones with the fewest and the most requests in flight
            are used.
        assumed: What is assumed of what the runs do not tell.
    """
    assumed = assumed or Reached()
    alone, full = (pick(runs, key=lambda run: run.in_flight) for pick in (min, max))
    work = msgspec.structs.replace(
        work, image=(alone.pixels, alone.pixels), answer_tokens=max(1, round(alone.tokens))
    )
    step = alone.generate / max(1.0, alone.tokens)
    prefill, each = _engine_times(alone, full, step)
    decode = alone.preparing / work.megapixels
    taken = alone.preparing / device.cores if device.cores else 0.0

    bare = msgspec.structs.replace(
        assumed, overhead=0.0, prefill_overhead=0.0, request_overhead=0.0, decode=0.0
    )
    first = service_times(shape, work, device, 1, bits, bare)
    faster, overhead = _split(step - each, first.step_seconds(1), assumed.overhead)
    bare = msgspec.structs.replace(bare, bandwidth=assumed.bandwidth * faster)
    first = service_times(shape, work, device, 1, bits, bare)
    own = max(prefill - taken, prefill / 2)  # what decoding takes is not the engine's
    quicker, prefill_overhead = _split(own, first.prefill, assumed.prefill_overhead)
    compute = assumed.compute * quicker
    bare = msgspec.structs.replace(bare, compute=compute)
    two = service_times(shape, work, device, 2, bits, bare)
    known = two.step_request
    return Reached(
        compute=compute,
        bandwidth=assumed.bandwidth * faster,
        overhead=overhead,
        prefill_overhead=prefill_overhead,
        request_overhead=max(0.0, each - known),
        gateway=max(0.0, alone.latency - prefill - alone.generate - alone.preparing + taken),
        decode=decode,
    )


def _engine_times(alone: Measured, full: Measured, step: float) -> tuple[float, float]:
    """Seconds of a prefill, and those that each further request adds to a step."""
    if full.in_flight < _FULL * alone.in_flight:
        return alone.prefill, 0.0
    batch = max(1.0 + 1e-9, full.rate * full.generate)
    shared = full.tokens * step / batch
    more = (1 / full.rate - alone.prefill - shared) / (full.tokens * (1 - 1 / batch))
    if more >= 0:
        return alone.prefill, min(more, _MAX_EACH * step)
    return max(1 / full.rate - shared, alone.prefill / 10), 0.0


def _split(measured: float, roofline: float, overhead: float) -> tuple[float, float]:
    """Fits the larger of the roofline's time and the fixed time.

    Returns:
        A factor for the share that the roofline assumes, and the fixed time.
    """
    if roofline <= measured / 2:
        return 1.0, measured - roofline
    fixed = min(overhead, measured / 2)
    return roofline / max(measured - fixed, 1e-9), fixed
