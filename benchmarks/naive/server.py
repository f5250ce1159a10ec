"""The naive design: FastAPI around transformers' `generate`, one request at a time.

Written as a competent newcomer would: the model is loaded once, nothing is computed for gradients,
the lock keeps two requests from fighting for the cores, and the event loop stays free because
FastAPI runs plain functions in threads. It runs in its own environment (requirements.txt).

With `--redis` it also has the two caches that guides give it: `lru_cache` in the process, and a
Redis by the hash of the image file.

    python server.py --model FOLDER --port PORT [--redis URL]
"""
# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import hashlib
import io
import json
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

import redis
import torch
import uvicorn
from fastapi import FastAPI, File, Form
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

CACHE_SECONDS = 3600
LRU_ENTRIES = 1024

Answer = tuple[str, int, int]
"""The text, the prompt's tokens and the answer's tokens."""

Answerer = Callable[[bytes, str, int], Answer]
"""Answers about an image file: the file, the prompt, the maximum of tokens."""


class Model:
    """A LLaVA-layout model in float32 on the CPU."""

    def __init__(self, folder: str) -> None:
        self._processor = AutoProcessor.from_pretrained(folder, use_fast=False)
        self._model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self._model.eval()
        self._lock = threading.Lock()

    def answer(self, image: bytes, prompt: str, max_tokens: int) -> Answer:
        """Answers about an image file."""
        with Image.open(io.BytesIO(image)) as encoded:
            picture = encoded.convert("RGB")
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        turns = [{"role": "user", "content": content}]
        text = self._processor.apply_chat_template(turns, add_generation_prompt=True)
        with self._lock, torch.inference_mode():
            inputs = self._processor(images=picture, text=text, return_tensors="pt")
            output = self._model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                pixel_values=inputs["pixel_values"],
                max_new_tokens=max_tokens,
                do_sample=False,
            )
        asked = inputs["input_ids"].shape[1]
        answer = output[0, asked:]
        decoded = self._processor.decode(answer, skip_special_tokens=True)
        return decoded, asked, answer.shape[0]


def cached(answer: Answerer, url: str) -> Answerer:
    """Two caches in front of a model."""
    store = redis.Redis.from_url(url)

    @lru_cache(maxsize=LRU_ENTRIES)
    def found(image: bytes, prompt: str, max_tokens: int) -> Answer:
        key = f"{hashlib.sha256(image).hexdigest()}:{prompt}:{max_tokens}"
        if (kept := store.get(key)) is not None:
            text, asked, given = json.loads(kept)
            return text, asked, given
        made = answer(image, prompt, max_tokens)
        store.set(key, json.dumps(made), ex=CACHE_SECONDS)
        return made

    return found


def create_app(answer: Answerer) -> FastAPI:
    """The application around a loaded model."""
    app = FastAPI()

    @app.post("/predict")
    def predict(
        image: Annotated[bytes, File()],
        prompt: Annotated[str, Form()],
        max_tokens: Annotated[int, Form()] = 256,
    ) -> dict[str, Any]:
        text, prompt_tokens, completion_tokens = answer(image, prompt, max_tokens)
        return {
            "response": text,
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
        }

    return app


def main() -> None:
    """Loads the model, then listens: a port that is open means ready."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="folder with the safetensors")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--redis", default="", help="URL of a Redis for answers")
    arguments = parser.parse_args()
    answer: Answerer = Model(arguments.model).answer
    if arguments.redis:
        answer = cached(answer, arguments.redis)
    uvicorn.run(create_app(answer), host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
