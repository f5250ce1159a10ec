"""Models of users: exported as `silkline up` does it, then held to what transformers answers.

Tiny models with random weights in float16, which an export in fp16 keeps as they are, so that every
token must be the same.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest

from silkline.config import EngineSettings
from silkline.core import Request, Sampling
from silkline.engines.base import Engine, EngineOptions
from silkline.engines.openvino.engine import OpenVinoEngine
from silkline.engines.openvino.support import EXPORTED_MODEL_TYPES
from silkline.engines.registry import create_engine
from silkline.errors import InvalidRequest
from silkline.models.bundle import load_bundle
from silkline.models.resolve import bundled_folder
from silkline.service.model import prepare_model
from tests.serving import command

pytest.importorskip("openvino_genai")
pytest.importorskip("torch")

from tests.engines.asking import user
from tests.engines.exporting import CACHE, exporting_python
from tests.engines.openvino_tiny import MOST, read_answers
from tests.engines.torch.reference import CASES, Case

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(600),
]

MARK = "TINY_EXPORT"
ROOT = Path(__file__).parents[2]
EXACT = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "gemma4")


class Exported:
    """A tiny model and its export."""

    def __init__(self, model_type: str, home: Path) -> None:
        self.home = home
        self.source = home / f"tiny-{model_type}"
        python = exporting_python(EXPORTED_MODEL_TYPES[model_type])
        made = [str(python), "-m", "tests.engines.openvino_tiny", model_type, str(self.source)]
        subprocess.run(made, cwd=ROOT, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        self.answers = read_answers(self.source)
        self.said: list[str] = []
        self.environment = {"XDG_CACHE_HOME": str(home)}

    def export(self, precision: str = "fp16") -> Path:
        wanted = EngineSettings(model=str(self.source), precision=precision)
        return prepare_model(wanted, "openvino", self.environment, self.said.append).folder


@pytest.fixture(scope="module", autouse=True)
def environments() -> Iterator[None]:
    """Keeps the environments that export from one run of the tests to the next."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CACHE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Makes a family's model and exports it, once."""
    known: dict[str, Exported] = {}

    def make(model_type: str) -> Exported:
        if model_type not in known:
            known[model_type] = Exported(model_type, tmp_path_factory.mktemp(model_type))
            os.environ[MARK] = str(known[model_type].home)
            known[model_type].export()
            del os.environ[MARK]
        return known[model_type]

    return make


async def ask(engine: Engine, case: Case, later: float = 0.0) -> tuple[str, int, int]:
    """The text, its tokens and the prompt's, asked some seconds later."""
    await asyncio.sleep(later)
    sampling = Sampling(max_tokens=MOST, temperature=0.0)
    text, usage = [], None
    request = Request("test", case.messages, case.images, sampling, 120.0, stream=True)
    async with aclosing(engine.generate(request)) as stream:
        async for delta in stream:
            text.append(delta.text)
            usage = delta.usage
    assert usage is not None
    return "".join(text), usage.completion_tokens, usage.prompt_tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_type",
    [
        "llava",
        *(pytest.param(name, marks=pytest.mark.full) for name in EXACT),
    ],
)
async def test_answers_are_those_of_transformers(
    made: Callable[[str], Exported], model_type: str
) -> None:
    """Several images, turns, mixed lengths, staggered; and the prompt's tokens are counted."""
    model = made(model_type)
    folder = model.export()
    engine = OpenVinoEngine(EngineOptions(model=folder, max_batch=4, threads=1))
    await engine.start()
    assert (engine.embedder is not None) == (model_type == "llava")
    try:
        asked = (ask(engine, case, 0.1 * index) for index, case in enumerate(CASES.values()))
        answers = await asyncio.gather(*asked)
    finally:
        await engine.aclose()
    for name, (text, tokens, prompt_tokens) in zip(CASES, answers, strict=True):
        wanted = model.answers[name]
        assert (name, prompt_tokens) == (name, wanted["prompt"])
        assert (name, text, tokens) == (name, wanted["text"], len(wanted["ids"]))


@pytest.mark.full
@pytest.mark.parametrize("model_type", ["llava_next", "gemma3"])
async def test_families_whose_pixels_the_pipeline_makes_come_near(
    made: Callable[[str], Exported], model_type: str
) -> None:
    """Text is answered the same, prompts have the same tokens, first tokens cost little."""
    model = made(model_type)
    folder = model.export()
    manifest = json.loads((folder / "bundle.json").read_text())
    assert manifest["evaluation"]["same_answers_as_transformers"]["cost_mean"] < 0.1
    engine = create_engine("openvino", EngineOptions(model=folder, threads=1))
    await engine.start()
    try:
        for name, case in CASES.items():
            text, _, prompt_tokens = await ask(engine, case)
            assert prompt_tokens == model.answers[name]["prompt"]
            if not case.images:
                assert text == model.answers[name]["text"]
    finally:
        await engine.aclose()


@pytest.mark.slow
def test_the_bundle_says_what_it_is_and_what_it_answered(
    made: Callable[[str], Exported],
) -> None:
    model = made("llava")
    manifest = json.loads((model.export() / "bundle.json").read_text())
    assert manifest["name"] == "tiny-llava"
    assert manifest["parent"]["model"] == "tiny-llava"
    assert manifest["engines"]["openvino"]["precision"] == "fp16"
    assert {"transformers", "optimum-intel", "openvino"} <= manifest["exporters"].keys()
    seen = manifest["evaluation"]["same_answers_as_transformers"]
    assert seen["same_first_token"] == seen["same_answers"] == seen["pictures"] == 6
    assert seen["cost_most"] == 0
    stages = " ".join(model.said)
    assert "asking transformers about images 5 of 6" in stages
    assert "converting the graphs" in stages


def test_an_export_leaves_no_process_behind(made: Callable[[str], Exported]) -> None:
    home = str(made("llava").home)
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == home:
                left.append(process.cmdline())
    assert left == []


@pytest.mark.slow
def test_the_second_start_exports_nothing_and_answers(made: Callable[[str], Exported]) -> None:
    """Through the command line, with the model's folder as the first argument."""
    model = made("llava")
    picture = next((bundled_folder() / "evaluation").glob("*.jpg"))
    asked = command(
        *("describe", str(model.source), str(picture), "--engine", "openvino", "--json"),
        *("--precision", "fp16", "--max-tokens", "4"),
    )
    done = subprocess.run(
        asked,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **model.environment, "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["model"].startswith("tiny-llava@")
    assert said["usage"]["image_tokens"] == 16
    assert len(list((model.home / "silkline" / "exports").glob("*/bundle.json"))) == 1


async def test_a_folder_with_ir_needs_no_manifest(
    made: Callable[[str], Exported], tmp_path: Path
) -> None:
    model = made("llava")
    folder = shutil.copytree(model.export() / "openvino", tmp_path / "llava-ov")
    wanted = EngineSettings(model=str(folder))
    files = prepare_model(wanted, "openvino", model.environment, model.said.append)
    assert (files.folder, files.name) == (folder, "llava-ov")
    options = EngineOptions(model=folder, threads=1, name=files.name, revision=files.revision)
    engine = create_engine("openvino", options)
    assert (engine.info.model, engine.info.revision) == ("llava-ov", files.revision)
    assert (engine.info.context_length, engine.info.image_tokens) == (1024, 16)
    await engine.start()
    try:
        text, tokens, _ = await ask(engine, CASES["one picture"])
    finally:
        await engine.aclose()
    assert (bool(text), tokens) == (True, MOST)


async def test_a_prompt_that_is_too_long_is_refused_by_the_tokens_of_its_pictures(
    made: Callable[[str], Exported],
) -> None:
    model = made("llava")
    engine = create_engine("openvino", EngineOptions(model=model.export(), threads=1))
    await engine.start()
    case = CASES["one picture"]
    messages = (user(*range(70)),)
    try:
        with pytest.raises(InvalidRequest, match=r"tokens, images included, but .* may have 1024"):
            await ask(engine, Case(messages, case.images * 70))
    finally:
        await engine.aclose()


@pytest.mark.full
def test_int8_is_measured_and_says_so(made: Callable[[str], Exported]) -> None:
    folder = made("llava").export("int8")
    manifest = json.loads((folder / "bundle.json").read_text())
    weights = manifest["engines"]["openvino"]
    assert weights["precision"] == "int8"
    assert weights["kv_precision"] == "u8"
    towers = manifest["evaluation"]["vision_towers"]
    assert towers["chosen"] in {"static", "weights"}
    assert towers["weights"]["cosine_mean"] > 0.99
    assert load_bundle(folder).damaged_files() == []
    size = sum(path.stat().st_size for path in folder.rglob("openvino_language_model.bin"))
    exact = made("llava").export()
    assert size < 0.8 * (exact / "openvino" / "openvino_language_model.bin").stat().st_size
