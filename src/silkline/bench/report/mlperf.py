"""The page of a run by MLPerf's scenarios."""

from __future__ import annotations

from collections.abc import Sequence

from silkline.bench.mlperf import QUALITY, RECORD, Outcome
from silkline.report.numbers import seconds
from silkline.report.page import render

_NONE = "\N{EM DASH}"

DIFFERENCES = (
    ("model", "Qwen3-VL-235B-A22B", "any that the server has"),
    ("data", "48,289 products (8,000 interactive)", "the named data set"),
    ("load generator", "MLCommons endpoints", "silkline bench"),
    ("offline", "all samples at once", "a constant number of requests in flight"),
    ("sampling", "temperature 1", "greedy, so a run can be repeated"),
    ("score", "once, by the same run", "by a run of its own, each sample asked once"),
    ("reference", "mean of ten BF16 runs", "one run of the subject of --reference"),
    ("prefix cache", "off", "cannot be seen from outside: turn it off at the server"),
    ("audit", "peer review and compliance tests", "none"),
)
"""What, what the rules say, and what is done here."""


def mlperf_page(
    url: str,
    model: str,
    dataset: str,
    samples: int,
    outcomes: Sequence[Outcome],
    scores: Sequence[float],
    reasons: Sequence[tuple[str, str]],
) -> str:
    """Returns one HTML page that refers to nothing outside.

    Args:
        url: The server.
        model: Its model.
        dataset: The name of the data set.
        samples: How many samples it has.
        outcomes: The scenarios' results.
        scores: The hierarchical F1, then the reference's if there is one.
        reasons: Why this is not a valid run: which part, and why.
    """
    own, *reference = scores
    tiles = [
        (one.scenario.value, f"{one.per_second:,.2f}/s", f"P99 {seconds(one.p99)}")
        for one in outcomes
    ]
    against = f"{own / reference[0]:.2%} of the reference's" if reference and reference[0] else ""
    tiles.append(("hierarchical F1", f"{own:.4f}", against or f"{QUALITY:.0%} of a reference's"))
    return render(
        "silkline.bench.report",
        title="MLPerf's scenarios",
        command="silkline bench --mlperf",
        template="mlperf.html.jinja",
        url=url,
        model=model,
        dataset=dataset,
        samples=f"{samples:,}",
        verdict="Not a valid run." if reasons else "The run keeps the rules that are checked.",
        tiles=tiles,
        rows=[_row(one) for one in outcomes],
        reasons=reasons,
        tried=[
            (one.scenario.value, f"{rate:,.2f}", "yes" if held else "no")
            for one in outcomes
            for rate, held in one.tried
        ],
        differences=DIFFERENCES,
    )


def _row(one: Outcome) -> tuple[str, ...]:
    limit, record = one.scenario.limit, RECORD.get(one.scenario.value)
    return (
        one.scenario.value,
        f"{one.per_second:,.2f}",
        seconds(one.p50),
        seconds(one.p99),
        _NONE if limit is None else f"{limit:g} s",
        _NONE if limit is None else f"{one.within:.2%}",
        f"{one.requests:,}",
        _NONE if record is None else f"{record:g}/s",
    )
