"""What an export answers, beside what transformers answers: greedy, on a few drawn pictures.

The same conversation goes through the model in transformers and through the engine that will serve
the export. INT8 changes answers where two tokens are nearly as likely, and one other token changes
all that follow; so what counts is what the model itself thinks of the export's first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.export.images import draw_images
from silkline.engines.torch.families.common import Adapter
from silkline.errors import ConfigError

IMAGES, _SEED = 6, 3
TOKENS = 8
"""Of each answer: enough to see it drift, few enough for large models."""

_QUESTION = "Describe this product."
_SECONDS = 3600.0
_LOST = 1.0
"""Nats, on average: INT8 costs hundredths, a wrong picture or prompt several."""

Watch = Callable[[int, int], None]


class Told(msgspec.Struct, frozen=True):
    """What transformers answers about a picture.

    Attributes:
        ids: The answer.
        logprobs: Natural log-probabilities of the first token.
    """

    ids: list[int]
    logprobs: list[float]


class Agreement(msgspec.Struct, frozen=True):
    """How far an export answers as transformers does.

    Attributes:
        pictures: How many were asked about.
        tokens: Most of each answer.
        reference: What it is compared with.
        same_first_token: Answers that begin with the same token.
        same_answers: Answers that are the same to the end.
        cost_mean: Nats by which the first token is less likely, in transformers' own eyes, than
            the one it would have said; 0 where they are the same.
        cost_most: The largest of these.
    """

    images: int
    tokens: int
    reference: str
    same_first_token: int
    same_answers: int
    cost_mean: float
    max_cost: float

    def check(self) -> None:
        """Refuses an export that answers something else.

        Raises:
            ConfigError: For most pictures its first token is another, and none that the model
                takes for nearly as likely.
        """
        if self.cost_mean > _LOST:
            raise ConfigError(
                f"The export does not answer as the model does: about {self.images} pictures, "
                f"{self.same_first_token} answers begin alike, and its first tokens are "
                f"{self.cost_mean:.1f} nats less likely than transformers' own. It is not kept. "
                "Try --precision fp16, or serve the model with --engine torch."
            )


def ask_transformers(adapter: Adapter, watch: Watch) -> list[Told]:
    """Asks the loaded model about each picture."""
    told = []
    for place, image in enumerate(draw_images(IMAGES, _SEED)):
        watch(place, IMAGES)
        told.append(_ask(adapter, image))
    return told


def ask_export(bundle: Path, watch: Watch) -> list[list[int]]:
    """Asks the engine that will serve the export, one picture after the other."""
    return asyncio.run(_ask_engine(bundle, watch))


def compare(wanted: Sequence[Told], got: Sequence[Sequence[int]], reference: str) -> Agreement:
    """Compares answers, picture by picture."""
    pairs = list(zip(wanted, got, strict=True))
    costs = [max(told.logprobs) - told.logprobs[ids[0]] for told, ids in pairs]
    return Agreement(
        images=len(pairs),
        tokens=TOKENS,
        reference=reference,
        same_first_token=sum(told.ids[0] == ids[0] for told, ids in pairs),
        same_answers=sum(told.ids == list(ids) for told, ids in pairs),
        cost_mean=round(sum(costs) / len(costs), 4),
        max_cost=round(max(costs), 4),
    )


def _messages() -> tuple[Message, ...]:
    return (Message(Role.USER, (ImagePart(0), TextPart(_QUESTION))),)


def _ask(adapter: Adapter, image: Image) -> Told:
    """What `generate` answers, given what the family's own processor makes of picture and text."""
    prompt = adapter.prepare(_messages(), [image])
    tensors = prompt.images[0].tensors
    inputs: dict[str, Any] = {
        name: tensor if name == "pixel_values" and "image_grid_thw" in tensors else tensor[None]
        for name, tensor in tensors.items()
    }
    inputs["pixel_values"] = inputs["pixel_values"].to(adapter.model.dtype)
    with torch.inference_mode():
        made = adapter.model.generate(
            input_ids=prompt.ids[None],
            attention_mask=torch.ones_like(prompt.ids)[None],
            max_new_tokens=TOKENS,
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
            **inputs,
        )
    first = torch.log_softmax(made.logits[0][0].float(), -1)
    return Told(made.sequences[0, len(prompt.ids) :].tolist(), first.tolist())


async def _ask_engine(bundle: Path, watch: Watch) -> list[list[int]]:
    engine = OpenVinoEngine(EngineOptions(model=bundle, max_batch=1))
    await engine.start()
    try:
        answers = []
        for place, image in enumerate(draw_images(IMAGES, _SEED)):
            watch(place, IMAGES)
            asked = Request(
                id=f"export-{place}",
                messages=_messages(),
                images=(image,),
                sampling=Sampling(max_tokens=TOKENS, temperature=0.0),
                timeout_seconds=_SECONDS,
                stream=False,
            )
            answers.append(await engine.token_ids(asked))
        return answers
    finally:
        await engine.aclose()
