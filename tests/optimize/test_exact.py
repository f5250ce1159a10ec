import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from silkline.config import EngineSettings
from silkline.errors import EnvironmentFault
from silkline.models.bundle import MANIFEST, Bundle, EngineWeights, load_bundle
from silkline.models.resolve import bundled_folder
from silkline.optimize import exact
from silkline.service.model import ModelFiles
from tests.optimize.bundles import make_exact


async def exact_of(model: str, work: Path, notices: list[str]) -> Bundle:
    async with AsyncExitStack() as stack:
        wanted = EngineSettings(model=model)
        return await exact.exact_bundle(
            wanted, "openvino", work, stack, notices.append, lambda _: None
        )


async def test_exact_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = make_exact(tmp_path / "exact")
    assert (await exact_of(str(folder), tmp_path / "work", [])).folder == folder


async def test_the_original_weights_beside_compressed_ones_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What exports is slow and tested elsewhere; here it is replaced."""
    made = make_exact(tmp_path / "exact")
    asked: list[EngineSettings] = []

    async def exporting(wanted: EngineSettings, *_: object) -> ModelFiles:
        asked.append(wanted)
        return ModelFiles(made, "", "")

    monkeypatch.setattr(exact, "prepared_model", exporting)
    found = await exact_of("silkline-mini", tmp_path / "work", [])
    assert found.folder == made
    source = Path(asked[0].model)
    assert (asked[0].precision, source) == ("fp16", tmp_path / "work" / "silkline-mini")
    assert (source / "model.safetensors").samefile(bundled_folder() / "model.safetensors")
    assert not (source / "bundle.json").exists()
    assert not (source / "openvino").exists()


async def test_original_weights_in_bfloat16_are_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(bundled_folder(), model)
    manifest = load_bundle(model).manifest
    engines = manifest.engines | {"torch": EngineWeights(".", "bfloat16")}
    changed = msgspec.structs.replace(manifest, engines=engines)
    (model / MANIFEST).write_bytes(msgspec.json.encode(changed))
    made = make_exact(tmp_path / "exact")

    async def exporting(*_: object) -> ModelFiles:
        return ModelFiles(made, "", "")

    monkeypatch.setattr(exact, "prepared_model", exporting)
    assert (await exact_of(str(model), tmp_path / "work", [])).folder == made


async def test_what_cannot_be_exported_is_taken_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> ModelFiles:
        raise EnvironmentFault("No package index.")

    monkeypatch.setattr(exact, "prepared_model", failing)
    notices: list[str] = []
    found = await exact_of("silkline-mini", tmp_path / "work", notices)
    assert found.folder == load_bundle(bundled_folder()).folder
    assert notices == ["the exact weights cannot be exported, so little applies: No package index."]
