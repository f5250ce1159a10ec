"""Prints ships on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.models.bundle import Bundle
from silkline.models.gate import content_digest
from silkline.models.printable import printable
from silkline.report.numbers import span
from silkline.ship.estimate import Step
from silkline.ship.journal import Kind
from silkline.ship.machine import State, ends_of
from silkline.ship.ships import Status
from silkline.ship.stages import NAMES

_COLOURS = {
    State.PROMOTED: "bold green",
    State.DONE: "green",
    State.STOPPED: "yellow",
}
_MARKS = {Kind.DONE: "done", Kind.SKIPPED: "skipped", Kind.REFUSED: "refused"}
_MAX_CHARACTERS = 600


def status_lines(found: Status) -> RenderableType:
    """A ship: each stage, how it ended and how long it took, and what to do next."""
    rows = []
    ended = ends_of(found.events)
    for name in NAMES:
        last = [event for event in found.events if event.stage == name]
        if not last:
            rows.append((name, "", "", ""))
            continue
        began = [event.at for event in last if event.kind is Kind.BEGAN]
        tries = f" ({len(began)} tries)" if len(began) > 1 else ""
        took = span(last[-1].at - began[-1]) if began and last[-1].kind is not Kind.BEGAN else ""
        about = printable(last[-1].about, _MAX_CHARACTERS)
        rows.append((name, _MARKS.get(last[-1].kind, last[-1].kind.value) + tries, took, about))
    head = Text(f"{found.ship.id}  {found.state}", style=_COLOURS.get(found.state, "bold red"))
    parts: list[RenderableType] = [head, "", _table("stage", "ended", "took", "about", rows=rows)]
    if found.state is State.STOPPED and ended.keys() != set(NAMES):
        parts.append(f"\nContinue with: silkline ship resume {found.ship.id}")
    return Group(*parts)


def history_lines(found: Sequence[Status]) -> RenderableType:
    """All ships, the last one first."""
    rows = [
        (
            each.ship.id,
            _time(each.ship.at),
            str(each.state),
            printable(each.ship.identity.get("model", "")),
            _facts(each, "bundle").get("label", ""),
        )
        for each in found
    ]
    return _table("ship", "began", "state", "model", "bundle", rows=rows)


def step_lines(steps: Sequence[Step]) -> RenderableType:
    """What would be done, and how long it would take."""
    if not steps:
        return Text("Nothing is left to do.")
    rows = [
        (
            each.stage,
            span(each.seconds) if each.seconds else "-",
            each.basis,
            printable(each.about, _MAX_CHARACTERS),
        )
        for each in steps
    ]
    total = span(sum(each.seconds for each in steps))
    parts = _table("stage", "about", "taken from", "what it would do", rows=rows)
    return Group(parts, f"\nAll together about {total}. Nothing was done.")


def shown_lines(bundle: Bundle, statements: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """A bundle, and what made and judged it."""
    parts: list[RenderableType] = [
        Text(f"{bundle.label}", style="bold"),
        f"digest   {content_digest(bundle)}",
        f"folder   {bundle.folder}",
    ]
    for ship, files in statements.items():
        rows = [*_made(files), *_judged(files)]
        parts += ["", _table(f"ship {ship}", "", rows=rows)]
    return Group(*parts)


def _made(files: Mapping[str, Any]) -> list[tuple[str, str]]:
    if (found := files.get("provenance.json")) is None:
        return []
    build, details = (found["predicate"][name] for name in ("buildDefinition", "runDetails"))
    rows = [
        ("command", build["externalParameters"]["command"]),
        ("began", details["metadata"]["startedOn"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in details["builder"]["version"].items())),
    ]
    for each in build["resolvedDependencies"]:
        digests = ", ".join(f"{name}:{value}" for name, value in each.get("digest", {}).items())
        rows.append(("made of", f"{each['name']} {each['uri']} {digests}".rstrip()))
    return [(name, printable(text, _MAX_CHARACTERS)) for name, text in rows]


def _judged(files: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name in ("gate", "canary"):
        if (found := files.get(f"{name}.json")) is None:
            continue
        predicate = found["predicate"]
        passed = ", ".join(predicate["passedTests"])
        failed = ", ".join([*predicate["warnedTests"], *predicate["failedTests"]])
        parts = [f"passed: {passed}" if passed else "", f"not passed: {failed}" if failed else ""]
        about = "; ".join(part for part in parts if part)
        rows.append((name, printable(f"{predicate['result']} ({about})", _MAX_CHARACTERS)))
    return rows


def _facts(found: Status, stage: str) -> Mapping[str, Any]:
    event = ends_of(found.events).get(stage)
    return {} if event is None else event.facts


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _table(*heads: str, rows: Iterable[tuple[str, ...]]) -> Table:
    """A table of texts, the last of which may be long."""
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for head in heads:
        found.add_column(Text(head), no_wrap=head != heads[-1])
    for row in rows:
        found.add_row(*map(Text, row))
    return found
