from __future__ import annotations

import io

import pytest
from rich.console import Console

from silkline.bench.percentiles import paired_ratio, percentile
from silkline.bench.summary import compare, distribution, summarise
from silkline.bench.terminal import tables
from tests.bench.runs import good_run, made_run, record


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7.0], 0.01) == 7
    assert percentile([], 0.5) == 0
    assert distribution([]).count == 0


def test_goodput_counts_what_was_due_not_what_was_answered() -> None:
    run = made_run(
        *(record(number) for number in range(6)),
        *(record(number, latency=0.5) for number in range(6, 8)),
        record(8, status=503, code="overloaded"),
        record(9, status=0, code="timeout"),
    )
    found = summarise(run, 0, slo=0.42)
    assert (found.requests, found.served, found.good) == (10, 8, 6)
    assert found.goodput == pytest.approx(0.6)
    assert found.latency.count == 8
    assert found.latency.maximum == pytest.approx(0.5)
    assert {(one.status, one.code, one.count) for one in found.failures} == {
        (503, "overloaded", 1),
        (0, "timeout", 1),
    }
    assert found.per_second(found.requests) == 1


def test_stages_and_states_are_told_apart() -> None:
    found = summarise(good_run(), 0, slo=0.42)
    assert set(found.by_cache) == {"hit", "miss"}
    assert found.by_cache["hit"].count == 50
    assert set(found.by_stage) == {"decode", "generate", "outside"}
    for number in (found.by_stage["outside"], found.by_stage["decode"]):
        assert number.mean == pytest.approx(found.latency.mean / 4)
    assert found.completion_tokens == 1000
    assert found.generator.cpu == pytest.approx(0.05)
    assert found.generator.lateness.p50 == pytest.approx(0.001)


def test_targets_are_compared_slice_by_slice() -> None:
    found = compare(good_run(2), slo=0.42)
    assert found.pairs == 10
    for name in ("P50", "P90", "P99"):
        ratio = found.ratios[name]
        assert ratio is not None
        assert ratio.value == pytest.approx(2)
        assert [ratio.low, ratio.high] == pytest.approx([2, 2])
    good = found.ratios["good answers"]
    assert good is not None
    assert good.value == 1


def test_a_ratio_is_only_as_sure_as_its_pairs() -> None:
    noisy = paired_ratio([(2, 1), (1, 1), (4, 1), (2, 1), (1, 2)])
    assert noisy is not None
    assert noisy.low is not None
    assert noisy.high is not None
    assert noisy.low < noisy.value < noisy.high
    assert paired_ratio([(2, 1), (0, 1)]) == pytest.approx(paired_ratio([(2, 1)]))
    assert paired_ratio([(0, 1)]) is None


def shown(run_targets: int, **changes: object) -> str:
    run = good_run(run_targets)
    if changes:
        run = made_run(*(record(number, **changes) for number in range(9)))  # type: ignore[arg-type]
    console = Console(file=io.StringIO(), width=100)
    summaries = [summarise(run, target, 0.42) for target in range(run_targets)]
    comparison = compare(run, 0.42) if run_targets > 1 else None
    console.print(tables(summaries, comparison))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_the_terminal_shows_it_all() -> None:
    text = shown(2)
    for words in (
        "SLO 420 ms",
        "100.00%",
        "cache hit 50.0%",
        "stage decode",
        "B against A",
        "2.00",
    ):
        assert words in text
    assert "WARNING" not in text


def test_no_latency_is_told_where_nothing_was_answered() -> None:
    latency = next(line for line in shown(1, status=404).splitlines() if "latency" in line)
    assert latency.split() == ["A", "latency", "0", "-", "-", "-", "-", "-"]


def test_a_generator_that_did_not_keep_up_is_told() -> None:
    assert "did not keep up" in shown(1, sent=100.0)
    assert "9 requests waited for a free connection" in shown(1, limited=True)
    assert "timeout" in shown(1, status=0, code="timeout")
