"""A Ray cluster of several nodes on this machine, for tests; it ends with the block."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from silkline.engines.worker.address import NetworkAddress, parse_address

OBJECT_STORE_BYTES = 80 * 1024 * 1024

_PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_agent_register_timeout_ms": "120000",
}

_LOOK = """
import sys, msgspec, ray
from ray import serve
from silkline.service.ray import cluster
from silkline.service.ray.directory import NO_LOAD

cluster.connect(sys.argv[1])
(application,) = serve.status().applications
load = msgspec.json.encode(NO_LOAD)
found = ray.get(cluster.directory().look.remote(application, "test", load))
print("[" + ",".join(each.decode() for each in found) + "]")
"""


class Nodes:
    """The nodes: a head that computes nothing, and others.

    Attributes:
        address: The head's, as `ray_address` takes it.
    """

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.address: str = cluster.address

    def add(self, cpus: int) -> Any:
        """Adds a node, which has so many CPUs whatever this machine has."""
        return self._cluster.add_node(**_node(cpus))

    def kill(self, node: Any) -> None:
        """Kills all processes of a node at once, as a power cut does."""
        for each in _tree(node):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def addresses(self) -> list[NetworkAddress]:
        """Where the workers of the only application listen; a process of its own asks Ray."""
        done = subprocess.run(
            [sys.executable, "-c", _LOOK, self.address],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        entries = json.loads(done.stdout.splitlines()[-1])
        found = [parse_address(each["status"]["socket"]) for each in entries]
        return [each for each in found if isinstance(each, NetworkAddress)]


def _node(cpus: int) -> dict[str, Any]:
    """The arguments of a node.

    With given ports, it need not wait for its agents, which start slowly on a busy machine.
    """
    with ExitStack() as taken:
        bound = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in _PORTS]
        ports = [each.getsockname()[1] for each in bound]
    return {
        "num_cpus": cpus,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        **dict(zip(_PORTS, ports, strict=True)),
    }


def _tree(node: Any) -> list[psutil.Process]:
    """The processes of a node, and theirs."""
    own = [info.process.pid for infos in node.all_processes.values() for info in infos]
    roots = [psutil.Process(pid) for pid in own if psutil.pid_exists(pid)]
    return [each for root in roots for each in (root, *root.children(recursive=True))]


@contextmanager
def running_cluster(folder: Path) -> Iterator[Nodes]:
    """A cluster with a head only; its processes end with the block."""
    os.environ.update(_ENVIRONMENT)
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - starts in its environment

    cluster = Cluster(
        initialize_head=True,
        head_node_args={**_node(cpus=0), "temp_dir": str(folder)},
    )
    try:
        yield Nodes(cluster)
    finally:
        cluster.shutdown()
        for name in _ENVIRONMENT:
            os.environ.pop(name, None)
