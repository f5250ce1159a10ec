"""Helm and the schemas of Kubernetes' API, from packages that `make test-slow` downloads.

`python -m tests.deploy.kubernetes.tools` unpacks helm beside them.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

FOLDER = Path(__file__).parents[3] / ".cache" / "kubernetes"
HELM = FOLDER / "helm"
VERSIONS = ("1.27.0", "1.31.0", "1.34.0", "1.37.0")

Documents = list[dict[str, Any]]


def documents(text: str) -> Documents:
    """The objects of a YAML text."""
    return [each for each in yaml.safe_load_all(text) if each]


def helm(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert HELM.exists(), "helm is missing: make .cache/kubernetes/.ready"
    return subprocess.run([HELM, *map(str, arguments)], capture_output=True, text=True, check=False)


@cache
def validator(version: str, kind: str, api_version: str) -> jsonschema_rs.Validator:
    """The strict schema of a type in a version of Kubernetes."""
    group, _, name = api_version.rpartition("/")
    title = "-".join(filter(None, (kind.lower(), group.partition(".")[0], name)))
    return jsonschema_rs.validator_for(_schema(version, title), registry=_registry(version))


@cache
def _registry(version: str) -> jsonschema_rs.Registry:
    definitions = _schema(version, "_definitions")
    return jsonschema_rs.Registry([(definitions["$id"], definitions)])


def _schema(version: str, title: str) -> dict[str, Any]:
    folder = f"kubernetes_validate/kubernetes-json-schema/v{version}-local-strict"
    with zipfile.ZipFile(next(FOLDER.glob("kubernetes_validate-*.whl"))) as wheel:
        found: dict[str, Any] = json.loads(wheel.read(f"{folder}/{title}.json"))
    return found


def unpack() -> None:
    """Unpacks helm from the layer of the package."""
    with zipfile.ZipFile(next(FOLDER.glob("aws_cdk_*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        package = wheel.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        HELM.write_bytes(zipfile.ZipFile(layer).read("helm/helm"))
    HELM.chmod(0o755)


if __name__ == "__main__":
    unpack()
