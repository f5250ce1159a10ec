"""Prints the contract's results on a terminal, one row per case."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.evaluate.contract.results import Contract, Row, Stage, Tolerance, Verdict

_HEADS = ("picture", "reduced", "pixels", "tokens", "prompt", "first")
_STYLES = {
    Verdict.HELD: "",
    Verdict.BROKEN: "red",
    Verdict.HIDDEN: "dim",
    Verdict.ROUNDED: "yellow",
}


def contract_table(found: Contract) -> RenderableType:
    """A table of the cases, a legend, and the verdict."""
    head = f"{found.model} by {found.engine} ({found.precision}) against {found.reference}"
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("case", no_wrap=True)
    table.add_column("first difference", no_wrap=True)
    for title in _HEADS:
        table.add_column(title, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(*_cells(row))
    return Group(Text(head), "", table, "", *(Text(line) for line in _notes(found)))


def _cells(row: Row) -> Iterator[Text]:
    yield Text(row.case, style="bold red" if row.broken else "")
    if row.refused:
        yield Text("refused" if row.broken else "not taken", style="red" if row.broken else "dim")
        yield from (Text("") for _ in Stage)
        return
    first = row.first_broken
    yield Text("none", style="green") if first is None else Text(first.value, style="bold red")
    for stage in Stage:
        outcome = row.stages[stage]
        yield Text(outcome.cell, style=_STYLES[outcome.verdict])


def _notes(found: Contract) -> Iterator[str]:
    yield from _legend(found.tolerance)
    for stage, why in found.hidden.items():
        yield f"{stage.value}: {why}."
    for row in found.rows:
        if row.refused:
            yield f"{row.case}: {row.refused}"
        elif (first := row.first_broken) is not None:
            yield f"{row.case}, {row.title}: {first.value}: {row.stages[first].told}."
    rounded = [row.case for row in found.rows if _is_rounded(row)]
    if rounded:
        yield (
            f"First tokens off by more, from rounded weights: {', '.join(rounded)}. Their "
            "pixels and token ids are the reference's."
        )
    broken = sum(row.broken for row in found.rows)
    compared = sum(not row.refused for row in found.rows)
    yield ""
    if broken:
        yield f"The contract is broken: {broken} of {len(found.rows)} cases differ."
    else:
        yield f"The contract holds: {compared} cases."


def _legend(allowed: Tolerance) -> Iterator[str]:
    yield (
        f"picture, reduced, pixels: largest difference in 1/255; allowed {allowed.maximum:g}, on "
        f"average {allowed.mean:g}; of scaled JPEGs {allowed.scaled_maximum:g} and "
        f"{allowed.scaled_mean:g}."
    )
    yield (
        "first: largest difference of a likely token's log-probability; allowed "
        f"{allowed.log_probability:g}, and a divergence of {allowed.divergence:g} nats."
    )


def _is_rounded(row: Row) -> bool:
    return any(outcome.verdict is Verdict.ROUNDED for outcome in row.stages.values())
