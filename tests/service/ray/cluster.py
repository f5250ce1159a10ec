"""A Ray cluster of several nodes on this machine, for tests; it ends with the block."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from silkline.engines.worker.address import NetworkAddress, parse_address
from silkline.service.ray.cluster import LOOPBACK

OBJECT_STORE_BYTES = 80 * 1024 * 1024

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_agent_register_timeout_ms": "120000",
}

_LOOK = """
import asyncio, sys, msgspec, ray
from ray import serve
from silkline.service.ray import cluster
from silkline.service.ray.directory import NO_LOAD

asyncio.run(cluster.connect(sys.argv[1]))
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
    """The arguments of a node."""
    with socket.create_server((LOOPBACK, 0)) as bound:
        port = bound.getsockname()[1]
    return {
        "num_cpus": cpus,
        "node_ip_address": LOOPBACK,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
        "runtime_env_agent_port": port,
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
    from ray._private.node import Node  # noqa: PLC0415 - starts in its environment
    from ray.cluster_utils import Cluster  # noqa: PLC0415 - the same

    start = Node.start_raylet

    def start_raylet(node: Any, *arguments: Any, **more: Any) -> None:
        # What the agent of a node without dashboard writes. A raylet that waits for that for 15 s
        # ends, and on a busy machine the agent takes longer to start.
        for name in ("dashboard_agent_listen_port", "metrics_agent_port"):
            Path(node.get_session_dir_path(), f"{name}_{node.node_id}").write_text("-1")
        start(node, *arguments, **more)

    with (
        patch("ray._private.utils.get_dashboard_dependency_error", return_value=ImportError()),
        patch.object(Node, "start_raylet", start_raylet),
    ):
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
