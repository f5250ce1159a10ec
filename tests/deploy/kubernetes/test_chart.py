"""`silkline render helm` through the real helm, and all objects against schemas of Kubernetes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import invoked
from tests.deploy.kubernetes.tools import VERSIONS, Documents, documents, helm, validator

pytestmark = pytest.mark.slow

OTHERS = ("monitoring.coreos.com", "keda.sh", "serving.kserve.io", "inference.networking.k8s.io")
"""The groups of types that are not part of Kubernetes."""

MATRIX: dict[str, dict[str, Any]] = {
    "defaults": {},
    "guide": {"autoscaling": {"backlogSeconds": 0, "saturation": 0, "cpuPercent": 70}},
    "all metrics": {
        "autoscaling": {"backlogSeconds": 2.5, "saturation": 0.8, "busy": 0.75, "cpuPercent": 70}
    },
    "keda to zero": {
        "autoscaling": {"by": "keda"},
        "engine": {"replicas": 0},
        "gateway": {"readiness": "/live"},
    },
    "fixed": {"autoscaling": {"by": "none"}, "engine": {"replicas": 5}},
    "gpu": {
        "engine": {
            "resources": {"limits": {"nvidia.com/gpu": "2", "memory": "64Gi"}},
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        }
    },
    "claim": {"weights": {"source": "claim", "claim": "mine"}},
    "weights image": {"weights": {"source": "image", "image": "registry.example/weights@sha256:0"}},
    "no redis, anyone": {"redis": {"enabled": False}, "gateway": {"keysSecret": ""}},
    "everything": {
        "prometheusOperator": {"enabled": True},
        "kserve": {"enabled": True},
        "inferencePool": {"enabled": True},
        "ingress": {"tlsSecret": "cert"},
        "gateway": {
            "envSecret": "more",
            "extraEgress": [
                {
                    "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}],
                    "ports": [{"protocol": "TCP", "port": 5432}],
                }
            ],
        },
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    assert invoked("render", "kubernetes", "helm", "-o", folder).code == 0
    return folder


def templated(folder: Path, values: dict[str, Any], release: str = "silkline") -> Documents:
    file = folder / "given.json"
    file.write_text(json.dumps(values))
    ended = helm("template", release, folder / "helm", "-f", file)
    assert ended.returncode == 0, ended.stderr
    return documents(ended.stdout)


def by_name(objects: Documents) -> dict[tuple[str, str], dict[str, Any]]:
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    return found


def without_digest(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Takes the digests of settings out: that of the chart is over the whole file."""
    for each in objects.values():
        template = each.get("spec", {}).get("template", {})
        digest = (
            template.get("metadata", {}).get("annotations", {}).pop("checksum/config", "0" * 64)
        )
        assert len(digest) == 64


def test_helm_accepts_the_chart(rendered: Path) -> None:
    ended = helm("lint", "--strict", rendered / "helm")
    assert ended.returncode == 0, ended.stdout
    assert "[WARNING]" not in ended.stdout
    assert "[ERROR]" not in ended.stdout


@pytest.mark.parametrize("folder", ["", "prometheus-operator", "kserve", "inference-pool"])
def test_the_chart_and_the_manifests_are_the_same_objects(rendered: Path, folder: str) -> None:
    enabled = {
        "prometheus-operator": {"prometheusOperator": {"enabled": True}},
        "kserve": {"kserve": {"enabled": True}},
        "inference-pool": {"inferencePool": {"enabled": True}},
    }
    chart = by_name(templated(rendered, enabled.get(folder, {})))
    files = [*(rendered / "kubernetes").glob("*.yaml")]
    files += (rendered / "kubernetes" / folder).glob("*.yaml") if folder else []
    manifests = by_name(
        [
            each
            for file in files
            for each in documents(file.read_text())
            if "kind" in each  # not the values for an adapter
        ]
    )
    for objects in (chart, manifests):
        without_digest(objects)
    assert chart == manifests


@pytest.fixture(scope="module")
def choices(rendered: Path) -> dict[str, Documents]:
    """The objects of each choice of values."""
    return {name: templated(rendered, values, "shop") for name, values in MATRIX.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_each_choice_of_values_gives_objects_that_kubernetes_takes(
    choices: dict[str, Documents], version: str
) -> None:
    for name, objects in choices.items():
        for each in objects:
            if each["apiVersion"].partition("/")[0] in OTHERS:
                continue
            errors = validator(version, each["kind"], each["apiVersion"]).iter_errors(each)
            assert not [f"{error.instance_path}: {error.message}" for error in errors], name


def test_objects_have_the_name_of_their_release(choices: dict[str, Documents]) -> None:
    for objects in choices.values():
        assert all(each["metadata"]["name"].startswith("shop-") for each in objects)


def test_the_schemas_find_what_is_wrong(rendered: Path) -> None:
    objects = by_name(templated(rendered, {}))
    scaler = objects["HorizontalPodAutoscaler", "silkline-engine"]
    scaler["spec"]["metrics"][0]["external"]["target"]["averageVlue"] = "1"
    assert not validator(VERSIONS[-1], scaler["kind"], scaler["apiVersion"]).is_valid(scaler)


def test_values_change_what_they_say(rendered: Path) -> None:
    objects = by_name(
        templated(
            rendered,
            {
                "engine": {"maxReplicas": 3, "resources": {"limits": {"nvidia.com/gpu": "1"}}},
                "autoscaling": {"backlogSeconds": 4},
            },
        )
    )
    toml = objects["ConfigMap", "silkline-gateway"]["data"]["silkline.toml"]
    assert toml.count("http://silkline-engine-") == 3
    spec = objects["HorizontalPodAutoscaler", "silkline-engine"]["spec"]
    assert spec["maxReplicas"] == 3
    assert spec["metrics"][0]["external"]["target"]["value"] == "4"
    pod = objects["StatefulSet", "silkline-engine"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": {"replica": 3}},
        {"gateway": {"replicas": "two"}},
        {"autoscaling": {"by": "hpo"}},
        {"weights": {"source": "hub"}},
        {"engine": {"replicas": 0}},
    ],
)
def test_the_schema_of_values_refuses(rendered: Path, wrong: dict[str, Any]) -> None:
    file = rendered / "wrong.json"
    file.write_text(json.dumps(wrong))
    ended = helm("template", "silkline", rendered / "helm", "-f", file)
    assert ended.returncode != 0
    assert "values don't meet the specifications of the schema" in ended.stderr


def test_templates_of_alerts_reach_prometheus(rendered: Path) -> None:
    objects = by_name(templated(rendered, {"prometheusOperator": {"enabled": True}}))
    (rules,) = (each for (kind, _), each in objects.items() if kind == "PrometheusRule")
    alerts = rules["spec"]["groups"][-1]["rules"]
    down = next(each for each in alerts if each["alert"] == "SilklineDown")
    assert down["annotations"]["summary"] == "The gateway {{ $labels.instance }} cannot be scraped"
