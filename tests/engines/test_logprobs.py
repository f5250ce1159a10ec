"""Log-probabilities of the bundled model, against transformers' log-softmax in float32."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from silkline.core import Feature, Sampling, TokenLogprob
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.registry import create_engine
from silkline.engines.token_bytes import read_token_bytes
from silkline.models.bundle import MANIFEST
from silkline.models.resolve import bundled_folder
from tests.engines.asking import answer, picture, request, user
from tests.engines.bundled_reference import Reference
from tests.engines.exporting import exporting_python

PROMPTS = [20, pytest.param(200, marks=(pytest.mark.full, pytest.mark.timeout(1800)))]
QUESTIONS = (
    "What is this?",
    "Describe the picture.",
    "Which colour is it?",
    "How many are there?",
    "What does the label say?",
)
TOKENS = 24
KV_BYTES = 64 * 1024 * 1024


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


@pytest.fixture(scope="module")
def ids() -> dict[bytes, int]:
    found = read_token_bytes(bundled_folder())
    assert found is not None
    return {found.of(token): token for token in range(896)}


@dataclass
class Compared:
    """How an engine's log-probabilities differ from the reference's.

    Attributes:
        tokens: Tokens compared.
        same: Of these, those that are the reference's most likely token, too.
        largest: The largest difference, of chosen tokens and of alternatives.
    """

    tokens: int = 0
    same: int = 0
    largest: float = 0.0

    def add(
        self, told: tuple[TokenLogprob, ...], table: NDArray[np.float32], ids: dict[bytes, int]
    ) -> None:
        for each, row in zip(told, table, strict=True):
            self.tokens += 1
            self.same += bool(row.argmax() == ids[each.data])
            for token in (each, *each.top):
                self.largest = max(self.largest, abs(token.logprob - float(row[ids[token.data]])))


async def compared(
    engine: Engine, reference: Reference, ids: dict[bytes, int], prompts: int
) -> Compared:
    """Asks for `prompts` answers, and has the reference score the same tokens."""
    found = Compared()
    await engine.start()
    try:
        alternatives = 5 if Feature.TOP_LOGPROBS in engine.info.features else 0
        sampling = Sampling(max_tokens=TOKENS, logprobs=alternatives)
        for number in range(prompts):
            image, text = picture(number), QUESTIONS[number % len(QUESTIONS)]
            told = await answer(engine, request(user(0, text), images=(image,), sampling=sampling))
            pixels = PIL.Image.frombytes("RGB", (image.width, image.height), image.pixels)
            tokens = [ids[each.data] for each in told.logprobs]
            found.add(told.logprobs, reference.logprobs(pixels, text, tokens), ids)
    finally:
        await engine.aclose()
    print(f"{engine.info.engine} {engine.info.precision}, {prompts} prompts: {found}")  # noqa: T201
    return found


@pytest.mark.parametrize("prompts", PROMPTS)
async def test_torch_reports_the_log_softmax(
    prompts: int, reference: Reference, ids: dict[bytes, int]
) -> None:
    extra = {"device": "cpu", "dtype": "float32"}
    options = EngineOptions(bundled_folder(), kv_cache_bytes=KV_BYTES, threads=1, extra=extra)
    found = await compared(create_engine("torch", options), reference, ids, prompts)
    assert found.same == found.tokens > 3 * prompts
    assert found.largest < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("prompts", PROMPTS)
async def test_the_int8_model_reports_nearly_the_log_softmax(
    prompts: int, reference: Reference, ids: dict[bytes, int]
) -> None:
    pytest.importorskip("openvino_genai")
    options = EngineOptions(bundled_folder(), kv_cache_bytes=KV_BYTES, threads=1)
    found = await compared(create_engine("openvino", options), reference, ids, prompts)
    assert found.same > 0.95 * found.tokens > 3 * prompts


@pytest.fixture
def float32_export(tmp_path: Path) -> Path:
    pytest.importorskip("openvino_genai")
    source, folder = tmp_path / "source", tmp_path / "export"
    source.mkdir()
    for path in bundled_folder().iterdir():
        if path.suffix in {".json", ".jinja", ".safetensors"} and path.name != MANIFEST:
            shutil.copy(path, source)
    python = exporting_python("transformers-4.57")
    export = (
        "import sys; from optimum.exporters.openvino import main_export; "
        "from optimum.intel import OVConfig; main_export(sys.argv[1], sys.argv[2], "
        "task='image-text-to-text', ov_config=OVConfig(dtype='fp32'), convert_tokenizer=True)"
    )
    command = [str(python), "-c", export, str(source), str(folder)]
    subprocess.run(command, check=True)
    return folder


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_a_float32_export_reports_the_log_softmax(
    float32_export: Path, reference: Reference, ids: dict[bytes, int]
) -> None:
    # The default KV cache has 8 bits, which alone makes differences of 0.001.
    extra = {"kv_precision": "f32"}
    options = EngineOptions(float32_export, kv_cache_bytes=KV_BYTES, threads=1, extra=extra)
    found = await compared(create_engine("openvino", options), reference, ids, 200)
    assert found.same == found.tokens > 600
    assert found.largest < 1e-3
