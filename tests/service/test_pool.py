"""From settings to replicas."""

import os
from pathlib import Path

import pytest

from silkline.config import EngineSettings, ModelSettings
from silkline.engines.registry import Choice
from silkline.errors import ConfigError, EnvironmentFault
from silkline.models.store import Store
from silkline.service.pool import (
    choose_engine,
    limit_of_worker,
    prepare,
    threads_of_worker,
    why_chosen,
)
from tests.cli.test_main import run
from tests.models.samples import LLAVA_15_7B, SMOLVLM_500M, save, save_whole
from tests.models.test_store import KEY, fill
from tests.processes import WORKER, children

WEIGHTS = {"language_model.model.layers.0.mlp.weight": ("F16", [8, 8])}


def test_the_cores_are_divided_among_the_workers() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_of_worker(EngineSettings()) == 0
    assert threads_of_worker(EngineSettings(threads=3)) == 3
    assert threads_of_worker(EngineSettings(workers=cores)) == 1
    assert threads_of_worker(EngineSettings(workers=64)) == 1
    assert threads_of_worker(EngineSettings(workers=2, threads=5)) == 5


@pytest.mark.parametrize("max_batch", [1, 2, 16, 256])
def test_a_worker_gets_its_batch_and_a_few_more(max_batch: int) -> None:
    assert max_batch + 1 < limit_of_worker(max_batch) <= max_batch * 1.25 + 2


async def test_several_workers_are_several_replicas() -> None:
    prepared = await prepare(ModelSettings(engine="fake", workers=3, max_batch=4))
    pool = prepared.pool()
    try:
        await pool.start()
        assert [replica.name for replica in pool.health().replicas] == ["0", "1", "2"]
        assert len({replica.pid for replica in pool.health().replicas}) == 3
        assert pool.capacity() == 3 * limit_of_worker(4)
    finally:
        await pool.aclose()
    assert not children(WORKER)


async def test_auto_looks_at_the_model(tmp_path: Path) -> None:
    folder = save_whole(tmp_path / "smol", SMOLVLM_500M)
    store = str(tmp_path / "store")
    prepared = await prepare(ModelSettings(model=str(folder), export_store=store))
    assert prepared.choice.engine == "torch"
    assert why_chosen(prepared.choice).startswith("auto took torch; openvino cannot: OpenVINO")
    named = await choose_engine(EngineSettings(model=str(folder), engine="openvino"))
    assert named == Choice("openvino")
    assert why_chosen(named) == ""


async def test_a_model_is_kept_in_the_store_while_it_is_served(tmp_path: Path) -> None:
    kept = Store(tmp_path / "store")
    folder = kept.make(KEY, fill).folder
    wanted = ModelSettings(
        model=str(folder), engine="openvino", export_store=str(kept.folder), workers=2
    )
    prepared = await prepare(wanted)
    try:
        with pytest.raises(EnvironmentFault, match=r"is being served.*Stop"):
            kept.remove(KEY)
        assert kept.find(KEY) is not None
    finally:
        prepared.release()
    kept.remove(KEY)
    assert kept.find(KEY) is None


async def test_a_model_that_cannot_be_served_is_not_kept(tmp_path: Path) -> None:
    kept = Store(tmp_path / "store")
    folder = kept.make(KEY, fill).folder
    (folder / "openvino" / "model.bin").unlink()
    wanted = ModelSettings(model=str(folder), engine="openvino", export_store=str(kept.folder))
    with pytest.raises(ConfigError, match="missing or damaged"):
        await prepare(wanted)
    kept.remove(KEY)
    assert kept.entries() == []


@pytest.mark.parametrize("more", [(), ("--contract",)])
def test_every_command_with_auto_tells_why_no_engine_can(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    config = LLAVA_15_7B["config.json"] | {"model_type": "mllama"}
    folder = save(tmp_path / "model", {"config.json": config})
    result = run("evaluate", str(folder), "--out", str(tmp_path / "out"), *more)
    assert result.returncode == 2, result.stderr
    for engine in ("openvino", "torch", "vllm", "llamacpp", "remote"):
        assert f" {engine}: " in result.stderr
