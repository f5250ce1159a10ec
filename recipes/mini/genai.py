"""Asking the exported model through OpenVINO GenAI's continuous batching."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino
import openvino_genai
from numpy.typing import NDArray

from recipes.mini.chat import END_ID
from silkline.engines.openvino.arithmetic import arithmetic


@dataclass(frozen=True)
class Answers:
    """Answer texts with their token ids, and how long all of them took together."""

    texts: list[str]
    tokens: list[list[int]]
    seconds: float


class Runner:
    """A pipeline on the CPU with a small key-value cache."""

    def __init__(self, folder: Path, *, exact: bool = False, at_once: int = 16) -> None:
        """Load the IR in ``folder``; up to ``at_once`` requests run together.

        ``exact`` turns off the plugin's own approximations (an 8-bit key-value cache and 8-bit
        activations), to compare with another engine token by token.
        """
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 1
        scheduler.max_num_seqs = at_once
        scheduler.max_num_batched_tokens = 2048
        scheduler.enable_prefix_caching = False
        properties = arithmetic()
        if exact:
            properties |= {"KV_CACHE_PRECISION": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(folder), scheduler, "CPU", {}, properties
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._at_once = at_once

    def ask(
        self, pictures: Sequence[NDArray[np.uint8]], prompts: Sequence[str],
        max_new_tokens: int = 64,
    ) -> Answers:  # fmt: skip
        """Answer one formatted prompt about each picture (h, w, 3) by greedy decoding."""
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = max_new_tokens
        config.do_sample = False
        config.apply_chat_template = False
        config.eos_token_id = END_ID
        tokens: list[list[int]] = []
        started = time.perf_counter()
        for start in range(0, len(prompts), self._at_once):
            part = slice(start, start + self._at_once)
            handles = [
                self._pipeline.add_request(
                    number, prompt, [openvino.Tensor(np.ascontiguousarray(picture)[None])], config
                )
                for number, (picture, prompt) in enumerate(
                    zip(pictures[part], prompts[part], strict=True)
                )
            ]
            while self._pipeline.has_non_finished_requests():
                self._pipeline.step()
            tokens += [list(handle.read_all()[0].generated_ids) for handle in handles]
        seconds = time.perf_counter() - started
        texts = [self._tokenizer.decode(one, skip_special_tokens=True) for one in tokens]
        return Answers(texts, tokens, seconds)
