"""What all objects of a deployment share: names, labels, and how their pods are secured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from silkline.config import Settings
from silkline.deploy.kubernetes import api
from silkline.deploy.kubernetes.nodes import Condition, text, why
from silkline.deploy.kubernetes.site import UID, engine_models
from silkline.deploy.kubernetes.values import Values

GATEWAY, ENGINE, REDIS = "gateway", "engine", "redis"
PORT_NAME = "http"
_PART = "app.kubernetes.io/component"


@dataclass(frozen=True)
class File:
    """A file with one object.

    Attributes:
        name: Its name, without a folder.
        about: What the object is for; a comment at its top.
        object: The object.
        when: The condition under which it exists.
        extra: The folder of a manifest that not every cluster takes, since its type is not part of
            Kubernetes; empty for all others.
    """

    name: str
    about: str
    object: api.Object
    when: Condition | None = None
    extra: str = ""

    def of(self, part: str) -> bool:
        """Whether the object belongs to a part."""
        return self.object.metadata.labels[_PART] == part


@dataclass(frozen=True)
class Parts:
    """Makes names and labels.

    Attributes:
        settings: The settings.
        values: The values of the chart.
    """

    settings: Settings
    values: Values

    @property
    def has_engines(self) -> bool:
        """Whether the deployment has engines of its own, beside remote servers."""
        return bool(engine_models(self.settings))

    def name(self, part: str) -> str:
        """The name of a part: release and part."""
        return text(self.values.release, f"-{part}")

    def selector(self, part: str) -> api.Labels:
        """The labels that select the pods of a part, which never change."""
        return {
            "app.kubernetes.io/name": "silkline",
            "app.kubernetes.io/instance": self.values.release.node,
            _PART: part,
        }

    def selects(self, part: str) -> api.Selector:
        """Selects the pods of a part."""
        return api.Selector(self.selector(part))

    def object(self, api_version: str, kind: str, part: str, spec: Any) -> api.Object:
        """Returns an object of a part."""
        labels = {**self.selector(part), "app.kubernetes.io/part-of": "silkline"}
        return api.Object(api_version, kind, api.Metadata(self.name(part), labels), spec)

    def config(self, part: str, content: str) -> api.Object:
        """Returns the ConfigMap with the settings file of a part."""
        labels = {**self.selector(part), "app.kubernetes.io/part-of": "silkline"}
        metadata = api.Metadata(self.name(part), labels)
        return api.Object("v1", "ConfigMap", metadata, data={"silkline.toml": content})


def pod_security() -> api.PodSecurity:
    """What the level `restricted` of pod security asks of a pod."""
    return api.PodSecurity(
        run_as_non_root=True,
        run_as_user=UID,
        run_as_group=UID,
        fs_group=UID,
        seccomp_profile=api.SeccompProfile("RuntimeDefault"),
    )


def container_security() -> api.ContainerSecurity:
    """What the level `restricted` asks of a container, and a root file system without writes."""
    return api.ContainerSecurity(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=api.Capabilities(("ALL",)),
    )


def spread(selector: api.Selector) -> tuple[api.Spread, ...]:
    """Spreads pods over nodes and zones, as far as there is room."""
    keys = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    rules = tuple(api.Spread(1, key, "ScheduleAnyway", selector) for key in keys)
    return why(
        "The loss of a node or a zone should take few pods. ScheduleAnyway: one node is better "
        "than no pod.",
        rules,
    )
