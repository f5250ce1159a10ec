"""`silkline simulate` on the command line."""

import json
from pathlib import Path

import pytest

from tests.cli.commands import invoked

ENGINE = ("--prefill", "50ms", "--step", "10ms", "--answer-tokens", "20", "--slo", "p99=1s")


def test_the_fewest_replicas_are_told() -> None:
    ended = invoked(
        "simulate", *ENGINE, "--traffic", "10/s", "--peak", "2", "--price", "3.6", "--json"
    )
    assert ended.code == 0
    found = json.loads(ended.output)
    assert found["replicas"] == found["trials"][-1]["replicas"] >= 2
    assert found["trials"][-1]["attainment"] >= 0.99
    assert found["cost_per_million"] == pytest.approx(found["replicas"] * 1e6 / 1000 / 10)


def test_policies_are_simulated_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "traffic.csv"
    path.write_text("seconds,rate\n0,2\n60,6\n")
    ended = invoked("simulate", path, *ENGINE, "--start", "20s", "--start", "60s", "--json")
    assert ended.code == 0
    runs = json.loads(ended.output)["runs"]
    assert [(one["start_seconds"], one["policy"]) for one in runs] == [
        (start, name) for start in (20, 60) for name in ("cpu", "queue", "tokens", "predictive")
    ]
    assert all(one["requests"] == 240 for one in runs)


@pytest.mark.parametrize(
    "options",
    [("--traffic", "12M"), ("--traffic", "0/s"), ("--slo", "420ms"), ("--slo", "p0=420ms"),
     ("--slo", "p99=420")],
)  # fmt: skip
def test_a_wrong_rate_or_objective_is_refused(options: tuple[str, str]) -> None:
    assert invoked("simulate", *ENGINE, *options).code == 2


def test_hours_outside_the_traffic_are_refused() -> None:
    ended = invoked("simulate", "day", *ENGINE, "--hours", "30", "40")
    assert ended.code == 2
    assert "--hours" in ended.error
