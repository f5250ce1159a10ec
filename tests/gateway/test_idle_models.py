"""The bundled model beside a fake one: unloaded when idle, and started by the next request."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.campaign.standing import metric
from tests.gateway.test_admin import ask, until
from tests.processes import WORKER
from tests.serving import Served, served

TOML = """
[admin]
admin_without_keys = "loopback"

[models.mini]
model = "silkline-mini"
engine = "openvino"
idle_s = 0.5

[models.late]
engine = "fake"
engine_options = { start_seconds = "1.5" }
idle_s = 0.2
cold_start_wait_s = 0.3
"""


def workers(running: Served) -> int:
    count = 0
    for child in psutil.Process(running.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            count += WORKER in " ".join(child.cmdline())
    return count


@pytest.mark.slow
def test_an_idle_model_is_unloaded_and_the_next_request_starts_it(tmp_path: Path) -> None:
    (tmp_path / "silkline.toml").write_text(TOML, encoding="utf-8")
    with (
        served(folder=tmp_path) as running,
        httpx2.Client(base_url=running.url, timeout=60) as http,
    ):

        def state(name: str) -> object:
            return http.get(f"/admin/models/{name}").json()["state"]

        until(lambda: {state("mini"), state("late")} == {"unloaded"} and workers(running) == 0)
        assert metric(running.url, "silkline_model_loaded", model="mini") == 0
        listed = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
        assert listed["mini"]["context_length"] == 1024
        assert http.get("/ready").status_code == 200

        answer = ask(http, "mini")
        assert (answer.status_code, answer.json()["model"]) == (200, "mini")
        refused = ask(http, "late")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        until(lambda: ask(http, "late").status_code == 200)
