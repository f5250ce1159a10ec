from random import Random

import pytest

from silkline.bench.record import Health, Record, Run
from silkline.bench.spec import Arrivals, Spec, Target
from silkline.models.gate import Verdict
from silkline.optimize.load import Loaded
from silkline.optimize.requirements import parse_requirements
from silkline.optimize.speed import judge_amount, judge_speed, order_interval


def loaded(
    first: float,
    second: float,
    *,
    requests: int = 400,
    failed: int = 0,
    baseline_failed: int = 0,
    turns: int = 6,
    memory: tuple[int | None, int | None] = (None, None),
) -> Loaded:
    """Both sides with latencies around a mean, `requests` each, some of which fail.

    Of the candidate the last ones fail; of the baseline they are spread over the run.
    """
    chance, seconds = Random(1), 60.0
    records = []
    for target, mean in enumerate((first, second)):
        for number in range(requests):
            began = seconds * number / requests
            took = mean * chance.uniform(0.8, 1.2)
            is_failed = target == 1 and number >= requests - failed
            spread = number * baseline_failed // requests
            is_failed |= target == 0 and spread < (number + 1) * baseline_failed // requests
            records.append(
                Record(
                    number, target, 0, 0, began, began, began + took / 2, began + took,
                    status=500 if is_failed else 200, code="busy" if is_failed else "",
                    first_token=began + took / 2,
                )
            )  # fmt: skip
    spec = Spec(
        (Target("A", "http://a"), Target("B", "http://b")),
        Arrivals(1, seconds, clients=2),
        slice_seconds=seconds / turns,
    )
    return Loaded(Run(spec, "", "m", [Health(), Health()], records), memory)


@pytest.mark.parametrize(
    ("requirement", "verdict"),
    [
        ("p50<=600ms", Verdict.PASSED),
        ("p50<=400ms", Verdict.REFUSED),
        ("p50<=507ms", Verdict.UNDECIDED),
        ("p99<=700ms", Verdict.PASSED),
        ("first_token_p99<=310ms", Verdict.PASSED),
        ("first_token_p50<=0.2s", Verdict.REFUSED),
        ("p50<=0.6x", Verdict.PASSED),
        ("p50<=0.4x", Verdict.REFUSED),
        ("throughput>=6/s", Verdict.PASSED),
        ("throughput>=7/s", Verdict.REFUSED),
        ("throughput>=0.9x", Verdict.PASSED),
        ("throughput>=1.2x", Verdict.REFUSED),
    ],
)
def test_verdicts_on_speed(requirement: str, verdict: Verdict) -> None:
    parsed = parse_requirements([requirement], [])[0]
    found = judge_speed(parsed, loaded(1.0, 0.5), 0.95)
    assert found.verdict is verdict, found.reason
    assert found.requirement == requirement
    assert ("longer with --for" in found.reason) == (verdict is Verdict.UNDECIDED)


def test_a_p99_needs_as_many_requests_as_can_bound_it() -> None:
    requirement = parse_requirements(["p99<=1s"], [])[0]
    few = judge_speed(requirement, loaded(0.5, 0.5, requests=298), 0.95)
    assert (few.verdict, few.high) == (Verdict.UNDECIDED, None)
    assert "299 requests are the minimum." in few.reason
    enough = judge_speed(requirement, loaded(0.5, 0.5, requests=299), 0.95)
    assert enough.verdict is Verdict.PASSED


def test_failed_requests_count_as_endless() -> None:
    requirement = parse_requirements(["p90<=1s"], [])[0]
    assert judge_speed(requirement, loaded(0.5, 0.5), 0.95).verdict is Verdict.PASSED
    failing = judge_speed(requirement, loaded(0.5, 0.5, failed=80), 0.95)
    assert (failing.verdict, failing.value) == (Verdict.REFUSED, None)
    times = parse_requirements(["p90<=2x"], [])[0]
    assert judge_speed(times, loaded(0.5, 0.5, failed=80), 0.95).verdict is Verdict.UNDECIDED


def test_two_turns_are_too_few_to_compare() -> None:
    requirement = parse_requirements(["p50<=0.9x"], [])[0]
    found = judge_speed(requirement, loaded(1.0, 0.5, turns=2), 0.95)
    assert found.verdict is Verdict.UNDECIDED
    assert found.value == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_ends_of_a_percentile_are_right_in_95_of_100_runs(share: float) -> None:
    chance, runs = Random(2), 400
    found = [
        order_interval([chance.random() for _ in range(100)], share, 0.95) for _ in range(runs)
    ]
    assert sum(each.high >= share for each in found) / runs >= 0.94
    assert sum(each.low <= share for each in found) / runs >= 0.94
    assert sum(each.high < 1 for each in found) == runs


def test_amounts() -> None:
    mib = 1024**2
    size = parse_requirements(["size<=0.3x"], [])[0]
    assert judge_amount(size, (100, 30)).verdict is Verdict.PASSED
    assert judge_amount(size, (100, 31)).verdict is Verdict.REFUSED
    assert judge_amount(size, (None, 31)).verdict is Verdict.UNDECIDED
    assert "cannot be measured" in judge_amount(size, (100, None)).reason
    most = parse_requirements(["memory<=2MiB"], [])[0]
    assert judge_speed(most, loaded(1, 1, memory=(None, 2 * mib)), 0.95).verdict is Verdict.PASSED
    over = judge_speed(most, loaded(1, 1, memory=(1, 2 * mib + 1)), 0.95)
    assert over.verdict is Verdict.REFUSED
    assert "The peak memory is 2.0 MiB." in over.reason


@pytest.mark.parametrize("requirement", ["p50<=1x", "p90<=1x", "first_token_p50<=1x"])
def test_failures_of_the_baseline_do_not_make_the_candidate_fast(requirement: str) -> None:
    parsed = parse_requirements([requirement], [])[0]
    whole = judge_speed(parsed, loaded(1.0, 1.05, requests=2400), 0.95)
    assert whole.verdict is Verdict.REFUSED
    failing = judge_speed(parsed, loaded(1.0, 1.05, requests=2400, baseline_failed=960), 0.95)
    assert failing.verdict is Verdict.REFUSED
    dead = judge_speed(parsed, loaded(1.0, 1.05, baseline_failed=400), 0.95)
    assert dead.verdict is Verdict.UNDECIDED
