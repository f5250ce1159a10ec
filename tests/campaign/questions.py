"""Questions whose answers are known: what the fake engine must say, computed beside the servers."""

from __future__ import annotations

import base64
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image as PillowImage

from silkline.core import Image, ImagePart, Message, Request, Role, Sampling, TextPart
from silkline.engines.base import EngineOptions
from silkline.engines.registry import create_engine
from silkline.ingress.identity import image_digest
from tests.gateway.asking import MODEL

_SIZE = (24, 16)
"""Pixels of a picture: far below every budget, so that nothing reduces it on its way."""


@dataclass(frozen=True, slots=True)
class Question:
    """A chat request and the only right answer to it.

    Attributes:
        body: The JSON that is sent.
        expected: What the model must say.
        stream: Whether the answer is streamed.
        headers: Further headers to send.
        sound: Whether nothing is wrong with it.
    """

    body: bytes = field(repr=False)
    expected: str
    stream: bool
    headers: tuple[tuple[str, str], ...] = ()
    sound: bool = True


class Asker:
    """Makes questions, each about a picture of its own, from one seed.

    Args:
        seed: Pictures and prompts follow from it.
        words: `answer_words` of the fake engine that the servers run.
    """

    def __init__(self, seed: int, words: int = 0) -> None:
        self.chance = random.Random(seed)
        self._words = words

    async def questions(
        self, count: int, *, streamed: float = 0.5, text: str = "What is this?"
    ) -> list[Question]:
        """So many different questions; about the share `streamed` of them is streamed."""
        engine = create_engine(
            "fake", EngineOptions(max_batch=64, extra={"answer_words": str(self._words)})
        )
        await engine.start()
        try:
            asked = []
            for place in range(count):
                pixels = self.chance.randbytes(_SIZE[0] * _SIZE[1] * 3)
                prompt = f"{text} #{place}"
                deltas = engine.generate(request_for(prompt, pixels))
                expected = "".join([delta.text async for delta in deltas])
                stream = self.chance.random() < streamed
                asked.append(Question(body_for(prompt, pixels, stream=stream), expected, stream))
            return asked
        finally:
            await engine.aclose()


def request_for(prompt: str, pixels: bytes) -> Request:
    """The request that reaches an engine for a prompt about a picture."""
    digest = image_digest("RGB", *_SIZE, pixels)
    message = Message(Role.USER, (ImagePart(0), TextPart(prompt)))
    return Request(
        id="expected",
        messages=(message,),
        images=(Image(*_SIZE, pixels, digest),),
        sampling=Sampling(max_tokens=100_000),
    )


def body_for(prompt: str, pixels: bytes, *, stream: bool) -> bytes:
    """The chat request for the same."""
    buffer = io.BytesIO()
    PillowImage.frombytes("RGB", _SIZE, pixels).save(buffer, "PNG", compress_level=0)
    url = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    content: Sequence[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": prompt},
    ]
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 256,
        "stream": stream,
    }
    return json.dumps(body).encode()


def pointed(question: Question, url: str) -> Question:
    """The same question with its picture at a URL."""
    body = json.loads(question.body)
    body["messages"][0]["content"][0]["image_url"]["url"] = url
    return replace(question, body=json.dumps(body).encode())


def picture(question: Question) -> bytes:
    """The picture that the question holds, encoded."""
    url = json.loads(question.body)["messages"][0]["content"][0]["image_url"]["url"]
    return base64.b64decode(url.partition(",")[2])
