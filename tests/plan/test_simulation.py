"""A simulated fleet: what must come out whatever the policy."""

import math
from pathlib import Path

import msgspec
import pytest

from silkline.errors import ConfigError
from silkline.plan.autoscaler import POLICIES, STABLE_SECONDS, Autoscaler, Signals
from silkline.plan.service_times import ServiceTimes
from silkline.plan.simulation import Fleet, simulate
from silkline.plan.sizing import fewest_replicas
from silkline.plan.traffic import DAY, Curve, day_curve, flash_sale_curve, read_curve

TIMES = ServiceTimes(prefill=0.05, step=0.01, answer_tokens=20, batch=8, prepare=0.01)
"""A request alone takes 0.26 s on average; a full batch answers 13.3 a second."""


def steady(rate: float, seconds: float) -> Curve:
    return Curve((0.0, seconds), (rate, rate))


def test_a_lone_request_takes_the_times_that_the_engine_was_given() -> None:
    fleet = Fleet(times=TIMES, slo=1.0, minimum=1)
    found = simulate(steady(0.05, 600), fleet, None)
    assert found.computed_attainment == 1.0
    longest = TIMES.prepare + TIMES.prefill + (2 * TIMES.answer_tokens - 1) * TIMES.step
    assert 0.8 * longest < found.p99 <= longest + 1e-6
    assert found.replica_hours == pytest.approx(600 / 3600, rel=0.01)


def test_a_fleet_at_twice_its_capacity_answers_what_it_can_and_refuses_the_rest() -> None:
    fleet = Fleet(times=TIMES, slo=1.0, minimum=2)
    capacity = 2 * TIMES.answers_per_second()
    found = simulate(steady(2 * capacity, 40), fleet, None)
    computed = sum(minute.requests for minute in found.minutes)
    answered = computed - found.refused
    assert 0.7 * capacity * 40 < answered < 1.15 * capacity * 40
    assert found.refused > 0.3 * computed


def test_answers_from_the_cache_count_and_take_no_slot() -> None:
    fleet = Fleet(times=TIMES, slo=1.0, hit_rate=0.9, minimum=1)
    found = simulate(steady(20, 60), fleet, None)
    assert sum(minute.requests for minute in found.minutes) == pytest.approx(120, rel=0.3)
    assert found.attainment == pytest.approx(0.9 + 0.1 * found.computed_attainment)


def test_equal_seeds_give_equal_results() -> None:
    fleet = Fleet(times=TIMES, slo=1.0, minimum=2, losses_per_day=2000)
    first, second = (simulate(steady(8, 60), fleet, None) for _ in range(2))
    assert first == second
    assert first.lost > 0


def test_a_lost_replica_costs_few_answers_because_its_requests_are_retried() -> None:
    fleet = Fleet(times=TIMES, slo=2.0, minimum=3, losses_per_day=3000, start_seconds=5)
    found = simulate(steady(10, 120), fleet, None)
    assert found.lost >= 1
    assert found.refused <= 2


@pytest.mark.slow
def test_a_slow_start_makes_a_sudden_rise_cost_more_answers() -> None:
    curve = Curve((0.0, 60.0, 61.0, 240.0), (5.0, 5.0, 40.0, 40.0))
    tokens = next(policy for policy in POLICIES if policy.name == "tokens")

    def refused(start: float) -> int:
        fleet = Fleet(times=TIMES, slo=1.0, minimum=1, maximum=8, start_seconds=start)
        return simulate(curve, fleet, tokens).refused

    assert refused(120) > 2 * refused(10)


def signals(at: float, **values: float) -> Signals:
    seen = {"busy": 0.0, "saturation": 0.0, "offered": 0.0} | values
    return Signals(at, 4, **seen)


@pytest.mark.parametrize(
    ("policy", "metric", "value", "wanted"),
    [
        ("cpu", "busy", 1.0, 6),
        ("cpu", "busy", 0.74, 4),
        ("queue", "saturation", 1.0, 8),
        ("tokens", "offered", 0.9, 6),
        ("predictive", "offered", 0.9, 6),
    ],
)
def test_the_number_follows_the_metric_over_its_target(
    policy: str, metric: str, value: float, wanted: int
) -> None:
    found = next(one for one in POLICIES if one.name == policy)
    assert Autoscaler(found, 1, 20, 60).decide(signals(0, **{metric: value}), 4) == wanted


def test_a_fleet_shrinks_only_when_it_wanted_less_for_five_minutes() -> None:
    scaler = Autoscaler(POLICIES[0], 1, 20, 60)
    assert scaler.decide(signals(0, busy=0.7), 4) == 4
    assert scaler.decide(signals(15, busy=0.1), 4) == 4
    assert scaler.decide(signals(STABLE_SECONDS + 15, busy=0.1), 4) == 1


def test_the_predictive_policy_looks_as_far_ahead_as_a_start_takes() -> None:
    predictive = next(policy for policy in POLICIES if policy.name == "predictive")

    def wanted(start: float) -> int:
        scaler = Autoscaler(predictive, 1, 40, start)
        scaler.decide(signals(0, offered=0.6), 4)
        return scaler.decide(signals(60, offered=0.75), 4)

    assert wanted(300) > wanted(20)


def test_the_curves_have_as_many_requests_as_asked_for() -> None:
    assert day_curve(12e6).total() == pytest.approx(12e6)
    assert max(day_curve(DAY).rates) == pytest.approx(1.6, abs=0.01)
    sale, day = flash_sale_curve(DAY, 5), day_curve(DAY)
    assert sale.rate(20.1 * 3600) == pytest.approx(5 * day.rate(20.1 * 3600))
    assert sale.rate(19 * 3600) == day.rate(19 * 3600)


def test_a_part_of_a_curve_has_its_rates() -> None:
    curve = Curve((0.0, 10.0, 20.0), (0.0, 10.0, 0.0))
    assert curve.between(5, 15) == Curve((0.0, 5.0, 10.0), (5.0, 10.0, 5.0))


@pytest.mark.parametrize(
    "text",
    ["", "seconds,rate\n0,1\n", "a,b\n0,1\n1,2\n", "seconds,rate\n0,1\n0,2\n",
     "seconds,rate\n0,1\n5,-2\n", "seconds,rate\n0,nan\n5,2\n", "seconds,rate\n0,0\n5,0\n",
     "seconds,rate\n1,1\n5,2\n", "seconds,rate\n0\n5,2\n"],
)  # fmt: skip
def test_a_file_that_is_no_traffic_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "traffic.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"traffic|no requests"):
        read_curve(path)


def test_a_traffic_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "traffic.csv"
    path.write_text("seconds,rate\n0,1\n60,3\n")
    assert read_curve(path) == Curve((0.0, 60.0), (1.0, 3.0))


@pytest.mark.slow
def test_the_fewest_replicas_keep_the_slo_and_one_less_does_not() -> None:
    fleet = Fleet(times=TIMES, slo=1.0)
    trials = fewest_replicas(30, fleet, 0.99)
    assert [trial.replicas for trial in trials] == list(range(3, 3 + len(trials)))
    assert trials[0].replicas == math.ceil(30 / TIMES.answers_per_second())
    assert all(trial.attainment < 0.99 for trial in trials[:-1])
    assert trials[-1].attainment >= 0.99


def test_an_slo_shorter_than_a_lone_answer_is_found_hopeless() -> None:
    trials = fewest_replicas(5, Fleet(times=TIMES, slo=0.06), 0.99)
    assert len(trials) == 2
    assert trials[-1].attainment < 0.5


def test_clients_of_a_closed_loop_wait_for_their_answers() -> None:
    fleet = Fleet(times=msgspec.structs.replace(TIMES, lengths=(20,)), slo=math.inf, minimum=1,
                  clients=1)  # fmt: skip
    found = simulate(steady(1, 60), fleet, None)
    alone = TIMES.prepare + TIMES.prefill + 20 * TIMES.step_seconds(1)
    assert found.mean == pytest.approx(alone, rel=0.01)
    answered = sum(minute.requests for minute in found.minutes)
    assert answered == pytest.approx(60 / alone, rel=0.02)


def test_arrivals_are_sent_when_they_are_due() -> None:
    fleet = Fleet(times=TIMES, slo=1.0, minimum=1)
    found = simulate(steady(1, 180), fleet, None, arrivals=(1.0, 2.0, 61.0, 170.0))
    assert [minute.requests for minute in found.minutes] == [2, 1, 1]


def test_answers_from_the_cache_count_in_the_mean_and_the_p99() -> None:
    fleet = Fleet(times=TIMES, slo=math.inf, minimum=4, hit_rate=0.5, hit_seconds=0.002)
    found = simulate(steady(4, 120), fleet, None)
    plain = simulate(steady(2, 120), msgspec.structs.replace(fleet, hit_rate=0.0), None)
    assert found.mean == pytest.approx((plain.mean + 0.002) / 2, rel=0.1)
    assert found.p99_all <= found.p99


def test_requests_that_are_lost_twice_do_not_condemn_the_others() -> None:
    """All simulated requests have different content, as real ones do."""
    fleet = Fleet(times=TIMES, slo=2.0, minimum=2, losses_per_day=2000.0, start_seconds=5.0)
    found = simulate(steady(4, 300), fleet, None)
    assert found.lost > 5
    assert found.computed_attainment > 0.7
