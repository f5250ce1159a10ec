"""What Silkline asks of Ray and Ray Serve; what is not async blocks, so call it in threads."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from silkline.config import EngineSettings, ModelSettings
from silkline.errors import EnvironmentFault
from silkline.service.ray.directory import Directory

if TYPE_CHECKING:
    from ray.actor import ActorHandle

S = TypeVar("S", bound=EngineSettings)

NAMESPACE = "silkline"
"""The namespace of Silkline's actors on a cluster."""

INSTALL = "pip install 'silkline[ray]'"

LOOPBACK = "127.0.0.2"
"""The address of a cluster that is started here; Ray replaces 127.0.0.1 by one of the network."""

_OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Of a cluster that is started here: requests do not pass through Ray's object store."""

_LOOK_SECONDS = 0.2

_ALIVE = {"NOT_STARTED", "DEPLOYING", "RUNNING", "UNHEALTHY"}


async def connect(address: str) -> None:
    """Connects this process to a cluster, once.

    Args:
        address: As the setting `ray_address`.

    Raises:
        EnvironmentFault: Ray is not installed, or there is no such cluster.
    """
    await asyncio.to_thread(_connect, address)
    if threading.current_thread() is threading.main_thread():
        # Ray's own handler dumps the stack; this puts Python's back.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


def _connect(address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - an extra
        from ray import serve  # noqa: F401, PLC0415 - the same
    except ImportError as error:
        raise EnvironmentFault(
            "Workers on Ray need the package ray[serve], which is not installed.", remedy=INSTALL
        ) from error
    if ray.is_initialized():
        return
    logging.getLogger("ray").setLevel(logging.ERROR)
    local: dict[str, Any] = {
        "_node_ip_address": LOOPBACK,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES,
    }
    try:
        ray.init(
            address or "local",
            namespace=NAMESPACE,
            configure_logging=False,
            log_to_driver=False,
            **({} if address else local),
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise EnvironmentFault(
            f"There is no Ray cluster at {address or 'this machine'}: {error}. Start it with "
            "`ray start --head`, join it from this machine with `ray start --address=HOST:PORT`, "
            "or leave ray_address empty."
        ) from error


def directory() -> ActorHandle[Directory]:
    """The cluster's directory; starts it if there is none."""
    import ray  # noqa: PLC0415 - an extra

    return (
        ray.remote(Directory)
        .options(
            name="directory",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
        )
        .remote()
    )


def deploy(application: str, wanted: ModelSettings) -> None:
    """Deploys a model's workers, unless they are; returns before they serve."""
    from ray import serve  # noqa: PLC0415 - an extra

    from silkline.service.ray.replica import DRAIN_SECONDS, ServeReplica  # noqa: PLC0415 - a cycle

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(proxy_location="Disabled")
    while (known := serve.status().applications.get(application)) is not None:
        if known.status in _ALIVE:
            return
        if known.status != "DELETING":
            break
        time.sleep(_LOOK_SECONDS)
    worker = serve.deployment(ServeReplica).options(
        name="worker",
        user_config={"settings": wanted.model_dump_json(exclude_unset=True)},
        ray_actor_options=resources(wanted),
        graceful_shutdown_timeout_s=DRAIN_SECONDS,
        health_check_period_s=1.0,
        health_check_timeout_s=10.0,
        **_scale(wanted),
    )
    target = serve.RunTarget(worker.bind(application), name=application, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)


def resources(wanted: EngineSettings) -> dict[str, Any]:
    """What a worker takes of its node, as options of an actor."""
    taken: dict[str, float] = dict(wanted.worker_resources)
    return {
        "num_cpus": taken.pop("CPU", 1.0),
        "num_gpus": taken.pop("GPU", 0.0),
        "resources": taken,
    }


def one_worker(wanted: S) -> S:
    """The settings of one worker, where it runs: it computes with the CPUs that it takes."""
    threads = wanted.threads or max(1, int(wanted.worker_resources.get("CPU", 1)))
    alone = {"on": "machine", "workers": 1, "max_workers": 0, "threads": threads}
    return wanted.model_copy(update=alone)


def _scale(wanted: ModelSettings) -> dict[str, Any]:
    if wanted.max_workers <= wanted.workers:
        return {"num_replicas": wanted.workers}
    return {
        "autoscaling_config": {
            "min_replicas": wanted.workers,
            "initial_replicas": wanted.workers,
            "max_replicas": wanted.max_workers,
            "upscale_delay_s": 2.0,
            "downscale_delay_s": 120.0,
            "metrics_interval_s": 1.0,
            "look_back_period_s": 2.0,
            "policy": {"policy_function": "silkline.service.ray.scaling:policy"},
        }
    }


def remove(application: str) -> None:
    """Removes an application; its workers finish their requests."""
    from ray import serve  # noqa: PLC0415 - an extra

    serve.delete(application, _blocking=False)


def kill(actor: ActorHandle[Any]) -> None:
    """Ends an actor, and does not start it again."""
    import ray  # noqa: PLC0415 - an extra

    ray.kill(actor)
