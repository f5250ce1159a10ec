"""What the gateway does itself for a model on Ray, and what it leaves to the workers."""

import sys

import pytest

from silkline.config import ModelSettings, Settings
from silkline.engines.registry import Choice
from silkline.errors import ConfigError, EnvironmentFault
from silkline.service.budget import NO_NEED
from silkline.service.pool import prepare
from silkline.service.ray import cluster
from silkline.service.ray.fleet import FleetWorker


async def test_the_gateway_needs_neither_the_model_nor_the_engine() -> None:
    wanted = ModelSettings(on="ray", model="/nowhere", engine="auto", workers=2, max_workers=5)
    prepared = await prepare(wanted)
    assert (prepared.choice, prepared.files, prepared.need) == (Choice("auto"), None, NO_NEED)
    assert [type(worker) for worker in prepared.workers()] == [FleetWorker] * 5


async def test_remotes_alone_need_no_workers_on_ray() -> None:
    settings = Settings.model_validate(
        {"engine": {"on": "ray", "remotes": [{"url": "http://127.0.0.1:9"}]}}
    )
    (wanted,) = settings.served.values()
    assert (await prepare(wanted)).workers() == ()


async def test_undecoded_files_are_refused_as_on_this_machine() -> None:
    with pytest.raises(ConfigError, match="trust is header"):
        await prepare(ModelSettings(on="ray", engine="fake", trust="header"))


async def test_without_ray_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentFault, match="which is not installed") as missing:
        await cluster.connect("")
    assert missing.value.remedy == "pip install 'silkline[ray]'"


def test_a_worker_takes_what_the_settings_say_and_computes_with_its_cpus() -> None:
    wanted = ModelSettings(on="ray", worker_resources={"CPU": 4, "GPU": 2, "fpga": 0.5}, workers=3)
    assert cluster.resources(wanted) == {
        "num_cpus": 4,
        "num_gpus": 2,
        "resources": {"fpga": 0.5},
    }
    alone = cluster.one_worker(wanted)
    assert (alone.on, alone.workers, alone.threads) == ("machine", 1, 4)
    assert cluster.resources(ModelSettings())["num_cpus"] == 1
    assert cluster.one_worker(ModelSettings()).threads == 1


def test_settings_on_ray_are_as_strict_as_the_others() -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        ModelSettings(worker_resources={"CPU": 0})
    with pytest.raises(ValueError, match="machine"):
        ModelSettings.model_validate({"on": "kubernetes"})
    with pytest.raises(ValueError, match="frozen"):
        ModelSettings().on = "ray"  # type: ignore[misc]
