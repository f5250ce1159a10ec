"""Asking a transformers model about pictures in batches."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from recipes.mini.chat import IMAGE, format_prompt
from recipes.mini.records import score_records
from recipes.mini.scene import Scene
from recipes.mini.talk import IMAGE_TOKENS
from recipes.mini.wordings import RECORD_QUESTION


@torch.no_grad()
def ask(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pixels: Tensor,
    question: str, max_new_tokens: int = 64,
) -> list[str]:  # fmt: skip
    """Answer one question about each picture by greedy decoding."""
    prompt = format_prompt(question, line_break=True).replace(IMAGE, IMAGE * IMAGE_TOKENS)
    ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False)]).expand(len(pixels), -1)
    output = model.generate(
        input_ids=ids.to(pixels.device), attention_mask=torch.ones_like(ids).to(pixels.device),
        pixel_values=pixels, max_new_tokens=max_new_tokens, do_sample=False,
    )  # fmt: skip
    return list(tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True))


def quiz(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, pixels: Tensor,
    scenes: list[Scene],
) -> dict[str, float]:  # fmt: skip
    """Ask for the record of each picture and score it."""
    answers: list[str] = []
    for start in range(0, len(scenes), 100):
        answers += ask(model, tokenizer, pixels[start : start + 100], RECORD_QUESTION)
    return score_records(answers, scenes)
