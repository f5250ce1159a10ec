"""What a remote server says of itself, and what is made of it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.config import RemoteSettings
from silkline.core import PixelBudget
from silkline.engines.base import EngineOptions
from silkline.engines.remote import create_engine
from silkline.engines.remote.listing import read_listing
from silkline.errors import Overloaded, WorkerLost
from tests.engines.openai_server import asked, openai_server, scripted

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["id", "revision", "context_length", "meta", "pixel_budget"]), inner
        )
    ),
)


LISTS: list[tuple[dict[str, Any], dict[str, str], tuple[str, int, int]]] = [
    ({"id": "a", "max_model_len": 4096}, {}, ("a", 4096, 1024)),
    ({"id": "a", "meta": {"n_ctx_train": 512}}, {}, ("a", 512, 511)),
    ({"id": "a", "meta": {"n_ctx": 256, "n_ctx_train": 512}}, {}, ("a", 256, 255)),
    ({"id": "a", "context_length": "big"}, {}, ("a", 8192, 1024)),
    ({"id": "a", "context_length": 10, "image_tokens": 4}, {}, ("a", 10, 4)),
    ({"id": "a", "max_model_len": 9}, {"context_length": "99", "image_tokens": "8"}, ("a", 99, 8)),
]


@pytest.mark.parametrize(("model", "extra", "told"), LISTS)
async def test_what_a_server_says_of_itself(
    model: dict[str, Any], extra: dict[str, str], told: tuple[str, int, int]
) -> None:
    async with asked(scripted(), {"data": [model]}, **extra) as (engine, _):
        info = engine.info
        assert (info.model, info.context_length, info.image_tokens) == told
        assert len(info.revision) == 12


async def test_a_model_among_others_and_what_is_known_better() -> None:
    listing = {"data": [{"id": "a"}, {"id": "b", "revision": "r1", "created": 5}]}
    async with asked(scripted(), listing, model="b", max_pixels="99") as (engine, _):
        assert (engine.info.model, engine.info.revision) == ("b", "r1")
        assert engine.info.pixel_budget == PixelBudget(max_pixels=99)
    async with asked(scripted(), listing, model="b", revision="mine") as (engine, _):
        assert engine.info.revision == "mine"


@pytest.mark.parametrize(("told", "extra", "budget"), [
    ({"max_pixels": 500, "shortest_edge": 96}, {}, PixelBudget(500, 96)),
    ({"max_pixels": 500, "shortest_edge": None}, {"max_pixels": "9"}, PixelBudget(9)),
    ({"max_pixels": "many", "shortest_edge": -1}, {}, PixelBudget()),
    ({"max_pixels": 10**30, "shortest_edge": 2**63}, {}, PixelBudget()),
    (7, {}, PixelBudget()),
])  # fmt: skip
async def test_pictures_are_reduced_as_the_server_would(
    told: Any, extra: dict[str, str], budget: PixelBudget
) -> None:
    listing = {"data": [{"id": "a", "pixel_budget": told}]}
    async with asked(scripted(), listing, **extra) as (engine, _):
        assert engine.info.pixel_budget == budget


async def test_the_revision_follows_what_is_served_and_not_the_time() -> None:
    async def revision(**model: Any) -> str:
        async with asked(scripted(), {"data": [{"id": "a", **model}]}) as (engine, _):
            return engine.info.revision

    assert await revision(root="x", created=1) == await revision(root="x", created=2)
    assert await revision(root="x") != await revision(root="y")


@pytest.mark.parametrize(
    "listing",
    [
        {"data": []},
        {"data": [{"id": 5}, 5, None]},
        [],
        "x",
        {"data": {"id": "a"}},
        5,
        {"data": [{"id": "a\r\nb"}, {"id": "größe"}, {"id": ""}, {"id": "x" * 300}]},
    ],
)
async def test_a_server_without_the_model_is_not_there(listing: Any) -> None:
    async with openai_server(scripted(), listing=listing) as server:
        engine = create_engine(EngineOptions(extra={"url": server.url}))
        with pytest.raises(WorkerLost):
            await engine.start()
        with pytest.raises(Overloaded):
            _ = engine.info
        await engine.aclose()


@given(st.binary() | JSON.map(lambda models: json.dumps({"data": models}).encode()))
def test_any_listing_is_a_model_or_none(body: bytes) -> None:
    with contextlib.suppress(WorkerLost):
        assert read_listing(body, RemoteSettings(url="http://a")).info.model
