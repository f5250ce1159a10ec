"""Compares an export's answers with those of transformers: greedy, on a few synthetic images.

The same conversation runs through the model in transformers and through the engine that will serve
the export. INT8 changes an answer where two tokens are almost equally likely, and one different
token changes all that follow. So the check uses the likelihood that the original model gives to the
export's first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from silkline.core import ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.export.images import draw_images
from silkline.engines.openvino.export.original import Original
from silkline.errors import ConfigError

IMAGES, _SEED = 6, 3
TOKENS = 8
"""Tokens of each answer: enough to show drift, few enough for large models."""

_QUESTION = "Describe this product."
_SECONDS = 3600.0
_MAX_MEAN_COST = 1.0
"""Maximum mean cost in nats: INT8 costs hundredths, a wrong image or prompt several nats."""

OnProgress = Callable[[int, int], None]
"""Called with the number of images done and their total."""


class Reference(msgspec.Struct, frozen=True):
    """The answer of transformers about an image.

    Attributes:
        ids: The tokens of the answer.
        logprobs: Natural log-probabilities of all tokens as the first one.
    """

    ids: list[int]
    logprobs: list[float]


class Agreement(msgspec.Struct, frozen=True):
    """How closely an export's answers match those of transformers.

    Attributes:
        images: Number of images.
        tokens: Maximum tokens of each answer.
        reference: Name of the reference.
        same_first_token: Number of answers with the same first token.
        same_answers: Number of answers that are the same to the end.
        cost_mean: Mean cost of the first token, in nats: by how much it is less likely than the
            reference's first token, according to the reference; 0 if they are the same.
        max_cost: The largest of these costs.
    """

    images: int = msgspec.field(name="pictures")
    tokens: int
    reference: str
    same_first_token: int
    same_answers: int
    cost_mean: float
    max_cost: float = msgspec.field(name="cost_most")

    def check(self) -> None:
        """Refuses an export whose answers differ.

        Raises:
            ConfigError: The mean cost of the first token is more than 1 nat.
        """
        if self.cost_mean > _MAX_MEAN_COST:
            raise ConfigError(
                f"The export's answers differ from the model's: for {self.images} images, "
                f"{self.same_first_token} answers have the same first token, and the first tokens "
                f"are {self.cost_mean:.1f} nats less likely than those of transformers. The export "
                "is discarded. Try --precision fp16, or serve the model with --engine torch."
            )


def ask_transformers(original: Original, on_progress: OnProgress) -> list[Reference]:
    """Asks the model in transformers about each image."""
    answers = []
    for index, image in enumerate(draw_images(IMAGES, _SEED)):
        on_progress(index, IMAGES)
        answers.append(Reference(*original.ask(_QUESTION, image, TOKENS)))
    return answers


def ask_export(bundle: Path, on_progress: OnProgress) -> list[list[int]]:
    """Asks the engine that will serve the export about each image, one by one."""
    return asyncio.run(_ask_engine(bundle, on_progress))


def compare(
    expected: Sequence[Reference], actual: Sequence[Sequence[int]], reference: str
) -> Agreement:
    """Compares the answers about each image."""
    pairs = list(zip(expected, actual, strict=True))
    costs = [max(answer.logprobs) - answer.logprobs[ids[0]] for answer, ids in pairs]
    return Agreement(
        images=len(pairs),
        tokens=TOKENS,
        reference=reference,
        same_first_token=sum(answer.ids[0] == ids[0] for answer, ids in pairs),
        same_answers=sum(answer.ids == list(ids) for answer, ids in pairs),
        cost_mean=round(sum(costs) / len(costs), 4),
        max_cost=round(max(costs), 4),
    )


def _messages() -> tuple[Message, ...]:
    return (Message(Role.USER, (ImagePart(0), TextPart(_QUESTION))),)


async def _ask_engine(bundle: Path, on_progress: OnProgress) -> list[list[int]]:
    engine = OpenVinoEngine(EngineOptions(model=bundle, max_batch=1))
    await engine.start()
    try:
        answers = []
        for index, image in enumerate(draw_images(IMAGES, _SEED)):
            on_progress(index, IMAGES)
            request = Request(
                id=f"export-{index}",
                messages=_messages(),
                images=(image,),
                sampling=Sampling(max_tokens=TOKENS, temperature=0.0),
                timeout_seconds=_SECONDS,
                stream=False,
            )
            answers.append(await engine.token_ids(request))
        return answers
    finally:
        await engine.aclose()
