"""Each alert fires in its stated time after its fault, with the real parts; without one, none does.

A real Prometheus scrapes a running gateway, on a clock that runs faster: all durations of the rules
are divided by one factor, and scrapes come as much more often. `table.LIVE_FAULTS` has the faults.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from silkline.config import Settings
from silkline.deploy.prometheus.alerts import all_alerts
from tests.campaign.figures import record
from tests.deploy.faults.healthy import serve_all
from tests.deploy.faults.site import Site
from tests.deploy.faults.table import LIVE_FAULTS, LiveFault
from tests.deploy.promtool import promtool, rendered
from tests.deploy.watching import scaled, until

ALERTS = {alert.name: alert for alert in all_alerts(Settings())}

FIRES_SECONDS = 15
"""What the stated time of an alert is made to take."""

HISTORY_SECONDS = 60
"""What an hour before the fault is made to take at most."""

STEADY_FACTOR = 60
"""On a faster clock one late scrape is an outage: `SilklineDown` is then not looked at."""

LATE_SECONDS = 5
"""What a busy machine may add, on its own clock."""

MIN_HISTORY_SECONDS = 4
IN_CI = {"SilklineDown", "SilklineReplicaEjected"}


def factor_of(minutes: int, fault: LiveFault) -> float:
    """How much faster time runs for an alert."""
    wanted = max(minutes * 60 / FIRES_SECONDS, min(fault.history, 60) * 60 / HISTORY_SECONDS)
    return min(wanted, fault.max_factor)


def test_every_alert_has_a_live_fault() -> None:
    assert set(LIVE_FAULTS) == set(ALERTS)


def test_rules_on_a_faster_clock_are_valid(tmp_path: Path) -> None:
    rules = rendered(tmp_path) / "prometheus" / "rules"
    for file in rules.iterdir():
        file.write_text(scaled(file.read_text(), 100))
    promtool("check", "rules", *rules.iterdir())
    alerts = (rules / "alerts.yml").read_text()
    assert "rate(silkline_event_loop_lag_seconds_bucket[3000ms])" in alerts
    assert "predict_linear(silkline:resident_bytes[72000ms], 864)" in alerts
    assert "time() - silkline_gateway_start_time_seconds > 144\n" in alerts
    assert "for: 1200ms\n" in alerts


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in IN_CI else pytest.mark.full) for name in LIVE_FAULTS],
)
def test_a_fault_raises_its_alert_and_no_other(name: str, tmp_path: Path) -> None:
    fault, minutes = LIVE_FAULTS[name], ALERTS[name].within_minutes
    factor = factor_of(minutes, fault)
    unsteady = {"SilklineDown"} if factor > STEADY_FACTOR else set()
    with Site(tmp_path, factor) as site:
        steps = fault.inject(site)
        next(steps)
        site.settle(max(site.shorter(fault.history * 60), MIN_HISTORY_SECONDS))
        assert site.fired() <= unsteady
        next(steps)
        began = time.monotonic()
        until(lambda: name in site.watcher.firing(), site.shorter(minutes * 60) + LATE_SECONDS)
        seconds = time.monotonic() - began
        assert site.fired() <= {name} | fault.also | unsteady
    record(
        f"alert-{name.lower()}",
        seed=0,
        whole=True,
        factor=factor,
        seconds=round(seconds, 1),
        minutes=round(seconds * factor / 60, 1),
        stated=minutes,
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("factor", "seconds"),
    [
        pytest.param(20, 20, id="some minutes", marks=pytest.mark.full),
        pytest.param(60, 120, id="two hours", marks=pytest.mark.full),
    ],
)
def test_nothing_fires_while_all_is_well(factor: float, seconds: float, tmp_path: Path) -> None:
    with Site(tmp_path, factor) as site:
        serve_all(site)
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            site.settle(1)
            assert site.fired() == set()
        assert site.metric("slo_questions_total", objective="latency") > 0
        assert site.metric("canary_items") > 0
