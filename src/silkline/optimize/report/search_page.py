"""Puts the report of a search together: how a bundle was picked, and the proof that it keeps up."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from silkline.evaluate.report.cases import Case
from silkline.optimize.report.page import TONES, gate_values
from silkline.optimize.report.plots import frontier_plot, sensitivity_plot
from silkline.optimize.search.trial import BASELINE, Trial, label_of
from silkline.report.numbers import change, mebibytes, score, seconds, span
from silkline.report.page import render

if TYPE_CHECKING:
    from silkline.optimize.search.plan import Searched

_UNKNOWN = "\N{EM DASH}"


def search_page(found: Searched, cases: Sequence[Case]) -> str:
    """The report: one HTML page that refers to nothing outside.

    Args:
        found: What the search found.
        cases: The items of the confirmation to show, the worst first.
    """
    trials = {trial.names: trial for trial in found.trials}
    baseline = trials.get(BASELINE)
    picked = None if found.picked is None else trials.get(found.picked)
    plots = [frontier_plot(found.trials, found.frontier, found.picked)]
    for name, findings in found.findings.items():
        if "sensitivity" in findings:
            plots.append(sensitivity_plot(name, findings["sensitivity"]))
    return render(
        "silkline.optimize.report",
        template="search.html.jinja",
        title=f"{found.headline}: {found.baseline}",
        command="silkline optimize",
        figures=True,
        found=found,
        tone="up" if found.picked is not None else "down",
        took=span(found.seconds),
        budget=span(found.budget),
        before_after=_before_after(baseline, picked),
        trials=[_row(number, trial, found) for number, trial in enumerate(found.trials)],
        confirmed=[(label_of(each.names), each, TONES[each.verdict]) for each in found.confirmed],
        arms=_arms(trials),
        plots=[plot for plot in plots if plot is not None],
        measured=_measured(found.findings),
        gate=None if found.gated is None else gate_values(found.gated, cases),
        commands=_commands(found),
    )


def _before_after(baseline: Trial | None, picked: Trial | None) -> list[tuple[str, str, str, str]]:
    """Rows: what is measured, before, after, and how many times."""
    if baseline is None or picked is None:
        return []
    rows = [
        ("median latency", seconds(baseline.seconds), seconds(picked.seconds),
         _times(picked.seconds, baseline.seconds)),
        ("answers per second", f"{baseline.throughput:.2f}", f"{picked.throughput:.2f}",
         _times(picked.throughput, baseline.throughput)),
        ("size of the weights", _bytes(baseline.size), _bytes(picked.size),
         _times(picked.size, baseline.size)),
        ("peak memory", _bytes(baseline.memory), _bytes(picked.memory),
         _times(picked.memory, baseline.memory)),
    ]  # fmt: skip
    if baseline.score is not None and picked.score is not None:
        quality = (score(baseline.score), score(picked.score), change(-picked.drop))
        rows.append(("main metric, on the items that pick", *quality))
    return rows


def _row(number: int, trial: Trial, found: Searched) -> list[str]:
    """A row of the table of trials; its first two cells are its number and its name."""
    if not trial.measured:
        return [str(number), trial.label, "", *[_UNKNOWN] * 7, trial.problem]
    on_frontier = "yes" if trial.names in found.frontier else ""
    remark = trial.problem or ("picked" if trial.names == found.picked else "")
    return [
        str(number),
        trial.label,
        on_frontier,
        str(trial.items),
        f"{trial.speed:.2f}x",
        f"{trial.low:.2f} to {trial.high:.2f}",
        change(-trial.drop),
        seconds(trial.seconds),
        _bytes(trial.size),
        _bytes(trial.memory),
        remark,
    ]


def _arms(trials: Mapping[tuple[str, ...], Trial]) -> list[tuple[str, str, str]]:
    """Optimisations that were tried with both arms of calibration: points on each."""
    found = []
    for names, trial in trials.items():
        other = trials.get((f"{names[0]}-text",)) if len(names) == 1 else None
        if other is not None and other.measured and trial.measured:
            found.append((names[0], change(-other.drop), change(-trial.drop)))
    return found


def _measured(findings: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """What the optimisations measured, besides what a plot shows."""
    return [
        (name, key.replace("_", " "), str(value))
        for name, values in findings.items()
        for key, value in values.items()
        if isinstance(value, str | int | float)
    ]


def _commands(found: Searched) -> list[tuple[str, str]]:
    commands = [("the same search", found.command)]
    if found.bundle:
        bundle = shlex.quote(found.bundle)
        commands.append(("serve the bundle", f"silkline up {bundle}"))
    return commands


def _times(after: float | None, before: float | None) -> str:
    return f"{after / before:.2f}x" if after is not None and before else _UNKNOWN


def _bytes(count: int | None) -> str:
    return _UNKNOWN if count is None else mebibytes(count)
