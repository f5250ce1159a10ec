"""Faults of what is answered: changed traffic, a flipped bit, a bundle from elsewhere."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2

from silkline.models.gate import Machine
from tests.cli.commands import invoked
from tests.deploy.faults.site import MODEL, Site
from tests.gateway.asking import messages
from tests.models.gates import gated
from tests.pictures import data_url, encoded
from tests.serving import served

_FAKE = '[engine]\nengine = "fake"\n'
_MINI = Path(__file__).parents[3] / "src" / "silkline" / "models" / "mini"
_WINDOW = 105


def _ask_images(url: str, kind: str, colour: str) -> None:
    with httpx2.Client(base_url=url, timeout=60) as client:
        for number in range(_WINDOW):
            image = data_url(encoded(60 + number, 48, colour, kind), f"image/{kind.lower()}")
            body = {
                "messages": messages(image, text=f"What is {number}?"),
                "temperature": 0.7,
                "max_tokens": 8,
            }
            client.post("/v1/chat/completions", json=body).raise_for_status()


def drift(site: Site) -> Iterator[None]:
    """A window of images that are brighter, and of another format, than those of the baseline."""
    (site.folder / "silkline.toml").write_text(f'{_FAKE}[admin]\nadmin_without_keys = "loopback"\n')
    with served(folder=site.folder) as first:
        _ask_images(first.url, "JPEG", "red")
        file = str(site.folder / "baseline.json")
        taken = invoked("baseline", "--url", first.url, "-o", file)
        assert taken.code == 0, taken.error
    site.serve(
        f'{_FAKE}[drift]\ndrift_baseline = "baseline.json"\ndrift_window = 0.1\n'
        "drift_min_requests = 100\n",
        asked=False,
    )
    _ask_images(site.gateway.url, "JPEG", "red")
    site.wait("drift_windows_total", 0)
    yield
    _ask_images(site.gateway.url, "PNG", "white")
    site.wait("drift_detected", 0)
    yield


def _canary(site: Site, every: float, options: str = "") -> None:
    (site.folder / "image.png").write_bytes(encoded(64, 64, "green", "PNG"))
    rows = [
        {"id": name, "picture": "image.png", "prompt": name, "reference": "green"}
        for name in ("what", "where")
    ]
    (site.folder / "canary.jsonl").write_text("\n".join(map(json.dumps, rows)))
    site.serve(
        f'{_FAKE}{options}[canary_set]\ncanary_data = "canary.jsonl"\ncanary_every = {every}\n',
        asked=False,
    )
    site.wait("canary_items", 0)


def canary_changed(site: Site) -> Iterator[None]:
    """A bit of each answer flips, as in bad memory."""
    _canary(site, 1, 'engine_options = { corrupt_file = "bad-memory" }\n')
    yield
    (site.folder / "bad-memory").touch()
    site.wait("canary_answers", 0, model=MODEL, state="changed")
    yield


def canary_overdue(site: Site) -> Iterator[None]:
    """The engine stops while the canary set is asked."""
    _canary(site, 1, "hang_timeout = 600\n")
    yield
    worker = site.gateway.worker()
    worker.send_signal(signal.SIGSTOP)
    site.stack.callback(worker.send_signal, signal.SIGCONT)
    last = site.metric("canary_run_time_seconds")
    site.settle(max(0.0, last + 3 - time.time()))
    yield


def gate_elsewhere(site: Site) -> Iterator[None]:
    """A bundle is loaded that was gated on another kind of processor."""
    bundle = site.folder / "bundle"
    shutil.copytree(_MINI, bundle)
    gated(bundle, machine=Machine("cpu", "AVX-9", (), "", 2, 2**33, "Linux 6"))
    site.serve(f'{_FAKE}[admin]\nadmin_without_keys = "loopback"\nallowed_models = ["{bundle}"]\n')
    yield
    body = {"model": str(bundle), "engine": "openvino"}
    reply = httpx2.put(f"{site.gateway.url}/admin/models/other", json=body, timeout=120)
    assert reply.status_code < 300, reply.text
    yield
