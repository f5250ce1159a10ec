"""Whole ships of the bundled model to a server on this machine, killed on the way."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from silkline.models.bundle import load_bundle
from silkline.models.gate import content_digest
from silkline.ship.bundles import copy_ungated
from silkline.ship.journal import Journal, Kind
from tests.cli.test_gate import break_vision_tower, copy_of_the_bundled_model
from tests.serving import command, served

QUICK = (
    "--engine", "openvino", "--limit", "24", "--max-tokens", "48", "--metric", "fields",
    "--canary", "ramp=[0.2,0.5]", "--canary", "max_failures=0.1", "--canary", "latency_margin=2",
    "--canary", "step_requests=20", "--canary", "reward_margin=0.1",
)  # fmt: skip
KILLS = 3


@dataclass
class Dock:
    """A store, the address that it ships to, and how commands are run there."""

    store: Path
    url: str

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command("ship", *map(str, arguments), "--store", str(self.store), "--json"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object) -> tuple[int, Any]:
        process = self.start(*arguments)
        out, errors = process.communicate(timeout=900)
        assert out, errors
        return process.returncode, json.loads(out)

    def of(self, bundle: Path, *more: object) -> tuple[object, ...]:
        return ("silkline-mini", "--bundle", bundle, "--url", self.url, *QUICK, *more)

    def server(self) -> psutil.Process:
        return psutil.Process(int((self.store / "server" / "pid").read_text()))

    def stop_server(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it was stopped before
            server = self.server()
            server.send_signal(signal.SIGTERM)
            server.wait(60)

    def served(self) -> dict[str, str]:
        found = httpx2.get(f"{self.url}/v1/models").json()["data"]
        return {model["id"]: model["revision"] for model in found}

    def began(self, stage: str) -> bool:
        if not (self.store / "ship.sqlite").exists():
            return False
        with Journal(self.store / "ship.sqlite") as journal:
            events = [event for ship in journal.ships() for event in journal.events(ship.id)]
        return any((event.stage, event.kind) == (stage, Kind.BEGAN) for event in events)


@contextmanager
def dock(folder: Path) -> Iterator[Dock]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Dock(folder / "store", f"http://127.0.0.1:{port}")
    try:
        yield found
    finally:
        if (found.store / "server" / "pid").exists():
            found.stop_server()


@pytest.fixture(scope="module")
def harbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dock]:
    with dock(tmp_path_factory.mktemp("ship")) as found:
        yield found


def good_bundle(folder: Path) -> tuple[Path, str, str]:
    """A bundle as good as the bundled model, with its digest and its revision."""
    made = copy_of_the_bundled_model(folder / "good")
    stamp(made, "good")
    bundle = copy_ungated(load_bundle(made), folder / "expected")
    return made, content_digest(bundle), bundle.manifest.revision


def stamp(folder: Path, revision: str) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(manifest | {"revision": revision}))


def kill_when(dock: Dock, process: subprocess.Popen[str], stage: str, delay: float) -> None:
    deadline = time.monotonic() + 200
    while process.poll() is None and not dock.began(stage):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(delay)
    process.kill()
    process.communicate()


def facts(found: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(
        dict(event["facts"])
        for event in reversed(found["events"])
        if (event["stage"], event["kind"]) == (stage, "done")
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_three_times_it_promotes_the_same_bundle_which_survives_a_restart(
    harbour: Dock, tmp_path: Path
) -> None:
    made, digest, revision = good_bundle(tmp_path)
    wanted = harbour.of(made, "--require", "agreement>=80%")
    drawn = random.Random(18)
    for stage in ("evaluate", "canary", "promote"):
        kill_when(harbour, harbour.start(*wanted), stage, drawn.uniform(0, 1))
    code, found = harbour.run(*wanted)
    assert (code, found["state"]) == (0, "promoted"), found
    assert facts(found, "promote") == {"digest": digest}
    assert facts(found, "canary")["verdict"] == "passed"
    tries = [event["stage"] for event in found["events"] if event["kind"] == "began"]
    assert tries.count("optimise") == 1
    assert tries.count("evaluate") == 2
    assert harbour.served() == {"silkline-mini": revision}
    assert harbour.run(*wanted)[1]["state"] == "promoted"  # nothing is left to do
    harbour.stop_server()
    with served("--config", str(harbour.store / "server" / "silkline.toml")) as again:
        [model] = httpx2.get(f"{again.url}/v1/models").json()["data"]
        assert (model["id"], model["revision"]) == ("silkline-mini", revision)
    code, shown = harbour.run("show", f"silkline-mini@{revision}")
    [statements] = shown["ships"].values()
    subject = {"name": f"silkline-mini@{revision}", "digest": {"sha256": digest}}
    assert [each["subject"] for each in statements.values()] == [[subject]] * 3
    assert [statements[name]["predicate"]["result"] for name in ("gate.json", "canary.json")] == [
        "PASSED", "PASSED",
    ]  # fmt: skip
    assert_checksums_hold(harbour.store / "bundles" / digest / found["ship"]["id"])


def assert_checksums_hold(folder: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_worse_candidate_never_gets_more_than_its_share_and_is_rolled_back(
    harbour: Dock, tmp_path: Path
) -> None:
    made = copy_of_the_bundled_model(tmp_path / "worse")
    break_vision_tower(made)
    stamp(made, "worse")
    harbour.run(*harbour.of(made, "--require", "accuracy_drop<=99pt", "--until", "deploy"))
    before = {name: each for name, each in harbour.served().items() if each != "worse"}
    answered: list[str] = []
    done = threading.Event()

    def client() -> None:
        body = {"model": "silkline-mini", "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 1}  # fmt: skip
        with httpx2.Client(base_url=harbour.url, timeout=60) as http:
            while not done.is_set():
                reply = http.post("/v1/chat/completions", json=body)
                answered.append(reply.headers["x-silkline-model"])
                time.sleep(0.02)

    asking = threading.Thread(target=client)
    asking.start()
    try:
        code, found = harbour.run(*harbour.of(made, "--require", "accuracy_drop<=99pt"))
    finally:
        done.set()
        asking.join()
    assert (code, found["state"]) == (3, "rolled back"), found
    canary = facts(found, "canary")
    assert (canary["verdict"], canary["share"]) == ("refused", 0.2)
    about = next(event["about"] for event in found["events"] if event["stage"] == "canary"
                 and event["kind"] == "done")  # fmt: skip
    assert "mean reward is" in about
    by_worse = [each for each in answered if each.endswith("@worse")]
    assert 0 < len(by_worse) < 0.2 * len(answered) + 4 * len(answered) ** 0.5
    assert harbour.served() == before
    assert httpx2.get(f"{harbour.url}/admin/experiments").json() == {"experiments": []}


@pytest.mark.full
@pytest.mark.timeout(3000)
def test_killed_at_twenty_random_points_it_comes_to_the_same_end(tmp_path: Path) -> None:
    made, digest, revision = good_bundle(tmp_path)
    with dock(tmp_path / "whole") as whole:
        began = time.monotonic()
        code, found = whole.run(*whole.of(made, "--require", "agreement>=80%"))
        assert (code, found["state"]) == (0, "promoted"), found
        seconds = time.monotonic() - began
    drawn = random.Random(20)
    for number in range(20):
        with dock(tmp_path / str(number)) as killed:
            wanted = killed.of(made, "--require", "agreement>=80%")
            process = killed.start(*wanted)
            time.sleep(drawn.uniform(0.5, seconds))
            process.kill()
            process.communicate()
            code, found = killed.run(*wanted)
            assert (code, found["state"]) == (0, "promoted"), found
            assert facts(found, "promote") == {"digest": digest}
            assert facts(found, "canary")["verdict"] == "passed"
            assert killed.served() == {"silkline-mini": revision}
