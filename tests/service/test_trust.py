"""What a remote server gets of an image, and what the cache knows it by."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from silkline.cache.policy import CacheState
from silkline.config import EngineSettings, ModelSettings, RemoteSettings, Settings
from silkline.core import ImagePart, Message, Role, Sampling, TextPart
from silkline.errors import ConfigError, ImageUndecodable
from silkline.ingress.source import uploaded
from silkline.ingress.wanted import Wanted
from silkline.service.answering import Answering
from silkline.service.local import create_intake, open_answering
from silkline.service.pool import prepare, wanted_images
from silkline.service.question import Question
from silkline.service.record import RequestRecord
from tests.engines.openai_server import OpenAiServer, openai_server, scripted, whole
from tests.ingress.pictures import encode, photograph

Trust = Literal["decoded", "header"]

JPEG = encode(photograph(96, 72), "JPEG")
DAMAGED = JPEG[:-500] + JPEG[-400:]
WEBP = encode(photograph(96, 72), "WEBP")
MESSAGE = {"message": {"content": "A mug."}, "finish_reason": "stop", "index": 0}
ANSWER = {"choices": [MESSAGE], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}
SCRIPT = scripted(whole(200, ANSWER))


@asynccontextmanager
async def answering(url: str, trust: Trust) -> AsyncIterator[Answering]:
    settings = Settings(engine=EngineSettings(remotes=(RemoteSettings(url=url),), trust=trust))
    async with (
        create_intake(settings) as intake,
        open_answering(settings, intake, lambda _: None) as made,
    ):
        yield made


async def ask(made: Answering, data: bytes) -> RequestRecord:
    record = RequestRecord(id="test")
    question = Question(
        model=None,
        messages=(Message(Role.USER, (ImagePart(0), TextPart("What?"))),),
        sources=(uploaded(data, param="image"),),
        sampling=Sampling(max_tokens=8),
        stream=False,
    )
    assert (await made.answer(question, record)).text == "A mug."
    return record


def file_in(server: OpenAiServer) -> bytes:
    """The image of the last request."""
    (message,) = server.received[-1].body["messages"]
    url: str = message["content"][0]["image_url"]["url"]
    return base64.b64decode(url.partition(";base64,")[2], validate=True)


@pytest.mark.parametrize("trust", ["decoded", "header"])
async def test_the_server_gets_the_client_s_file(trust: Trust) -> None:
    async with openai_server(SCRIPT) as server, answering(server.url, trust) as made:
        await ask(made, JPEG)
        assert file_in(server) == JPEG
        await ask(made, WEBP)  # not a file that all servers read
        assert file_in(server).startswith(b"\x89PNG")
        assert (await ask(made, JPEG)).cache == CacheState.HIT
    assert len(server.received) == 2


async def test_damaged_data_reaches_the_server_only_with_header() -> None:
    async with openai_server(SCRIPT) as server:
        async with answering(server.url, "header") as made:
            await ask(made, DAMAGED)
            assert file_in(server) == DAMAGED
        async with answering(server.url, "decoded") as made:
            with pytest.raises(ImageUndecodable):
                await ask(made, DAMAGED[:-200])
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("engine", "wanted"),
    [
        ({}, Wanted.PIXELS),
        ({"remotes": ("http://a",)}, Wanted.FILE),
        ({"remotes": ("http://a", "http://b"), "engine": "remote"}, Wanted.FILE),
        ({"remotes": ("http://a image_files=false",)}, Wanted.PIXELS),
        ({"remotes": ("http://a", "http://b image_files=false")}, Wanted.PIXELS_AND_FILE),
        ({"remotes": ("http://a",), "engine": "fake"}, Wanted.PIXELS_AND_FILE),
    ],
)
async def test_header_needs_remotes_that_all_take_files(
    engine: dict[str, Any], wanted: Wanted
) -> None:
    assert wanted_images(EngineSettings(**engine)) is wanted
    trusting = EngineSettings(**engine, trust="header")
    if wanted is Wanted.FILE:
        assert wanted_images(trusting) is Wanted.UNDECODED_FILE
        return
    with pytest.raises(ConfigError, match="trust is header"):
        await prepare(ModelSettings(**{"engine": "fake"} | engine, trust="header"))
