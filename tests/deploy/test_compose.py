"""The rendered Compose file and Dockerfiles, by the schema of Compose and by hadolint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from silkline.config import load_settings
from tests.deploy.balancers import program
from tests.deploy.promtool import rendered

STACK = {"nginx", "redis", "prometheus", "alertmanager", "grafana", "elasticsearch", "kibana"}


def loaded(folder: Path, settings: str = "") -> dict[str, Any]:
    rendered(folder, settings, "compose")
    document: dict[str, Any] = yaml.safe_load((folder / "compose" / "compose.yaml").read_text())
    return document


@pytest.mark.parametrize(
    "deploy",
    ["", 'accelerator = "nvidia"\nown_stores = ["redis", "objects"]', "own_stores = []"],
)
def test_the_file_is_of_the_schema(tmp_path: Path, deploy: str) -> None:
    document = loaded(tmp_path, f"[deploy]\n{deploy}\n")
    PyCompose.from_yaml(yaml.safe_dump(document)).validate()
    document["services"]["nginx"]["networks"] = ["nowhere"]  # as a check of the check
    with pytest.raises(ValueError, match="network `nowhere`"):
        PyCompose.from_yaml(yaml.safe_dump(document)).validate()


def test_the_stack_has_all_its_services(tmp_path: Path) -> None:
    deploy = "[deploy]\ngateway_replicas = 3\nengine_replicas = 1\n"
    services = loaded(tmp_path, deploy)["services"]
    gateways = {"gateway-1", "gateway-2", "gateway-3"}
    assert services.keys() == STACK | gateways | {"engine-1"}
    conf = (tmp_path / "compose" / "nginx" / "silkline.conf").read_text()
    assert [name for name in sorted(gateways) if f"server {name}:8000 weight=1" in conf] == sorted(
        gateways
    )


def test_services_are_hardened_and_engines_reach_nothing(tmp_path: Path) -> None:
    document = loaded(tmp_path)
    for name in ("gateway-1", "engine-1", "nginx", "redis"):
        service = document["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    networks = document["networks"]
    assert all(networks[name]["internal"] for name in document["services"]["engine-1"]["networks"])
    assert all(networks[name]["internal"] for name in document["services"]["redis"]["networks"])


def test_the_variables_are_settings_that_load(tmp_path: Path) -> None:
    text = (
        "[limits]\nmax_images = 4\n[fetch]\nallowed_hosts = ['a.example']\n"
        "[engine]\nmodel = '/data/m$1'\nmax_batch = 3\n"
    )
    services = loaded(tmp_path, text)["services"]
    read = {
        name: load_settings(
            None,
            {n: v.replace("$$", "$") for n, v in services[name]["environment"].items()},
            {},
        )
        for name in ("gateway-1", "engine-1")
    }
    gateway, engine = read["gateway-1"], read["engine-1"]
    assert (gateway.limits.max_images, gateway.fetch.allowed_hosts) == (4, ("a.example",))
    assert [remote.url for remote in gateway.engine.remotes] == [
        "http://engine-1:8000/v1",
        "http://engine-2:8000/v1",
    ]
    assert gateway.auth.keys_file == "/run/secrets/keys"
    assert (engine.engine.model, engine.engine.max_batch) == ("/data/m$1", 3)
    assert engine.limits.max_images == 16


@pytest.mark.parametrize("accelerator", ["none", "nvidia"])
def test_the_dockerfiles_pass_hadolint(tmp_path: Path, accelerator: str) -> None:
    rendered(tmp_path, f'[deploy]\naccelerator = "{accelerator}"\n', "compose")
    files = sorted((tmp_path / "compose").glob("Dockerfile*"))
    assert len(files) == (2 if accelerator == "nvidia" else 1)
    hadolint = Path(sys.executable).parent / "hadolint"
    ended = subprocess.run(
        [hadolint if hadolint.exists() else program("hadolint"), *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "")
