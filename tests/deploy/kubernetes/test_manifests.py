"""`silkline render kubernetes` through its command line: what the settings make of the objects."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from silkline.config import settings_from
from tests.cli.commands import invoked

Objects = dict[str, dict[str, Any]]

SEVERAL = """
[server]
drain_timeout = 60
[cache]
cache_ttl = 60
[models.small]
engine = "fake"
max_batch = 8
aliases = ["tiny"]
engine_options = { seconds = "0.1" }
[models.large]
model = "org/large@main"
engine = "vllm"
workers = 2
[models.both]
cascade = ["small", "large"]
escalate_below = 0.5
"""


def rendered(folder: Path, settings: str = "") -> Objects:
    """The objects by the path of their file."""
    config = folder / "silkline.toml"
    config.write_text(settings)
    out = folder / "out"
    assert invoked("render", "kubernetes", "-o", out, "--config", config).code == 0
    root = out / "kubernetes"
    return {
        str(path.relative_to(root)): yaml.safe_load(path.read_text())
        for path in sorted(root.rglob("*.yaml"))
    }


def pod(objects: Objects, name: str) -> dict[str, Any]:
    found: dict[str, Any] = objects[name]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    return rendered(tmp_path_factory.mktemp("manifests"))


def test_gateways_and_engines_run_the_settings_that_they_are_given(tmp_path: Path) -> None:
    found = rendered(tmp_path, SEVERAL)
    read = {}
    for part in ("gateway", "engine"):
        file = tmp_path / f"{part}.toml"
        file.write_text(found[f"{part}-config.yaml"]["data"]["silkline.toml"])
        read[part] = settings_from(file, {})
    gateway, engine = read["gateway"], read["engine"]
    assert set(gateway.served) == {"small", "large", "both"}
    assert set(engine.served) == {"small", "large"}
    assert gateway.served["both"].cascade == ("small", "large")
    assert gateway.served["small"].aliases == ("tiny",)
    assert engine.served["small"].engine_options == {"seconds": "0.1"}
    assert engine.served["large"].model == "/models/large"
    remotes = {name: gateway.served[name].remotes for name in ("small", "large")}
    assert [len(each) for each in remotes.values()] == [10, 10]
    assert remotes["small"][3].url == "http://silkline-engine-3.silkline-engine:8000/v1"
    # What the engines of a pod compute, and a quarter more so that none is idle.
    assert (remotes["small"][0].limit, remotes["large"][0].limit) == (10, 40)
    assert (gateway.cache.cache_ttl, engine.cache.cache_ttl) == (60, 0)
    assert gateway.auth.keys_file
    assert not gateway.auth.allow_anyone
    for settings in read.values():
        assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8000)
        assert (settings.server.lame_duck, settings.server.drain_timeout) == (5, 60)


def test_without_own_models_there_are_no_engines(tmp_path: Path, objects: Objects) -> None:
    remote = '[models.far]\nengine = "remote"\nremotes = ["http://vllm.models:8000"]\n'
    found = rendered(tmp_path, remote)
    assert {name for name in objects if "engine" in name} >= {"engine-statefulset.yaml"}
    assert not [name for name in found if "engine" in name or "adapter" in name]
    assert "gateway-autoscaler.yaml" in found
    assert "-engine" not in found["gateway-config.yaml"]["data"]["silkline.toml"]
    assert "component: engine" not in yaml.safe_dump(found)
    out = tmp_path / "chart"
    assert invoked("render", "helm", "-o", out, "--config", tmp_path / "silkline.toml").code == 0
    assert not {"engine", "weights"} & yaml.safe_load((out / "helm/values.yaml").read_text()).keys()
    assert not [file for file in out.rglob("*") if ".Values.engine" in read(file)]


def read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def test_a_pod_has_time_to_drain_and_is_replaced_when_its_settings_change(tmp_path: Path) -> None:
    found = rendered(tmp_path, SEVERAL)
    for name, part in (
        ("gateway-deployment.yaml", "gateway"),
        ("engine-statefulset.yaml", "engine"),
    ):
        assert pod(found, name)["terminationGracePeriodSeconds"] > 5 + 60 + 6
        toml = found[f"{part}-config.yaml"]["data"]["silkline.toml"]
        notes = found[name]["spec"]["template"]["metadata"]["annotations"]
        assert notes["checksum/config"] == hashlib.sha256(toml.encode()).hexdigest()


def test_pods_are_restricted(objects: Objects) -> None:
    """The rules of https://kubernetes.io/docs/concepts/security/pod-security-standards/."""
    names = ("gateway-deployment.yaml", "engine-statefulset.yaml", "redis-deployment.yaml")
    for name in names:
        spec = pod(objects, name)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("hostPath" not in volume for volume in spec["volumes"])
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_probes_are_asked_where_they_mean_something(objects: Objects) -> None:
    def paths(name: str) -> list[str]:
        container = pod(objects, name)["containers"][0]
        kinds = ("startupProbe", "livenessProbe", "readinessProbe")
        return [container[kind]["httpGet"]["path"] for kind in kinds]

    assert paths("engine-statefulset.yaml") == ["/ready", "/live", "/ready"]
    assert paths("gateway-deployment.yaml") == ["/live", "/live", "/ready"]


def test_engines_and_redis_may_reach_nothing_and_are_reached_by_gateways(objects: Objects) -> None:
    for part, port in (("engine", 8000), ("redis", 6379)):
        spec = objects[f"{part}-network.yaml"]["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        assert spec["egress"] == []
        (rule,) = spec["ingress"]
        assert [each["port"] for each in rule["ports"]] == [port]
        labels = rule["from"][0]["podSelector"]["matchLabels"]
        assert labels["app.kubernetes.io/component"] == "gateway"
    egress = objects["gateway-network.yaml"]["spec"]["egress"]
    block = next(peer["ipBlock"] for rule in egress for peer in rule.get("to", ())
                 if "ipBlock" in peer)  # fmt: skip
    assert {"10.0.0.0/8", "169.254.0.0/16"} <= set(block["except"])


def test_each_metric_scales_with_its_target(tmp_path: Path) -> None:
    found = rendered(
        tmp_path,
        "[deploy]\nautoscale = { backlog = 1.5, saturation = 0.8, busy = 0.75, cpu = 0.7 }\n"
        "engine_replicas = 3\nmax_engine_replicas = 12\nscale_down_seconds = 120\n",
    )
    spec = found["engine-autoscaler.yaml"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 12)
    assert spec["scaleTargetRef"]["kind"] == "StatefulSet"
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 120
    external = {
        each["external"]["metric"]["name"]: each["external"]["target"]
        for each in spec["metrics"]
        if each["type"] == "External"
    }
    assert external == {
        "silkline_backlog_seconds": {"type": "Value", "value": "1.5"},
        "silkline_pool_saturation_ratio": {"type": "Value", "value": "0.8"},
        "silkline_engines_busy_ratio5m": {"type": "Value", "value": "0.75"},
    }
    cpu = spec["metrics"][-1]["resource"]
    assert cpu == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    rules = found["prometheus-adapter/values.yaml"]["rules"]["external"]
    assert {rule["name"]["as"] for rule in rules} == set(external)
    recorded = {
        rule["record"]
        for group in found["prometheus-operator/rules.yaml"]["spec"]["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    assert {rule["seriesQuery"] for rule in rules} <= recorded


def test_the_guides_policy_is_a_line_of_settings(tmp_path: Path) -> None:
    found = rendered(tmp_path, "[deploy]\nautoscale = { cpu = 0.7 }\n")
    spec = found["engine-autoscaler.yaml"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    assert spec["metrics"] == [
        {
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 70},
            },
        }
    ]


def test_a_fixed_number_has_no_autoscaler(tmp_path: Path) -> None:
    found = rendered(tmp_path, "[deploy]\nautoscale = {}\nengine_replicas = 4\n")
    assert found["engine-statefulset.yaml"]["spec"]["replicas"] == 4
    assert not [name for name in found if "autoscaler" in name or "scaled" in name]


def test_an_autoscalers_number_is_not_in_the_manifest(objects: Objects) -> None:
    assert "replicas" not in objects["engine-statefulset.yaml"]["spec"]
    assert "replicas" not in objects["gateway-deployment.yaml"]["spec"]


def test_scaling_to_zero_starts_an_engine_for_the_first_request(tmp_path: Path) -> None:
    found = rendered(
        tmp_path,
        '[deploy]\nscale_to_zero = true\n[monitoring]\nprometheus_url = "http://prom:9090"\n',
    )
    assert "engine-autoscaler.yaml" not in found
    spec = found["engine-scaled-object.yaml"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (0, 10)
    demand, backlog, _ = spec["triggers"]
    assert demand["metadata"]["activationThreshold"] == "0"
    assert "silkline_requests_total" in demand["metadata"]["query"]
    assert backlog["metadata"]["query"] == "max(silkline:backlog_seconds)"
    assert {each["metadata"]["serverAddress"] for each in spec["triggers"]} == {"http://prom:9090"}
    # A gateway that waited for an engine to be ready would never get the request that starts one.
    probe = pod(found, "gateway-deployment.yaml")["containers"][0]["readinessProbe"]
    assert probe["httpGet"]["path"] == "/live"


@pytest.mark.parametrize(
    ("accelerator", "resource", "label"),
    [
        ("nvidia", "nvidia.com/gpu", "nvidia.com/gpu.product"),
        ("tpu", "google.com/tpu", "cloud.google.com/gke-tpu-accelerator"),
    ],
)
def test_accelerators_are_requested_and_their_nodes_selected(
    tmp_path: Path, accelerator: str, resource: str, label: str
) -> None:
    found = rendered(
        tmp_path,
        f'[deploy]\naccelerator = "{accelerator}"\naccelerator_count = 4\n'
        'accelerator_product = "the-card"\n',
    )
    spec = pod(found, "engine-statefulset.yaml")
    assert spec["containers"][0]["resources"]["limits"][resource] == "4"
    assert spec["nodeSelector"] == {label: "the-card"}
    assert spec["tolerations"] == [{"key": resource, "operator": "Exists", "effect": "NoSchedule"}]
    assert pod(found, "gateway-deployment.yaml").get("nodeSelector", {}) == {}


def test_weights_come_from_a_claim_and_are_checked(tmp_path: Path, objects: Objects) -> None:
    assert "initContainers" not in pod(objects, "engine-statefulset.yaml")  # the bundled model
    spec = pod(rendered(tmp_path, SEVERAL), "engine-statefulset.yaml")
    (check,) = spec["initContainers"]
    assert check["name"] == "check-weights"
    assert "sha256sum --check --strict" in check["command"][-1]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in spec["volumes"]
              if "persistentVolumeClaim" in each]  # fmt: skip
    assert claims == ["silkline-models"]
    mounts = {each["name"]: each for each in spec["containers"][0]["volumeMounts"]}
    assert mounts["models"] == {"name": "models", "mountPath": "/models", "readOnly": True}


def test_secrets_are_named_and_never_written(tmp_path: Path, objects: Objects) -> None:
    volumes = pod(objects, "gateway-deployment.yaml")["volumes"]
    assert {"secretName": "silkline-keys", "defaultMode": 0o440} in [
        each.get("secret") for each in volumes
    ]
    assert not [name for name, each in objects.items() if each.get("kind") == "Secret"]
    found = rendered(tmp_path, "[auth]\nallow_anyone = true\n")
    assert not any("secret" in each for each in pod(found, "gateway-deployment.yaml")["volumes"])


def test_the_own_redis_is_used_for_what_names_no_other(tmp_path: Path, objects: Objects) -> None:
    def variables(found: Objects) -> dict[str, str]:
        env = pod(found, "gateway-deployment.yaml")["containers"][0]["env"]
        return {each["name"]: each["value"] for each in env if "SILKLINE" in each["name"]}

    assert variables(objects) == {
        "SILKLINE_CACHE_REDIS": "redis://silkline-redis:6379/0",
        "SILKLINE_IDEMPOTENCY_STORE": "redis://silkline-redis:6379/1",
        "SILKLINE_LIMITS_REDIS": "redis://silkline-redis:6379/2",
    }
    found = rendered(tmp_path, '[cache]\ncache_redis = "redis://other:6379"\n')
    assert variables(found) == {
        "SILKLINE_IDEMPOTENCY_STORE": "redis://silkline-redis:6379/0",
        "SILKLINE_LIMITS_REDIS": "redis://silkline-redis:6379/1",
    }
    assert "redis-deployment.yaml" in found
    found = rendered(tmp_path, "[deploy]\nown_stores = []\n")
    assert variables(found) == {}


def test_an_own_object_store_is_refused_and_not_left_out(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text('[deploy]\nown_stores = ["redis", "objects"]\n')
    ended = invoked("render", "kubernetes", "-o", tmp_path, "--config", tmp_path / "silkline.toml")
    assert ended.code == 2
    assert "cache_objects" in ended.error


def test_engines_have_one_gateway_process(tmp_path: Path) -> None:
    found = rendered(tmp_path, "[server]\nprocesses = 4\n")
    assert "processes = 4" in found["gateway-config.yaml"]["data"]["silkline.toml"]
    assert "processes" not in found["engine-config.yaml"]["data"]["silkline.toml"]


def test_monitors_count_nothing_twice(objects: Objects) -> None:
    def relabeling(part: str) -> dict[str, Any]:
        spec = objects[f"prometheus-operator/{part}-monitor.yaml"]["spec"]
        found: dict[str, Any] = spec["endpoints"][0]["metricRelabelings"][0]
        return found

    assert relabeling("engine")["action"] == "keep"
    assert "requests" not in relabeling("engine")["regex"]
    assert relabeling("gateway")["action"] == "drop"
    rules = objects["prometheus-operator/rules.yaml"]["spec"]["groups"]
    assert [group["name"] for group in rules] == [
        "silkline-objectives",
        "silkline-engines",
        "silkline-alerts",
    ]
