"""The gateways that are compared: how each is started in front of the upstream server.

`make gateways` installs those that are Python packages, each in an environment of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.gateways.upstream import MODEL
from benchmarks.processes import BenchmarkError, free_port, started, wait_for_port

DIRECT = "direct"
NGINX = "nginx"
SGLANG_ROUTER = "sglang-router"
LITELLM = "LiteLLM proxy"
DECODED = "Silkline, trust decoded"
HEADER = "Silkline, trust header"

PEERS = (DIRECT, NGINX, SGLANG_ROUTER, LITELLM, DECODED, HEADER)

_NGINX_CONFIG = """\
daemon off;
worker_processes {processes};
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_buffer_size 2m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream models {{ server {upstream}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://models;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

_LITELLM_CONFIG = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://{upstream}/v1", api_key: none}}
general_settings: {{master_key: sk-benchmark}}
"""
_ENVIRONMENT = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where things are.

    Attributes:
        environments: Folder of the peers' virtual environments.
        work: Folder for configurations and logs.
        upstream: `host:port` of the upstream server.
        cores: The cores that a peer may use.
        silkline_options: More options of `silkline up`.
    """

    environments: Path
    work: Path
    upstream: str
    cores: tuple[int, ...]
    silkline_options: tuple[str, ...] = ()

    def log(self, name: str) -> Path:
        """The file for what a process writes to its standard error."""
        return self.work / f"{name.replace(' ', '-').replace(',', '')}.log"

    def program(self, environment: str, name: str) -> Path:
        """A program of a peer's environment."""
        return self.environments / environment / "bin" / name


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway that runs; `pid` is its main process, None for the upstream server itself."""

    name: str
    url: str
    pid: int | None


def missing(name: str, place: Place) -> str | None:
    """How to install a peer that is not installed; None if it is."""
    if name == NGINX:
        return None if shutil.which("nginx") else "apt-get install nginx"
    program = {SGLANG_ROUTER: ("sglang-router", "python"), LITELLM: ("litellm", "litellm")}.get(
        name
    )
    installed = program is None or place.program(*program).exists()
    return None if installed else "make gateways"


@contextmanager
def running(name: str, place: Place) -> Iterator[Peer]:
    """Starts a peer on its cores, and ends it with the block.

    Raises:
        BenchmarkError: It does not start.
    """
    if name == DIRECT:
        yield Peer(name, f"http://{place.upstream}", None)
        return
    port = free_port()
    log = place.log(name)
    command = _command(name, place, port)
    silent = subprocess.DEVNULL
    with (
        on_cores(place.cores),
        started(command, log, _ENVIRONMENT, output=silent) as process,
    ):
        wait_for_port(process, port, log)
        yield Peer(name, f"http://127.0.0.1:{port}", process.pid)


@contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Processes that are started in this block inherit these cores."""
    own = psutil.Process()
    before = own.cpu_affinity()
    own.cpu_affinity(list(cores))
    try:
        yield
    finally:
        own.cpu_affinity(before)


def _command(name: str, place: Place, port: int) -> list[str | Path]:
    upstream = place.upstream
    if name == NGINX:
        folder = place.work / "nginx"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "nginx.conf"
        processes = len(place.cores)
        config.write_text(
            _NGINX_CONFIG.format(folder=folder, port=port, upstream=upstream, processes=processes)
        )
        return [shutil.which("nginx") or "nginx", "-p", folder, "-c", config]
    if name == SGLANG_ROUTER:
        python = place.program("sglang-router", "python")
        options = ["--worker-urls", f"http://{upstream}", "--host", "127.0.0.1"]
        return [python, "-m", "sglang_router.launch_router", *options, "--port", str(port)]
    if name == LITELLM:
        config = place.work / "litellm.yaml"
        config.write_text(_LITELLM_CONFIG.format(model=MODEL, upstream=upstream))
        options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers"]
        program = place.program("litellm", "litellm")
        return [program, "--config", config, *options, str(len(place.cores))]
    if name not in {DECODED, HEADER}:
        raise BenchmarkError(f"there is no peer {name!r}")
    command = [sys.executable, "-m", "silkline", "up", "--port", str(port)]
    command += ["--remotes", f"http://{upstream}", *place.silkline_options]
    return [*command, "--trust", "header"] if name == HEADER else list(command)


def cores() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The cores of the load and the upstream server, and those of the peers.

    With two cores, load and upstream share one, and each peer has the other. With more, load and
    upstream have one each, and each peer has the rest.
    """
    available = sorted(os.sched_getaffinity(0))
    own = 1 if len(available) < 4 else 2
    return tuple(available[:own]), tuple(available[own:] or available)
