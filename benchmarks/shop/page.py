"""The report as one HTML page, with plots over time."""

from __future__ import annotations

from benchmarks.shop import report as shown
from benchmarks.shop.report import Report
from silkline.bench.record import Run
from silkline.bench.report.page import plots
from silkline.report.page import render


def page(report: Report, run: Run) -> str:
    """The page; `run` has the records of the whole run."""
    whole = report.whole
    parts_head, parts = shown.parts(report)
    tiles = [
        ("in time", f"{whole.goodput:.3%}", "within 420 ms"),
        ("P50", f"{whole.latency.p50 * 1000:.1f} ms", f"of {whole.served} answers"),
        ("P99", f"{whole.latency.p99 * 1000:.0f} ms", f"max {whole.latency.maximum:.2f} s"),
        ("lost", str(report.lost), f"{report.resent} sent again"),
        ("wrong", str(report.judged.wrong), f"of {report.judged.answers} answers"),
        ("a million answers", f"{report.cost_per_million:.2f}", "at the plan's price"),
    ]
    return render(
        "benchmarks.shop",
        title=f"The shop, {report.model}",
        command=report.command,
        figures=True,
        report=report,
        sentence=shown.sentence(report.plan),
        tiles_shown=tiles,
        aims=shown.aims(report),
        plots=plots(run, [whole], report.events),
        phase_head=shown.PHASE_HEAD,
        phases=shown.phase_rows(report),
        parts_head=parts_head,
        parts=parts,
        judged=shown.judged_rows(report.judged),
        tiers=shown.tier_rows(report),
        states=shown.state_rows(whole),
        step_head=shown.STEP_HEAD,
        steps=shown.step_rows(report),
        notes=list(shown.notes(report)),
    )
