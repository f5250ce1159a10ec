"""Drift and the canary set behind a real server: a baseline, changed traffic, a flipped bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from silkline.drift.baseline import read_baselines
from tests.campaign.standing import metric
from tests.cli.test_main import run
from tests.gateway.asking import messages
from tests.observe.shipping.log_server import wait_for
from tests.pictures import data_url, encoded
from tests.serving import Served, served

pytestmark = pytest.mark.slow

SETTINGS = """
[engine]
engine = "fake"
engine_options = { corrupt_file = "bad-memory" }

[admin]
admin_without_keys = "loopback"

[history]
history_content = { anyone = 3600 }
"""
COMPARED = """
[drift]
drift_baseline = "baseline.json"
drift_window = 0.1
drift_min_requests = 100
drift_journal = "drift.sqlite"

[canary_set]
canary_data = "canary.jsonl"
canary_every = 1
"""
MODEL = "silkline-fake"


def ask(http: httpx2.Client, number: int, kind: str, colour: str, **more: Any) -> None:
    image = data_url(encoded(60 + number, 48, colour, kind), f"image/{kind.lower()}")
    body = {"model": MODEL, "messages": messages(image, text=f"What is {number}?"), **more}
    http.post("/v1/chat/completions", json=body).raise_for_status()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a baseline, which the request history of a first server gave."""
    folder = tmp_path_factory.mktemp("drift")
    settings = folder / "silkline.toml"
    settings.write_text(SETTINGS)
    with (
        served(folder=folder) as first,
        httpx2.Client(base_url=first.url, timeout=60) as http,
    ):
        for number in range(110):
            ask(http, number, "JPEG", "red")
        ask(http, 0, "JPEG", "red", temperature=0)
        told = run("baseline", "--url", first.url, "-o", str(folder / "baseline.json"))
    assert told.returncode == 0, told.stderr
    assert f"{MODEL}: 110 computed answers" in told.stdout  # one of 111 came from the cache
    (folder / "picture.png").write_bytes(encoded(64, 64, "green", "PNG"))
    rows = [
        {"id": name, "picture": "picture.png", "prompt": name, "reference": "green"}
        for name in ("what", "where")
    ]
    (folder / "canary.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings.write_text(SETTINGS + COMPARED)
    return folder


@pytest.fixture(scope="module")
def compared(folder: Path) -> Iterator[Served]:
    with served(folder=folder) as running:
        yield running


@pytest.fixture
def http(compared: Served) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=compared.url, timeout=60) as client:
        yield client


def shown(http: httpx2.Client) -> dict[str, Any]:
    return dict(http.get("/admin/drift").raise_for_status().json())


def test_the_baseline_has_every_feature(http: httpx2.Client) -> None:
    (one,) = shown(http)["drift"]
    assert set(one["baseline"]["features"]) == {
        "pixels", "aspect", "format", "brightness", "look", "novelty", "images", "text_length",
        "answer_length", "finish", "refusal", "vocabulary",
    }  # fmt: skip


def drifting(compared: Served, feature: str) -> float:
    return metric(compared.url, "silkline_drift_detected", model=MODEL, feature=feature)


def test_a_change_of_the_images_is_found(compared: Served, http: httpx2.Client) -> None:
    for number in range(105):
        ask(http, number, "JPEG", "red", temperature=0.7)
    wait_for(lambda: metric(compared.url, "silkline_drift_windows_total", model=MODEL) == 1, 10)
    assert (drifting(compared, "format"), drifting(compared, "brightness")) == (0, 0)
    for number in range(105):
        ask(http, number, "PNG", "white", temperature=0.7)
    wait_for(lambda: metric(compared.url, "silkline_drift_windows_total", model=MODEL) == 2, 10)
    assert (drifting(compared, "format"), drifting(compared, "brightness")) == (1, 1)
    assert drifting(compared, "text_length") == 0
    told = run("drift", "--url", compared.url)
    assert "drifts" in told.stdout
    assert "jpeg: 100.0% to " in told.stdout
    assert any("drift: " in line for line in compared.log)


def test_answers_from_the_cache_do_not_count(compared: Served, http: httpx2.Client) -> None:
    ask(http, 1, "JPEG", "blue", temperature=0)
    before = shown(http)["drift"][0]["open_requests"]
    for _ in range(5):
        ask(http, 1, "JPEG", "blue", temperature=0)
    assert shown(http)["drift"][0]["open_requests"] == before


def canary(url: str, state: str) -> float:
    return metric(url, "silkline_canary_answers", model=MODEL, state=state)


def test_a_flipped_bit_changes_the_canary_set(
    compared: Served, http: httpx2.Client, folder: Path
) -> None:
    url = compared.url
    wait_for(lambda: metric(url, "silkline_canary_items", model=MODEL) == 2, 20)
    assert canary(url, "changed") == 0
    bad_memory = folder / "bad-memory"
    bad_memory.touch()
    wait_for(lambda: canary(url, "changed") == 2, 20)
    told = run("drift", "--url", url)
    assert "2 changed; exact_match 0.0%" in told.stdout
    assert "what changed: " in told.stdout
    bad_memory.unlink()
    wait_for(lambda: canary(url, "changed") == 0, 20)
    assert metric(url, "silkline_admitted_total", tenant="canary") > 0


def test_the_canary_set_is_no_traffic(compared: Served, http: httpx2.Client) -> None:
    wait_for(lambda: metric(compared.url, "silkline_canary_items", model=MODEL) == 2, 20)
    found = http.get("/admin/requests?tenant=canary").json()
    assert found["requests"] == []


def test_the_answers_of_an_earlier_server_are_what_later_ones_must_be(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(SETTINGS + COMPARED.replace("baseline.json", ""))
    (tmp_path / "picture.png").write_bytes(encoded(64, 64, "green", "PNG"))
    row = {"id": "what", "picture": "picture.png", "prompt": "what"}
    (tmp_path / "canary.jsonl").write_text(json.dumps(row))
    with served(folder=tmp_path) as first:
        wait_for(lambda: metric(first.url, "silkline_canary_items", model=MODEL) == 1, 20)
    (tmp_path / "bad-memory").touch()
    with served(folder=tmp_path) as second:
        wait_for(lambda: canary(second.url, "changed") == 1, 20)


def test_a_baseline_of_a_data_set(compared: Served, folder: Path) -> None:
    rows = [{"id": str(number), "picture": "picture.png", "prompt": str(number)}
            for number in range(101)]  # fmt: skip
    data, out = folder / "usual.jsonl", folder / "of-data.json"
    data.write_text("\n".join(map(json.dumps, rows)))
    asked = ("baseline", "--url", compared.url, "--data", str(data), "-o", str(out))
    told = run(*asked)
    assert told.returncode == 0, told.stderr
    (taken,) = read_baselines(out).items()
    assert (taken[0], taken[1].requests) == (MODEL, 101)
    assert {"format", "look", "refusal", "vocabulary"} <= set(taken[1].features)
    few = run(*asked, "--limit", "20")
    assert (few.returncode, "needs at least 100" in few.stderr) == (2, True)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ('[drift]\ndrift_baseline = "none.json"\n', "cannot be read"),
        ('[canary_set]\ncanary_data = "none.jsonl"\n', "none.jsonl"),
    ],
)
def test_a_server_without_its_files_does_not_start(setting: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(SETTINGS + setting)
    with pytest.raises(AssertionError, match=said), served(folder=tmp_path):
        pass
