"""One engine at work, for `engines`: cells come in as lines of JSON, what was measured goes out.

    python -m benchmarks.engines_subject NAME FOLDER TOKENS

Runs with the libraries of its subject alone, so that another environment's Python can run it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

SIDE = 224
QUESTION = "Describe this product."

Note = Callable[[int, int], None]
"""Called with a request's place and how many tokens of its answer there are."""


def image(number: int) -> Any:
    """An image of noise, (224, 224, 3) uint8; every number has its own."""
    import numpy as np  # noqa: PLC0415 - each subject imports what it has

    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


class Peer(Protocol):
    """An engine that is driven step by step."""

    def add(self, place: int, pixels: Any) -> None:
        """Takes a request."""

    def step(self, note: Note) -> None:
        """Computes, and notes the tokens that came."""


class GenAi:
    """OpenVINO GenAI's continuous batching."""

    def __init__(self, folder: Path, tokens: int, **options: Any) -> None:
        """Without options, as it comes."""
        import openvino as ov  # noqa: PLC0415
        import openvino_genai  # noqa: PLC0415

        scheduler = openvino_genai.SchedulerConfig()
        self._tensor = ov.Tensor
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            folder, scheduler, "CPU", options
        )
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = tokens
        config.ignore_eos = True
        config.apply_chat_template = False
        self._config = config
        parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        self._prompt = self._pipeline.get_tokenizer().apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        self._running: dict[int, tuple[Any, int]] = {}

    def add(self, place: int, pixels: Any) -> None:
        """See `Peer`."""
        images = [self._tensor(pixels[None])]
        handle = self._pipeline.add_request(place, self._prompt, images, self._config)
        self._running[place] = handle, 0

    def step(self, note: Note) -> None:
        """See `Peer`."""
        self._pipeline.step()
        for place, (handle, count) in list(self._running.items()):
            now = count
            while handle.can_read():
                now += sum(len(each.generated_ids) for each in handle.read().values())
            if now > count:
                note(place, now)
            self._running[place] = handle, now
            if now >= self._config.max_new_tokens:
                del self._running[place]


def tuned(folder: Path, tokens: int) -> GenAi:
    """OpenVINO GenAI over Silkline's export, with the arithmetic that Silkline chooses here."""
    from silkline.engines.openvino.arithmetic import arithmetic  # noqa: PLC0415

    return GenAi(folder, tokens, **arithmetic())


class Transformers:
    """`generate` on a static batch of all that wait, in the fastest type on this processor."""

    def __init__(self, folder: Path, tokens: int) -> None:
        import torch  # noqa: PLC0415
        from transformers import (  # noqa: PLC0415
            AutoImageProcessor,
            AutoTokenizer,
            LlavaForConditionalGeneration,
            LlavaProcessor,
        )

        told = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
        self._torch, self._tokens = torch, tokens
        self._model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self._model.eval()
        self._processor = LlavaProcessor(
            AutoImageProcessor.from_pretrained(folder, use_fast=False),
            AutoTokenizer.from_pretrained(
                folder, padding_side="left", model_input_names=["input_ids", "attention_mask"]
            ),
            patch_size=told["patch_size"],
            vision_feature_select_strategy=told["vision_feature_select_strategy"],
            num_additional_image_tokens=told["num_additional_image_tokens"],
            chat_template=(folder / "chat_template.jinja").read_text(encoding="utf-8"),
        )
        parts = [{"type": "image"}, {"type": "text", "text": QUESTION}]
        self._prompt = self._processor.apply_chat_template(
            [{"role": "user", "content": parts}], add_generation_prompt=True
        )
        self._waiting: list[tuple[int, Any]] = []

    def add(self, place: int, pixels: Any) -> None:
        """See `Peer`."""
        self._waiting.append((place, pixels))

    def step(self, note: Note) -> None:
        """See `Peer`."""
        from PIL import Image  # noqa: PLC0415

        places = [place for place, _ in self._waiting]
        images = [Image.fromarray(pixels) for _, pixels in self._waiting]
        self._waiting.clear()
        inputs = self._processor(
            text=[self._prompt] * len(images), images=images, return_tensors="pt"
        )
        with self._torch.inference_mode():
            self._model.generate(
                **inputs,
                max_new_tokens=self._tokens,
                min_new_tokens=self._tokens,
                do_sample=False,
                streamer=_Steps(places, note),
            )


class _Steps:
    """Notes the steps of `generate`, which first puts the prompt."""

    def __init__(self, places: Sequence[int], note: Note) -> None:
        self._places, self._note = places, note
        self._count = -1

    def put(self, value: Any) -> None:
        """A token of each answer."""
        del value
        self._count += 1
        for place in self._places if self._count else ():
            self._note(place, self._count)

    def end(self) -> None:
        """The answers are whole."""


class Vllm:
    """The CPU build of vLLM, in bfloat16, as its defaults have it."""

    def __init__(self, folder: Path, tokens: int) -> None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
        from vllm import LLM, SamplingParams  # type: ignore[import-not-found]  # noqa: PLC0415

        self._engine = LLM(model=str(folder), max_model_len=1024, dtype="bfloat16").llm_engine
        self._sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
        self._begun = 0
        self._places: dict[str, int] = {}

    def add(self, place: int, pixels: Any) -> None:
        """See `Peer`."""
        from PIL import Image  # noqa: PLC0415

        self._begun += 1
        self._places[str(self._begun)] = place
        prompt = f"<|user|><image>{QUESTION}</s><|assistant|>"
        asked = {"prompt": prompt, "multi_modal_data": {"image": Image.fromarray(pixels)}}
        self._engine.add_request(str(self._begun), asked, self._sampling)

    def step(self, note: Note) -> None:
        """See `Peer`."""
        for told in self._engine.step():
            note(self._places[told.request_id], len(told.outputs[0].token_ids))


PEERS: dict[str, Callable[[Path, int], Peer]] = {
    "genai": GenAi,
    "genai-tuned": tuned,
    "transformers": Transformers,
    "vllm": Vllm,
}
"""Subjects that are driven step by step."""

ENGINES = ("openvino", "torch")
"""Silkline's own, by the names of its registry."""


class Clock:
    """What a cell measures: when each request's tokens came, in seconds since the cell began.

    Attributes:
        arrivals: When each request comes.
    """

    def __init__(self, arrivals: Sequence[float]) -> None:
        self.arrivals = arrivals
        self._began = time.perf_counter()
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}
        self._counts = dict.fromkeys(range(len(arrivals)), 0)

    def now(self) -> float:
        """Seconds since the cell began."""
        return time.perf_counter() - self._began

    def note(self, place: int, count: int) -> None:
        """An answer has so many tokens now."""
        self._last[place] = self.now()
        self._first.setdefault(place, self._last[place])
        self._counts[place] = count

    def count(self, place: int, count: int) -> None:
        """An answer has so many tokens, however its text was cut into chunks."""
        self._counts[place] = count

    def unfinished(self, requests: int, tokens: int) -> bool:
        """Whether one of the first answers is not whole."""
        return any(self._counts[place] < tokens for place in range(requests))

    def told(self) -> dict[str, Any]:
        """The measurement, by request where it is a list."""
        places = range(len(self.arrivals))
        return {
            "seconds": max(self._last.values()),
            "latencies": [self._last[place] - self.arrivals[place] for place in places],
            "first": [self._first[place] - self.arrivals[place] for place in places],
            "tokens": [self._counts[place] for place in places],
        }


def serve_peer(peer: Peer, cell: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Requests join when they come; the images are made before the clock runs."""
    arrivals = cell["arrivals"]
    images = [image(cell["first"] + place) for place in range(len(arrivals))]
    clock, taken = Clock(arrivals), 0
    while clock.unfinished(len(arrivals), tokens):
        while taken < len(arrivals) and arrivals[taken] <= clock.now():
            peer.add(taken, images[taken])
            taken += 1
        if clock.unfinished(taken, tokens):
            peer.step(clock.note)
        else:
            time.sleep(max(0.0, arrivals[taken] - clock.now()))
    return clock.told()


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncGenerator[Any, None]:
    """An engine of Silkline, started, with the options of `silkline up` but for more KV cache."""
    from silkline.engines.base import EngineOptions  # noqa: PLC0415
    from silkline.engines.registry import create_engine  # noqa: PLC0415

    engine = create_engine(name, EngineOptions(model=folder, kv_cache_bytes=1024**3, name="bench"))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


async def serve_engine(engine: Any, cell: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Each request comes at its time, by itself, and is streamed."""
    from silkline.core import (  # noqa: PLC0415
        Image,
        ImagePart,
        Message,
        Request,
        Role,
        Sampling,
        TextPart,
    )

    arrivals = cell["arrivals"]
    images = []
    for place in range(len(arrivals)):
        number = cell["first"] + place
        images.append(Image(SIDE, SIDE, image(number).tobytes(), f"{number:032x}"))
    clock = Clock(arrivals)

    async def ask(place: int) -> None:
        await asyncio.sleep(max(0.0, arrivals[place] - clock.now()))
        request = Request(
            id=f"bench-{place}",
            messages=(Message(Role.USER, (ImagePart(0), TextPart(QUESTION))),),
            images=(images[place],),
            sampling=Sampling(max_tokens=tokens, temperature=0.0),
            timeout_seconds=600.0,
            stream=True,
        )
        count = 0
        async for delta in engine.generate(request):
            count = delta.usage.completion_tokens if delta.usage else count + 1
            clock.note(place, count)

    await asyncio.gather(*(ask(place) for place in range(len(arrivals))))
    return clock.told()


def main() -> None:
    """Serves cells until standard input ends."""
    name, folder, tokens = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    words = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer

    def say(said: dict[str, Any]) -> None:
        os.write(words, json.dumps(said).encode() + b"\n")

    if name in ENGINES:
        asyncio.run(_serve_all(name, folder, tokens, say))
        return
    peer = PEERS[name](folder, tokens)
    say({"ready": True})
    for line in sys.stdin:
        say(serve_peer(peer, json.loads(line), tokens))


async def _serve_all(
    name: str, folder: Path, tokens: int, say: Callable[[dict[str, Any]], None]
) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, "")

    async with opened(name, folder) as engine:
        threading.Thread(target=read, daemon=True).start()
        say({"ready": True})
        while line := await lines.get():
            say(await serve_engine(engine, json.loads(line), tokens))


if __name__ == "__main__":
    main()
