"""The shop's servers: three gateways behind nginx, one owner of the engine behind them.

The gateways compute nothing: their engine is `remote`, as in what `silkline render compose` writes.
One worker for each model then batches what all gateways miss, and a gateway that is killed takes no
worker with it. All gateways share a Redis and an object store.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from benchmarks.processes import BenchmarkError, free_port, next_line, started
from benchmarks.shop.plan import SLO, WEIGHTS, Plan
from benchmarks.shop.servers import (
    ObjectStore,
    Running,
    nginx,
    object_store,
    prometheus,
    redis_server,
)

EXPERIMENT = "next"
MODEL, CANDIDATE = "shop", "shop-next"
_END_SECONDS = 10.0
_ADMIN_SECONDS = 30.0

_ENGINE = """\
[engine]
engine = "{engine}"
[models.{model}]
model = "{bundle}"
[models.{candidate}]
model = "{candidate_bundle}"
[cache]
cache_ttl = 0
[history]
history_count = 0
"""

_GATEWAYS = """\
[models.{model}]
engine = "remote"
remotes = ["{owner} name=owner model={model}"]
[models.{candidate}]
engine = "remote"
remotes = ["{owner} name=owner model={candidate}"]
[cache]
cache_redis = "{redis}"
cache_objects = "{objects}"
[admission]
limits_redis = "{redis}"
[admin]
admin_without_keys = "loopback"
[slo]
slo_latency_seconds = {slo}
slo_latency_share = 0.999
[deploy]
upstreams = [{upstreams}]
ingress_port = {ingress}
client_rate = 0
client_connections = 0
[monitoring]
scrape_targets = [{targets}]
alertmanagers = []
machine_price = {price}
"""


class Stack:
    """The servers of the shop while they run."""

    def __init__(self, folder: Path, plan: Plan, engine: str, bundle: str) -> None:
        """Says where things go; `running` starts them.

        Args:
            folder: For settings, logs and data.
            plan: The case.
            engine: Name of the engine.
            bundle: Name or folder of the model.
        """
        self._folder = folder
        self._plan = plan
        self._engine = engine
        self._bundle = bundle
        self._ports = [free_port() for _ in WEIGHTS]
        self._gateways: list[Running] = []
        self._lives = [ExitStack() for _ in WEIGHTS]
        self._settings = folder / "gateways.toml"
        self._variables: Mapping[str, str] = {}
        self._parts: dict[str, int] = {}
        self.left_behind = 0
        """Processes of killed gateways that did not end with them."""

    @contextmanager
    def running(self, scrape_seconds: int) -> Iterator[Stack]:
        """Starts everything, and ends everything with the block."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            self.redis = stack.enter_context(redis_server(self._folder))
            self.objects = stack.enter_context(object_store(self._folder / "objects"))
            self._variables = self.objects.variables
            self.owner = stack.enter_context(self._silkline("engine", self._engine_settings(), 0))
            ingress = free_port()
            self._settings.write_text(self._gateway_settings(self.objects, ingress))
            stack.callback(self._end_gateways)
            self._gateways = [self._gateway(index) for index in range(len(WEIGHTS))]
            self._render("nginx", "prometheus")
            self.balancer = stack.enter_context(nginx(self._folder, ingress))
            self.prometheus = stack.enter_context(prometheus(self._folder, scrape_seconds))
            yield self

    @property
    def pids(self) -> dict[str, int]:
        """The main process of each part."""
        names = {f"gateway {index}": one.pid for index, one in enumerate(self._gateways)}
        return names | {
            "engine": self.owner.pid,
            "nginx": self.balancer.pid,
            "redis": self.redis.pid,
            "object store": self.objects.pid,
            "prometheus": self.prometheus.pid,
        }

    def kill(self, index: int) -> None:
        """Kills a gateway with SIGKILL, as a crash would, and counts what outlives it."""
        process = psutil.Process(self._gateways[index].pid)
        children = process.children(recursive=True)
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=_END_SECONDS)
        self.left_behind += len(alive)
        for child in alive:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._lives[index].close()

    def restart(self, index: int) -> None:
        """Starts a gateway again on its port."""
        self._lives[index] = ExitStack()
        self._gateways[index] = self._gateway(index)

    def begin_canary(self, index: int) -> None:
        """Starts the experiment on a gateway."""
        table = {
            "model": MODEL,
            "candidate": CANDIDATE,
            "ramp": [self._plan.canary_share],
            "unit": "image",
            "needs_feedback": False,
            "decides": "person",
        }
        self._admin(index, "PUT", table)

    def canary(self, index: int) -> dict[str, Any]:
        """What a gateway says about the experiment."""
        return self._admin(index, "GET", None)

    def _admin(self, index: int, method: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        url = f"{self._gateways[index].url}/admin/experiments/{EXPERIMENT}"
        data = json.dumps(body).encode() if body is not None else None
        request = Request(url, data, {"content-type": "application/json"}, method=method)
        with urlopen(request, timeout=_ADMIN_SECONDS) as response:
            found: dict[str, Any] = json.loads(response.read())
        return found

    def _end_gateways(self) -> None:
        for life in self._lives:
            life.close()

    def _gateway(self, index: int) -> Running:
        own = ["--experiment-file", str(self._folder / f"experiments-{index}.sqlite")]
        return self._lives[index].enter_context(
            self._silkline(f"gateway-{index}", self._settings, self._ports[index], *own)
        )

    @contextmanager
    def _silkline(self, name: str, settings: Path, port: int, *options: str) -> Iterator[Running]:
        log = self._folder / f"{name}.log"
        command = [sys.executable, "-m", "silkline", "up", "--config", str(settings)]
        command += ["--port", str(port), "--json", "--log-level", "warning", *options]
        with started(command, log, self._variables) as process:
            ready: dict[str, Any] = json.loads(next_line(process, log))
            yield Running(ready["url"], process.pid)

    def _engine_settings(self) -> Path:
        path = self._folder / "engine.toml"
        text = _ENGINE.format(
            engine=self._engine,
            model=MODEL,
            bundle=self._bundle,
            candidate=CANDIDATE,
            candidate_bundle=self._bundle,
        )
        path.write_text(text)
        return path

    def _gateway_settings(self, objects: ObjectStore, ingress: int) -> str:
        addresses = [f"127.0.0.1:{port}" for port in self._ports]
        weighted = zip(addresses, WEIGHTS, strict=True)
        return _GATEWAYS.format(
            model=MODEL,
            candidate=CANDIDATE,
            owner=self.owner.url,
            redis=self.redis.url,
            objects=objects.cache_url(),
            slo=SLO,
            upstreams=", ".join(f'"{one} weight={weight}"' for one, weight in weighted),
            ingress=ingress,
            targets=", ".join(f'"{one}"' for one in [*addresses, self.owner.url.split("//")[1]]),
            price=self._plan.machine_price,
        )

    def _render(self, *targets: str) -> None:
        command = [sys.executable, "-m", "silkline", "render", *targets]
        command += ["-o", str(self._folder), "--config", str(self._settings)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise BenchmarkError(f"silkline render failed: {ended.stderr}")
