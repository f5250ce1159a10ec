"""Prints what a search found on a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from silkline.optimize.search.plan import Searched
from silkline.optimize.search.trial import Trial, label_of
from silkline.optimize.terminal import COLOURS
from silkline.report.numbers import change, mebibytes, seconds, span
from silkline.report.terminal import table

_SHOWN = 16


def search_lines(found: Searched) -> RenderableType:
    """The trials, what each optimisation does here, the verdicts, and what was picked."""
    measured = [trial for trial in found.trials if trial.measured][:_SHOWN]
    heads = ("items", "speed", "95% interval", "points", "median", "size", "memory", "frontier")
    parts: list[RenderableType] = [
        table("candidate", *heads, rows=[_row(trial, found) for trial in measured]),
        "",
    ]
    width = max((len(effect.name) for effect in found.effects), default=0)
    for effect in found.effects:
        style = "green" if effect.helps else "dim"
        line = Text(f"{effect.name:<{width}}  ", style=style)
        parts.append(line.append(effect.about, style="default"))
    parts.append("")
    for each in found.confirmed:
        line = Text(f"{each.verdict:<10}", style=COLOURS[each.verdict])
        text = f"{label_of(each.names)}: {each.about}"
        parts.append(line.append(text, style="default"))
    style = "bold green" if found.picked is not None else "bold red"
    parts.append(Text(f"\n{found.headline}.", style=style))
    if found.bundle:
        parts.append(f"Wrote {found.bundle}; serve it with: silkline up {found.bundle}")
    parts.append(f"The search took {span(found.seconds)}.")
    return Group(*parts)


def _row(trial: Trial, found: Searched) -> tuple[str, ...]:
    return (
        trial.label,
        str(trial.items),
        f"{trial.speed:.2f}x",
        f"{trial.low:.2f} to {trial.high:.2f}",
        change(-trial.drop),
        seconds(trial.seconds),
        _bytes(trial.size),
        _bytes(trial.memory),
        "yes" if trial.names in found.frontier else "",
    )


def _bytes(count: int | None) -> str:
    return "-" if count is None else mebibytes(count)
