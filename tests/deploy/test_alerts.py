"""Each alert fires in its stated time after its fault; a healthy day and a quiet night fire none.

promtool evaluates the rendered rules over written series: an hour or more that is healthy, then the
fault.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from silkline.config import Settings
from silkline.deploy.prometheus.alerts import all_alerts
from tests.deploy.promtool import RuleTest, level, promtool, rendered, rising

ALERTS = {alert.name: alert for alert in all_alerts(Settings())}
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks.md"
DAY = 24 * 60
HOUR = 60


@dataclass(frozen=True)
class Fault:
    """Series in which an alert must fire.

    Attributes:
        series: The series.
        begins: The minute at which the fault begins, as the alert counts it.
        step: Minutes between two values of the series, and between two evaluations.
    """

    series: dict[str, str]
    begins: float = HOUR
    step: int = 1


def of_replica(name: str, values: str) -> dict[str, str]:
    return {f'silkline_{name}{{instance="a",model="m",replica="0"}}': values}


def of_model(name: str, values: str) -> dict[str, str]:
    return {f'silkline_{name}{{instance="a",model="m"}}': values}


REQUESTS = 'silkline_experiment_requests_total{instance="a",experiment="e",arm="control"}'
SERVING = 'silkline_experiment_serving{instance="a",experiment="e",serving="split"}'


def of_experiment(values: str) -> dict[str, str]:
    labels = '{instance="a",experiment="e",serving="model"}'
    return {f"silkline_experiment_verdicts_total{labels}": values}


def objective(name: str, questions: str, misses: str) -> dict[str, str]:
    labels = f'{{instance="a",model="m",objective="{name}"}}'
    return {
        f"silkline_slo_questions_total{labels}": questions,
        f"silkline_slo_misses_total{labels}": misses,
    }


def burning(name: str, share: float, history: int, minutes: int, step: int = 1) -> dict[str, str]:
    """An objective that all questions meet, and which then a share of them misses."""
    rate = 60
    misses = rising((0, history), (rate * share, minutes), step=step)
    return objective(name, rising((rate, history + minutes), step=step), misses)


GATEWAY = '{instance="a"}'
LAG = "silkline_event_loop_lag_seconds_bucket"

FAULTS: dict[str, Fault] = {
    **{
        f"Silkline{word}BudgetBurnsFast": Fault(burning(name, 1, 2 * HOUR, 60), 2 * HOUR)
        for word, name in (
            ("Availability", "availability"),
            ("Latency", "latency"),
            ("FirstToken", "first_token"),
        )
    },
    **{
        f"Silkline{word}BudgetBurnsSlowly": Fault(burning(name, share, DAY, 16 * HOUR, 20), DAY, 20)
        for word, name, share in (
            ("Availability", "availability", 0.025),
            ("Latency", "latency", 0.25),
            ("FirstToken", "first_token", 0.25),
        )
    },
    "SilklineDown": Fault({'up{job="silkline",instance="a"}': level((1, HOUR), (0, HOUR))}),
    "SilklineNoReplica": Fault(
        of_replica("replica_ready", level((1, HOUR), (0, HOUR)))
        | of_model("model_loaded", level((1, 2 * HOUR)))
    ),
    "SilklineEngineStuck": Fault(
        of_replica("replica_progress_age_seconds", level((0, HOUR)) + " 30+60x60")
    ),
    "SilklineWorkerRestarts": Fault(
        of_replica("replica_restarts_total", rising((0, HOUR), (1, 3), (0, HOUR))), HOUR + 3
    ),
    "SilklineReplicaEjected": Fault(of_replica("replica_ejected", level((0, HOUR), (1, HOUR)))),
    "SilklineQuarantine": Fault(
        of_model("quarantines_total", rising((0, HOUR), (1, 1), (0, HOUR)))
    ),
    "SilklineQueueGrows": Fault(
        of_model("queue_predicted_wait_seconds", level((0, HOUR)) + " 12+2x60")
        | of_model("queue_waiting", level((0, HOUR)) + " 5+5x60")
    ),
    "SilklineNearDuplicateFalseHits": Fault(
        {
            f"silkline_cache_near_samples_total{GATEWAY}": rising((10, 2 * HOUR)),
            f"silkline_cache_near_false_hits_total{GATEWAY}": rising((0, HOUR), (1, HOUR)),
        },
        HOUR + 13,  # until then fewer than 2 of 100 samples were wrong
    ),
    "SilklineCacheDegraded": Fault(
        {'silkline_cache_degraded{instance="a",tier="redis"}': level((0, HOUR), (1, HOUR))}
    ),
    "SilklineGateElsewhere": Fault(of_model("gate_here", level((1, HOUR), (0, HOUR)))),
    "SilklineEventLoopBlocked": Fault(
        {
            f'{LAG}{{instance="a",le="0.1"}}': rising((120, HOUR), (60, HOUR)),
            f'{LAG}{{instance="a",le="0.5"}}': rising((120, 2 * HOUR)),
            f'{LAG}{{instance="a",le="+Inf"}}': rising((120, 2 * HOUR)),
        }
    ),
    "SilklineDecodersCrash": Fault(
        {
            'silkline_decode_replaced_total{instance="a",kind="images"}': rising(
                (0, HOUR), (4, HOUR)
            )
        },
        HOUR + 3,
    ),
    "SilklineMemoryGrows": Fault(
        {
            f"silkline_gateway_resident_bytes{GATEWAY}": "1e9+0x59 1e9+5e7x47",
            f"silkline_machine_memory_bytes{GATEWAY}": "12e9+0x107",
            f"silkline_gateway_start_time_seconds{GATEWAY}": "0+0x107",
        },
        5 * HOUR,
        step=5,
    ),
    "SilklineDrift": Fault(
        {
            'silkline_drift_detected{instance="a",model="m",feature="format"}': level(
                (0, HOUR), (1, HOUR)
            )
        }
    ),
    "SilklineCanaryChanged": Fault(
        {
            'silkline_canary_answers{instance="a",model="m",state="changed"}': level(
                (0, HOUR), (2, HOUR)
            )
        }
    ),
    "SilklineCanaryOverdue": Fault(
        of_model("canary_run_time_seconds", level((0, 4 * HOUR))), 3 * HOUR
    ),
    "SilklineExperimentRolledBack": Fault(of_experiment(level((0, HOUR), (1, HOUR)))),
    "SilklineExperimentSplitMismatch": Fault(
        {'silkline_experiment_mismatch{instance="a",experiment="e"}': level((0, HOUR), (1, HOUR))}
    ),
    "SilklineExperimentStuck": Fault(
        {
            SERVING: level((1, 3 * HOUR)),
            REQUESTS: rising((5, HOUR), (0, 2 * HOUR)),
        }
    ),
    "SilklineCertificateExpires": Fault(
        of_replica("replica_certificate_expiry_seconds", level(((14 * DAY + HOUR) * 60, 120)))
    ),
    "SilklineKeyExpires": Fault(
        {f"silkline_keys_next_expiry_seconds{GATEWAY}": level(((7 * DAY + HOUR) * 60, 120))}
    ),
}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("rules")) / "prometheus"


def test_promtool_accepts_the_configuration(rules: Path) -> None:
    promtool("check", "config", rules / "prometheus.yml")


def test_every_alert_has_a_fault() -> None:
    assert set(FAULTS) == set(ALERTS)


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_in_its_time(name: str, rules: Path, tmp_path: Path) -> None:
    fault = FAULTS[name]
    test = RuleTest(fault.series, fault.step)
    test.fires(fault.begins - fault.step, 0)
    by = fault.begins + ALERTS[name].within_minutes
    test.fires(math.ceil(by / fault.step) * fault.step, 1, name)  # at the next evaluation
    test.run(rules, tmp_path)


def healthy(minutes: int) -> dict[str, str]:
    """A server under load: few failures, some waits, stable memory, all replicas ready."""
    return (
        objective("availability", rising((600, minutes)), rising((1, minutes)))
        | objective("latency", rising((599, minutes)), rising((12, minutes)))
        | objective("first_token", rising((300, minutes)), rising((6, minutes)))
        | of_replica("replica_ready", level((1, minutes)))
        | of_replica("replica_ejected", level((0, minutes)))
        | of_replica("replica_progress_age_seconds", level((0.4, minutes)))
        | of_replica("replica_restarts_total", level((1, minutes)))
        | of_model("model_loaded", level((1, minutes)))
        | of_model("queue_waiting", "0 4 1 7 2 0 3 " * (minutes // 7))
        | of_model("queue_predicted_wait_seconds", "0 1 .2 2 1 0 1 " * (minutes // 7))
        | of_model("quarantines_total", level((0, minutes)))
        | of_model("gate_here", level((1, minutes)))
        | of_model("canary_run_time_seconds", "0+60x" + str(minutes))
        | of_experiment(level((1, minutes)))
        | {
            'silkline_drift_detected{instance="a",model="m",feature="look"}': level((0, minutes)),
            'silkline_canary_answers{instance="a",model="m",state="changed"}': level((0, minutes)),
            'silkline_canary_answers{instance="a",model="m",state="skipped"}': level((3, minutes)),
        }
        | {
            SERVING: level((1, minutes)),
            REQUESTS: rising((5, minutes)),
            'silkline_experiment_mismatch{instance="a",experiment="e"}': level((0, minutes)),
            'up{job="silkline",instance="a"}': level((1, minutes)),
            'silkline_cache_degraded{instance="a",tier="redis"}': level((0, minutes)),
            f"silkline_cache_near_samples_total{GATEWAY}": rising((10, minutes)),
            f"silkline_cache_near_false_hits_total{GATEWAY}": rising((0.05, minutes)),
            f'{LAG}{{instance="a",le="0.1"}}': rising((119, minutes)),
            f'{LAG}{{instance="a",le="0.5"}}': rising((120, minutes)),
            f'{LAG}{{instance="a",le="+Inf"}}': rising((120, minutes)),
            'silkline_decode_replaced_total{instance="a",kind="images"}': rising((0.2, minutes)),
            f"silkline_gateway_resident_bytes{GATEWAY}": "2e8 2.3e8 2.1e8 2.2e8 " * (minutes // 4),
            f"silkline_machine_memory_bytes{GATEWAY}": level((2e9, minutes)),
            f"silkline_gateway_start_time_seconds{GATEWAY}": level((0, minutes)),
        }
    )


@pytest.mark.parametrize(
    ("minutes", "series"),
    [
        pytest.param(3 * HOUR, healthy(3 * HOUR), id="healthy hours"),
        pytest.param(
            3 * HOUR,
            objective("availability", rising((0.1, 3 * HOUR)), rising((0.01, 3 * HOUR)))
            | objective("latency", rising((0.1, 3 * HOUR)), rising((0.015, 3 * HOUR))),
            id="a quiet night: one question in ten minutes, every tenth fails",
        ),
        pytest.param(
            6 * HOUR,
            of_replica("replica_restarts_total", rising((0, HOUR), (1, 1), (0, 5 * HOUR)))
            | {'up{job="silkline",instance="a"}': level((1, HOUR), (0, 1), (1, 5 * HOUR))}
            | of_replica("replica_ready", level((1, HOUR), (0, 1), (1, 5 * HOUR)))
            | of_model("model_loaded", level((1, 6 * HOUR))),
            id="a restart",
        ),
    ],
)
def test_nothing_fires_without_a_fault(
    minutes: int, series: dict[str, str], rules: Path, tmp_path: Path
) -> None:
    test = RuleTest(series)
    for minute in range(10, minutes, 5):
        test.fires(minute, 0)
    test.run(rules, tmp_path)


def test_few_questions_that_all_fail_fire_in_the_end(rules: Path, tmp_path: Path) -> None:
    series = objective("availability", rising((0.1, 4 * HOUR)), rising((0.1, 4 * HOUR)))
    test = RuleTest(series)
    test.fires(90, 0)
    test.fires(2 * HOUR, 1, "SilklineAvailabilityBudgetBurnsFast")
    test.run(rules, tmp_path)


def test_the_settings_decide_about_the_budget(tmp_path: Path) -> None:
    lax = rendered(tmp_path, "[slo]\nslo_availability = 0.5\n") / "prometheus"
    test = RuleTest(burning("availability", 0.4, HOUR, 5 * HOUR, 5), 5)
    test.fires(5 * HOUR, 0)
    test.run(lax, tmp_path)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_links_to_its_runbook(name: str) -> None:
    titles = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert name in titles
    rule = ALERTS[name].rule("docs/runbooks.md")
    assert rule.annotations["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
