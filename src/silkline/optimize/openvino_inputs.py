"""Inputs of an exported decoder, made from calibration items as the engine openvino makes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai as genai
from numpy.typing import NDArray

from silkline.core import ImagePart, Message, Request, Role, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.arithmetic import arithmetic
from silkline.engines.openvino.embedding import Embedder
from silkline.engines.openvino.prompt import Prompts
from silkline.engines.openvino.served import read_served
from silkline.errors import SilklineError
from silkline.optimize.optimisation import Sample, Work

Inputs = dict[str, NDArray[Any]]


def embeds(folder: Path) -> bool:
    """Whether the engine embeds this model's prompts itself, so that they can be calibrated with.

    Args:
        folder: The engine's weights.
    """
    try:
        return Embedder.supports(read_served(EngineOptions(model=folder)))
    except SilklineError:
        return False


def decoder_inputs(work: Work, *, with_images: bool) -> list[tuple[Inputs, int]]:
    """The decoder's inputs for each item: its prompt, and the right answer after it.

    Args:
        work: The copy of a bundle that `embeds` accepts, and the items.
        with_images: Whether the prompts have their images; without, they are text only.

    Returns:
        The inputs of each item, and how many tokens at the end are its answer.
    """
    served = replace(read_served(EngineOptions(model=work.folder)), folder=work.root)
    tokenizer = genai.Tokenizer(str(work.folder))
    prompts, embedder = Prompts(served, tokenizer), Embedder(served, arithmetic())
    found: list[tuple[dict[str, NDArray[Any]], int]] = []
    for sample in work.samples:
        request = _request(sample, with_images=with_images)
        ids, _ = prompts.ids(request)
        counts = [served.image_tokens(image.width, image.height) for image in request.images]
        prepared = embedder.prepare(ids, request.images, counts)
        encoded = tokenizer.encode(sample.answer, add_special_tokens=False).input_ids
        answer = np.array(encoded.data, np.int64).reshape(-1)
        joined = np.concatenate([prepared.ids, answer])
        (embeddings,) = embedder.embed([replace(prepared, ids=joined)])
        count = embeddings.shape[1]
        inputs: dict[str, NDArray[Any]] = {
            "inputs_embeds": embeddings,
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        found.append((inputs, len(answer)))
    return found


def _request(sample: Sample, *, with_images: bool) -> Request:
    text = TextPart(sample.prompt)
    parts = (ImagePart(0), text) if with_images else (text,)
    images = (sample.image,) if with_images else ()
    return Request("calibration", (Message(Role.USER, parts),), images)
