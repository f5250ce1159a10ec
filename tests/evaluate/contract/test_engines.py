"""The contract on other engines: torch with every family it serves, GenAI's own path, a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from silkline.config import Settings
from silkline.engines.base import EngineOptions
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.probe import OpenVinoProber, PipelineInspector
from silkline.evaluate.contract.check import Sides
from silkline.evaluate.contract.reference import Reference
from silkline.evaluate.contract.results import Row, Stage, Verdict
from silkline.evaluate.contract.tolerances import tolerance_of
from silkline.models.resolve import bundled_folder
from silkline.service.contract import ClientPath
from silkline.service.local import create_intake
from tests.engines.openai_server import Received, Script, openai_server, whole
from tests.engines.torch.tiny import INSTALLED, TINY, Tiny, save
from tests.evaluate.contract.sides import (
    SpoiledProber,
    compared,
    first_broken,
    opened,
    pack,
    reference,
    shifted,
    swapped,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]

SOME = (
    "exif-6",
    "alpha",
    "wide",
    "tall",
    "row",
    "odd",
    "large-jpeg",
    "two-pictures",
    "text-around",
)


async def checked(tiny: Tiny, folder: Path, *names: str) -> dict[str, Row]:
    """A tiny model with random weights in both, in float32."""
    save(tiny, folder)
    async with opened("torch", folder, {"dtype": "float32"}) as sides:
        return await compared(replace(sides, reference=Reference(folder)), *names)


@pytest.mark.slow
@pytest.mark.parametrize(
    "tiny", [tiny for tiny in TINY if tiny.model_type in {"llava_next", "qwen2_vl"}],
    ids=lambda tiny: tiny.id,
)  # fmt: skip
async def test_torch_reads_tiles_and_patches_as_transformers_does(
    tiny: Tiny, tmp_path: Path
) -> None:
    torch.set_num_threads(1)
    rows = await checked(tiny, tmp_path / "model", *SOME)
    assert not any(row.broken or row.refused for row in rows.values()), rows
    counts = {row.stages[Stage.IMAGE_TOKENS].figures["count"] for row in rows.values()}
    assert len(counts) > 2  # these families take tokens by the picture's size


@pytest.mark.full
@pytest.mark.parametrize("tiny", INSTALLED, ids=lambda tiny: tiny.id)
async def test_torch_keeps_the_contract_with_every_family(tiny: Tiny, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    rows = await checked(tiny, tmp_path / "model", *pack())
    assert not any(row.broken for row in rows.values()), rows
    refused = {name for name, row in rows.items() if row.refused}
    assert refused == ({"two-pictures", "interleaved"} if tiny.model_type == "blip-2" else set())


@pytest.mark.slow
async def test_torch_with_the_bundled_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in bundled_folder().iterdir():
        if file.is_file() and file.name != "bundle.json":
            (folder / file.name).symlink_to(file)
    async with opened("torch", folder, {"dtype": "float32"}) as sides:
        assert set((await first_broken(sides, *SOME)).values()) == {None}
        for fault in (swapped, shifted):
            spoiled = replace(sides, prober=SpoiledProber(sides.prober, takes=fault))
            assert await first_broken(spoiled, "odd") == {"odd": Stage.PIXELS}


@pytest.mark.slow
async def test_the_pipeline_of_openvino_genai_shows_what_it_reads() -> None:
    """Text before a picture is the defect that the contract found first.

    GenAI's own path puts a picture where the client did; the bundled model's template does not.
    """
    engine = OpenVinoEngine(EngineOptions(model=bundled_folder(), max_batch=1, threads=1))
    await engine.start()
    sight = await asyncio.to_thread(PipelineInspector, engine, bundled_folder() / "openvino")
    try:
        async with create_intake(Settings()) as intake:
            sides = Sides(
                path=ClientPath(intake),
                prober=OpenVinoProber(engine, sight),
                budget=engine.info.pixel_budget,
                reference=reference(),
                tolerance=tolerance_of(engine.info.precision),
            )
            rows = await compared(sides, "small", "grey", "two-pictures", "text-around")
    finally:
        sight.close()
        await engine.aclose()
    assert {name: row.first_broken for name, row in rows.items()} == {
        "small": None, "grey": None, "two-pictures": None, "text-around": Stage.PROMPT
    }  # fmt: skip
    assert {row.stages[Stage.PIXELS].verdict for row in rows.values()} == {Verdict.HIDDEN}
    assert rows["grey"].stages[Stage.FIRST_TOKEN].figures["divergence"] < 0.1


def answering(
    change: Callable[[dict[str, Any]], None] = lambda _: None, *, lists: bool = True
) -> Script:
    """A server that knows what transformers says of the case `odd`."""
    truth = reference().truth(pack()["odd"])
    logits = truth.logits.astype(np.float64)
    chances = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    top = np.argsort(chances)[::-1][:20]
    listed = [{"token": reference().text(int(one)), "logprob": float(chances[one])} for one in top]
    places = {"content": [{**listed[0], "top_logprobs": listed}]}

    async def script(received: Received) -> AsyncIterator[bytes]:
        asked = "logprobs" in received.body
        if asked and not lists:
            yield whole(400, {"error": {"message": "no logprobs here"}})
            return
        answer: dict[str, Any] = {
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": listed[0]["token"]},
                    "finish_reason": "length",
                    "logprobs": places if asked else None,
                }
            ],
            "usage": {
                "prompt_tokens": len(truth.prompt_ids),
                "completion_tokens": 1,
                "prompt_tokens_details": {"image_tokens": truth.image_tokens},
            },
        }
        change(answer)
        yield whole(200, answer)

    return script


async def asked(script: Script) -> Row:
    """The row of the case `odd`, by a server of that script."""
    async with openai_server(script) as server:
        return await _odd({"url": server.url})


async def _odd(extra: dict[str, str]) -> Row:
    async with opened("remote", None, extra) as sides:
        return (await compared(sides, "odd"))["odd"]


async def test_a_server_is_judged_by_what_it_tells() -> None:
    row = await asked(answering())
    assert not row.broken
    assert row.stages[Stage.PIXELS].verdict is Verdict.HIDDEN
    assert row.stages[Stage.FIRST_TOKEN].figures["log_probability"] < 1e-5
    silent = await asked(answering(lists=False))
    assert not silent.broken
    assert silent.stages[Stage.FIRST_TOKEN].cell == "text"


@pytest.mark.parametrize(
    ("stage", "change"),
    [
        (
            Stage.IMAGE_TOKENS,
            lambda answer: answer["usage"]["prompt_tokens_details"].update(image_tokens=65),
        ),
        (Stage.PROMPT, lambda answer: answer["usage"].update(prompt_tokens=75)),
        (
            Stage.FIRST_TOKEN,
            lambda answer: answer["choices"][0]["logprobs"]["content"][0].update(
                top_logprobs=[{"token": "zebra", "logprob": -0.01}]
            ),
        ),
        (
            Stage.FIRST_TOKEN,
            lambda answer: answer["choices"][0]["message"].update(content="zebra"),
        ),
    ],
    ids=["image tokens", "prompt tokens", "log-probabilities", "text"],
)
async def test_a_server_that_differs(
    stage: Stage, change: Callable[[dict[str, Any]], None]
) -> None:
    row = await asked(answering(change))
    assert row.first_broken is stage
