"""What the torch engine itself costs in each step, beside the model.

    python -m benchmarks.torch_overhead

A model so small that its own time is short, sixteen requests that stream at a time, and a clock
around every call of the text model and of its head. What is left of a step is the engine: the
schedule, the buffers, the choice of tokens, their text, and the hand-over to the event loop, which
runs in the same process and reads all answers.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from benchmarks.engines_model import TEMPLATE, VOCABULARY, tokenizer
from benchmarks.machine import machine
from silkline.core import Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.torch.engine import TorchEngine

_WARMING_STEPS = 20


def write_tiny(folder: Path) -> None:
    """Saves a LLaVA layout of two narrow layers."""
    torch.manual_seed(0)
    tower = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, patch_size=8,
    )  # fmt: skip
    text = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=VOCABULARY, max_position_embeddings=2048,
        bos_token_id=1, eos_token_id=2, pad_token_id=3,
    )  # fmt: skip
    config = LlavaConfig(tower, text, image_token_index=4, image_seq_length=16)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    ).save_pretrained(folder)


class Clock:
    """Seconds in the model, and in the thread that steps, by step.

    Attributes:
        model: In the text model and its head.
        thread: In the step as a whole.
        ended: When it ended.
    """

    def __init__(self, engine: TorchEngine) -> None:
        self.model: list[float] = []
        self.thread: list[float] = []
        self.ended: list[float] = []
        self._spent = 0.0
        loaded: Any = engine._opened().loaded  # noqa: SLF001 - a look behind the engine's doors
        family, batch = loaded.family, loaded.batch
        family.text_model.forward = self._around(family.text_model.forward)
        family.logits = self._around(family.logits)
        step = batch.step

        def timed(running: Sequence[Any]) -> Iterator[Any]:
            self._spent = 0.0
            began = time.perf_counter()
            yield from step(running)
            self.ended.append(time.perf_counter())
            self.thread.append(self.ended[-1] - began)
            self.model.append(self._spent)

        batch.step = timed

    def _around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*values: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = call(*values, **named)
            self._spent += time.perf_counter() - began
            return result

        return timed


async def measure(folder: Path, requests: int, tokens: int) -> Clock:
    """Runs the requests together and gives the clock of the steps that held them all."""
    options = EngineOptions(model=folder, max_batch=requests, extra={"device": "cpu"})
    engine = TorchEngine(options)
    await engine.start()
    clock = Clock(engine)

    async def read(number: int) -> None:
        asked = Message(Role.USER, (TextPart(f"What is number {number}?"),))
        request = Request("benchmark", (asked,), sampling=Sampling(max_tokens=tokens))
        async with aclosing(engine.generate(request)) as deltas:
            async for _ in deltas:
                continue

    await asyncio.gather(*(read(number) for number in range(requests)))
    await engine.aclose()
    return clock


def report(clock: Clock, requests: int) -> str:
    """Medians over the steps, in milliseconds."""
    rows = slice(_WARMING_STEPS, len(clock.model) - _WARMING_STEPS)
    whole = [later - sooner for sooner, later in zip(clock.ended, clock.ended[1:], strict=False)]
    own = [thread - model for thread, model in zip(clock.thread, clock.model, strict=True)]
    beside = [step - model for step, model in zip(whole, clock.model[1:], strict=True)]
    lines = [f"{name}: {value}" for name, value in machine().items()]
    lines.append(f"{requests} requests, {len(clock.model[rows])} steps, medians in milliseconds")
    for name, values in (
        ("model", clock.model),
        ("engine, in its thread", own),
        ("engine, with the event loop's turn", beside),
    ):
        lines.append(f"{name}: {1000 * statistics.median(values[rows]):.3f}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=400)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_tiny(Path(folder))
        clock = asyncio.run(measure(Path(folder), asked.requests, asked.tokens))
    print(report(clock, asked.requests))


if __name__ == "__main__":
    main()
