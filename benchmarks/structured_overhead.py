"""What constraints cost the torch engine in each step, at sixteen requests.

    python -m benchmarks.structured_overhead

The bundled model answers sixteen requests at a time, all with the same JSON Schema, and a clock
runs around the masks and around the whole step.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.machine import machine
from silkline.core import Constraint, ConstraintKind, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.torch import create_engine, runner
from silkline.engines.torch.constraint import Matcher, constrained
from silkline.engines.torch.runner import Runner
from silkline.engines.torch.sampled import Sampled
from silkline.models.resolve import bundled_folder

_REQUESTS = 16
_SCHEMA = (
    '{"type":"object","properties":{"colour":{"type":"string"},"count":{"type":"integer"}},'
    '"required":["colour","count"]}'
)


async def main() -> None:
    """Prints the medians."""
    masks: list[float] = []
    steps: list[float] = []
    run = Runner.run

    def timed_masks(
        logits: torch.Tensor, penalised: torch.Tensor, matchers: Sequence[Matcher | None]
    ) -> torch.Tensor:
        began = time.perf_counter()
        masked = constrained(logits, penalised, matchers)
        if len(matchers) == _REQUESTS:
            masks.append(time.perf_counter() - began)
        return masked

    def timed_run(self: Runner, decoding: Sequence[Any], parts: Sequence[Any]) -> list[Sampled]:
        began = time.perf_counter()
        sampled = run(self, decoding, parts)
        if len(decoding) == _REQUESTS and not parts:
            steps.append(time.perf_counter() - began)
        return sampled

    runner.constrained = timed_masks  # type: ignore[attr-defined]
    Runner.run = timed_run  # type: ignore[method-assign]
    engine = create_engine(EngineOptions(model=bundled_folder(), extra={"device": "cpu"}))
    await engine.start()
    await asyncio.gather(*(_ask(engine, index) for index in range(_REQUESTS)))
    await engine.aclose()
    mask, step = statistics.median(masks), statistics.median(steps)
    print(machine())
    print(f"masks of {_REQUESTS} requests: {mask * 1e3:.2f} ms")
    print(f"a step of {_REQUESTS} requests, masks included: {step * 1e3:.2f} ms")
    print(f"share: {mask / step:.1%}, of {len(steps)} steps")


async def _ask(engine: Any, index: int) -> None:
    sampling = Sampling(
        120, 1.0, seed=index, constraint=Constraint(ConstraintKind.JSON_SCHEMA, _SCHEMA)
    )
    message = Message(Role.USER, (TextPart(f"Describe item {index}."),))
    async for _ in engine.generate(Request(str(index), (message,), (), sampling)):
        pass


if __name__ == "__main__":
    asyncio.run(main())
