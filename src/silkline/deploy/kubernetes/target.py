"""The targets `kubernetes` and `helm`: the same objects as manifests and as a chart."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from silkline.config import Settings
from silkline.deploy.kubernetes.extras import extra_files
from silkline.deploy.kubernetes.network import more_egress_file, network_files
from silkline.deploy.kubernetes.nodes import Value, why
from silkline.deploy.kubernetes.parts import ENGINE, File, Parts
from silkline.deploy.kubernetes.scaling import adapter_values, scaling_files
from silkline.deploy.kubernetes.servers import server_files
from silkline.deploy.kubernetes.site import engine_models
from silkline.deploy.kubernetes.stores import store_files
from silkline.deploy.kubernetes.values import values_of
from silkline.deploy.kubernetes.writer import WIDTH, Form, Manifest, Template, write
from silkline.deploy.target import Files, Target

_OF_ENGINES = ("engine.", "weights.")
_ADAPTER = "prometheus-adapter/values.yaml"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", tuple: "array"}


def objects(settings: Settings) -> tuple[File, ...]:
    """Returns the files of a deployment, whose objects hold the chart's values."""
    parts = Parts(settings, values_of(settings))
    files = (
        *server_files(parts),
        *scaling_files(parts),
        *network_files(parts),
        more_egress_file(parts),
        *store_files(parts),
        *extra_files(parts),
    )
    return tuple(file for file in files if parts.has_engines or not file.of(ENGINE))


def _manifests(settings: Settings) -> Files:
    """A file for each object that the settings want; extras have a folder of their own."""
    command = "silkline render kubernetes"
    found = dict(_adapter(settings, command))
    for file in objects(settings):
        if file.extra or file.when is None or file.when.holds:
            body = write(file.object, Manifest())
            found["/".join(filter(None, (file.extra, file.name)))] = _head(command, file) + body
    return found


def _chart(settings: Settings) -> Files:
    command = "silkline render helm"
    values = _values(settings)
    found = {
        "Chart.yaml": _written(command, "The chart.", _chart_yaml(), Manifest()),
        "values.yaml": _written(
            command, "What a user of the chart may change.", _values_yaml(values), Manifest()
        ),
        "values.schema.json": json.dumps(_schema(values), indent=2) + "\n",
        **_adapter(settings, command),
    }
    for file in objects(settings):
        body = _head(command, file) + write(file.object, Template())
        if file.when is not None:
            body = f"{{{{- if {file.when.expression} }}}}\n{body}{{{{- end }}}}\n"
        found[f"templates/{file.name}"] = body
    return found


def _values(settings: Settings) -> tuple[Value[Any], ...]:
    """The values that a user of the chart sets: without engines, those of none."""
    found = values_of(settings).all_values()
    has_engines = bool(engine_models(settings))
    return tuple(value for value in found if has_engines or not value.path.startswith(_OF_ENGINES))


def _adapter(settings: Settings, command: str) -> Files:
    if not engine_models(settings):
        return {}
    about = (
        "Values of the chart of prometheus-adapter, which provides the metrics of the engines' "
        "autoscaler: helm install adapter prometheus-community/prometheus-adapter -f this-file"
    )
    return {_ADAPTER: _written(command, about, adapter_values(), Manifest())}


def _written(command: str, about: str, what: object, form: Form) -> str:
    return _comment(command, about) + write(what, form)


def _head(command: str, file: File) -> str:
    return _comment(command, file.about)


def _comment(command: str, about: str) -> str:
    made = f"Written by `{command}`; change the settings and run it again."
    lines = [made, *textwrap.wrap(about, WIDTH)]
    return "".join(f"# {line}\n" for line in lines)


def _chart_yaml() -> dict[str, Any]:
    release = version("silkline")
    return {
        "apiVersion": "v2",
        "name": "silkline",
        "description": "Gateways and engines of a vision-language-model server",
        "type": "application",
        "version": release,
        "appVersion": release,
        "kubeVersion": ">=1.27.0-0",
    }


def _values_yaml(values: Sequence[Value[Any]]) -> dict[str, Any]:
    """The defaults, each below what it is."""
    tree: dict[str, Any] = {}
    for value in values:
        *folders, name = value.path.split(".")
        into = tree
        for folder in folders:
            into = into.setdefault(folder, {})
        into[name] = why(value.about, value.default)
    return tree


def _schema(values: Sequence[Value[Any]]) -> dict[str, Any]:
    """A JSON schema that refuses unknown names."""
    root = _object()
    root["properties"]["global"] = {"type": "object"}  # Helm adds it to the values of a subchart
    for value in values:
        *folders, name = value.path.split(".")
        into = root
        for folder in folders:
            into = into["properties"].setdefault(folder, _object())
        into["properties"][name] = _schema_of(value)
    by_hpa = {"properties": {"autoscaling": {"properties": {"by": {"const": "hpa"}}}}}
    one = {"properties": {"engine": {"properties": {"replicas": {"minimum": 1}}}}}
    root["allOf"] = [{"if": by_hpa, "then": one}]
    return {"$schema": "http://json-schema.org/draft-07/schema#", **root}


def _object() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": {}}


def _schema_of(value: Value[Any]) -> dict[str, Any]:
    kind = "object" if isinstance(value.default, Mapping) else _TYPES[type(value.default)]
    if "minimum" in value.schema and kind == "integer" and value.path in _NUMBERS:
        kind = "number"
    return {"type": kind, "description": value.about, **value.schema}


_NUMBERS = {"autoscaling.backlogSeconds", "autoscaling.saturation", "autoscaling.busy"}

KUBERNETES = Target("kubernetes", "manifests of gateways and engines for Kubernetes", _manifests)
HELM = Target("helm", "the same objects as a Helm chart", _chart)
