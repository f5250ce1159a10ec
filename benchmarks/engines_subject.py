"""One engine at work, for `engines`: cells come in as lines of JSON, what was measured goes out.

    python -m benchmarks.engines_subject NAME FOLDER

Runs with the libraries of its subject alone, so that another environment's Python can run it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SIDE = 224
QUESTION = "Describe this product."
BATCH = 16

Answer = Callable[[Sequence[Any]], list[int]]
"""From pictures to the tokens of each answer, as one static batch."""


def picture(number: int) -> Any:
    """A picture of noise, (224, 224, 3) uint8; every number has its own."""
    import numpy as np  # noqa: PLC0415 - each subject imports what it has

    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def genai(folder: Path, tokens: int) -> Answer:
    """OpenVINO GenAI's continuous batching as it comes: no option is set."""
    import openvino as ov  # noqa: PLC0415
    import openvino_genai  # noqa: PLC0415

    pipeline = openvino_genai.ContinuousBatchingPipeline(
        folder, openvino_genai.SchedulerConfig(), "CPU"
    )
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = tokens
    config.ignore_eos = True
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    prompt = pipeline.get_tokenizer().apply_chat_template(turn, add_generation_prompt=True)
    config.apply_chat_template = False

    def answer(pictures: Sequence[Any]) -> list[int]:
        handles = [
            pipeline.add_request(place, prompt, [ov.Tensor(pixels[None])], config)
            for place, pixels in enumerate(pictures)
        ]
        while pipeline.has_non_finished_requests():
            pipeline.step()
        return [len(handle.read_all()[0].generated_ids) for handle in handles]

    return answer


def transformers(folder: Path, tokens: int) -> Answer:
    """`generate` on a static batch, in float32, which is its fastest on processors without AMX."""
    import torch  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        AutoImageProcessor,
        AutoTokenizer,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    told = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = LlavaProcessor(
        AutoImageProcessor.from_pretrained(folder, use_fast=False),
        AutoTokenizer.from_pretrained(
            folder, padding_side="left", model_input_names=["input_ids", "attention_mask"]
        ),
        patch_size=told["patch_size"],
        vision_feature_select_strategy=told["vision_feature_select_strategy"],
        num_additional_image_tokens=told["num_additional_image_tokens"],
        chat_template=(folder / "chat_template.jinja").read_text(encoding="utf-8"),
    )
    turn = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True)

    def answer(pictures: Sequence[Any]) -> list[int]:
        images = [Image.fromarray(pixels) for pixels in pictures]
        inputs = processor(text=[prompt] * len(images), images=images, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(
                **inputs, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False
            )
        return [made.shape[1] - inputs["input_ids"].shape[1]] * len(images)

    return answer


def vllm(folder: Path, tokens: int) -> Answer:
    """The CPU build of vLLM, in bfloat16, as its defaults have it."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    from PIL import Image  # noqa: PLC0415
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]  # noqa: PLC0415

    server = LLM(model=str(folder), max_model_len=1024, max_num_seqs=BATCH, dtype="bfloat16")
    sampling = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True)
    prompt = f"<|user|><image>{QUESTION}</s><|assistant|>"

    def answer(pictures: Sequence[Any]) -> list[int]:
        asked = [
            {"prompt": prompt, "multi_modal_data": {"image": Image.fromarray(pixels)}}
            for pixels in pictures
        ]
        made = server.generate(asked, sampling, use_tqdm=False)
        return [len(each.outputs[0].token_ids) for each in made]

    return answer


STATIC: dict[str, Callable[[Path, int], Answer]] = {
    "genai": genai,
    "transformers": transformers,
    "vllm": vllm,
}
"""Subjects that take a batch and give it back whole."""

ENGINES = ("openvino", "torch")
"""Silkline's own, by the names of its registry."""


def serve_static(answer: Answer, cell: dict[str, Any]) -> dict[str, Any]:
    """A burst is one batch; of those that arrive, all that wait make the next one, up to 16."""
    pictures = [picture(cell["first"] + place) for place in range(cell["many"])]
    began, before = time.perf_counter(), time.process_time()
    latencies, counts = [], []
    done = 0
    while done < len(pictures):
        now = time.perf_counter() - began
        waiting = [at for at in cell["arrivals"][done : done + BATCH] if at <= now]
        if not waiting:
            time.sleep(cell["arrivals"][done] - now)
            continue
        counts += answer(pictures[done : done + len(waiting)])
        ended = time.perf_counter() - began
        latencies += [ended - at for at in waiting]
        done += len(waiting)
    return {
        "seconds": time.perf_counter() - began,
        "computed": time.process_time() - before,
        "latencies": latencies,
        "tokens": counts,
    }


@asynccontextmanager
async def opened(name: str, folder: Path) -> AsyncGenerator[Any, None]:
    """An engine of Silkline, started, with the options of `silkline up` but for more KV cache."""
    from silkline.engines.base import EngineOptions  # noqa: PLC0415
    from silkline.engines.registry import create_engine  # noqa: PLC0415

    engine = create_engine(
        name, EngineOptions(model=folder, max_batch=BATCH, kv_cache_bytes=1024**3, name="bench")
    )
    await engine.start()
    try:
        yield engine
    finally:
        await engine.aclose()


async def serve_engine(engine: Any, cell: dict[str, Any], tokens: int) -> dict[str, Any]:
    """Each request comes at its time, by itself."""
    from silkline.core import (  # noqa: PLC0415
        Image,
        ImagePart,
        Message,
        Request,
        Role,
        Sampling,
        TextPart,
    )

    images = []
    for place in range(cell["many"]):
        pixels = picture(cell["first"] + place).tobytes()
        images.append(
            Image(SIDE, SIDE, pixels, hashlib.blake2b(pixels, digest_size=16).hexdigest())
        )
    began, before = time.perf_counter(), time.process_time()

    async def ask(place: int) -> tuple[float, int]:
        at = cell["arrivals"][place]
        await asyncio.sleep(max(0.0, at - (time.perf_counter() - began)))
        request = Request(
            id=f"bench-{place}",
            messages=(Message(Role.USER, (ImagePart(0), TextPart(QUESTION))),),
            images=(images[place],),
            sampling=Sampling(max_tokens=tokens, temperature=0.0),
            timeout_seconds=600.0,
            stream=False,
        )
        count = 0
        async for delta in engine.generate(request):
            count = delta.usage.completion_tokens if delta.usage else count
        return time.perf_counter() - began - at, count

    answers = await asyncio.gather(*(ask(place) for place in range(cell["many"])))
    return {
        "seconds": time.perf_counter() - began,
        "computed": time.process_time() - before,
        "latencies": [latency for latency, _ in answers],
        "tokens": [count for _, count in answers],
    }


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
    answer = STATIC[name](folder, tokens)
    say({"ready": True})
    for line in sys.stdin:
        say(serve_static(answer, json.loads(line)))


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
