"""What is sent to a remote server: pictures bit by bit, and the request in OpenAI's terms."""

import base64
import io
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from silkline.core import Image, Message, Role, Sampling, TextPart
from silkline.engines.remote.body import check, encode_body
from silkline.engines.remote.fields import fields_of
from silkline.engines.remote.png import encode_png
from silkline.errors import InvalidRequest
from tests.engines.asking import picture, request, user


@given(st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False))
def test_a_png_gives_back_every_pixel(width: int, height: int, dice: random.Random) -> None:
    pixels = bytes(dice.randrange(256) for _ in range(width * height * 3))
    data = encode_png(Image(width, height, pixels, ""))
    with PillowImage.open(io.BytesIO(data), formats=["PNG"]) as read:
        read.load()
        assert (read.mode, read.size, read.tobytes()) == ("RGB", (width, height), pixels)


def test_a_conversation_in_openai_terms() -> None:
    asked = request(
        Message(Role.SYSTEM, (TextPart("Be brief."),)),
        user(1, "and", 0, "What?"),
        Message(Role.ASSISTANT, ()),
        images=(picture(0), picture(1)),
        sampling=Sampling(7, 0.5, 0.9, 3, ("a", "b")),
    )
    body = json.loads(encode_body(asked, "m", fields_of(asked)))
    system, said, empty = body.pop("messages")
    assert system == {"role": "system", "content": "Be brief."}
    assert empty == {"role": "assistant", "content": ""}
    kinds = [part["type"] for part in said["content"]]
    assert kinds == ["image_url", "text", "image_url", "text"]
    url = said["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == encode_png(picture(1))
    assert body == {
        "model": "m", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": 3,
        "stop": ["a", "b"], "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip


def test_greedy_sampling_says_nothing_more() -> None:
    asked = request(user("Hi"))
    body = json.loads(encode_body(asked, "m", fields_of(asked)))
    assert body["temperature"] == 0
    assert not body.keys() & {"top_p", "seed", "stop"}


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        encode_body(request(user("\ud83d")), "m", {})


@pytest.mark.parametrize("index", [-1, 1])
def test_a_picture_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(InvalidRequest, match="there are 1"):
        check(request(user(index), images=(picture(),)))
