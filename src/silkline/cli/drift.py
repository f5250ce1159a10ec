"""`silkline drift`: shows traffic beside its baseline, and the canary set."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.cli.admin_api import admin_options
from silkline.cli.printing import print_result
from silkline.models.printable import printable
from silkline.ship.admin import call

_STATES = ("same", "first", "unsteady", "changed", "failed", "skipped")
_SHOWN = frozenset({"changed", "failed"})
_MAX_CHARACTERS = 80


@click.command()
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def drift(url: str, key_env: str, as_json: bool) -> None:
    """Show how far a server's traffic is from its baseline, and what its canary set found."""
    found = asyncio.run(call(url, key_env, "/admin/drift"))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_result(Group(*_windows(found["drift"]), "", *_canary(found["canary_set"])))


def _windows(models: list[dict[str, Any]]) -> Iterator[RenderableType]:
    if not models:
        yield Text("No baseline: take one with `silkline baseline`, and set drift_baseline.")
    for one in models:
        window = one["window"]
        yield Text(
            printable(
                f"{one['model']}: baseline of {one['baseline']['requests']:,} computed answers, "
                f"taken {_time(one['baseline']['at'])}"
            )
        )
        if window is None:
            yield Text(f"No window has ended; the open one has {one['open_requests']:,} answers.")
            continue
        yield Text(f"Window of {window['requests']:,} answers that ended {_time(window['at'])}:")
        yield _findings(window["findings"])


def _findings(findings: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("feature", "index", "limit", "", "moved most"):
        table.add_column(heading, justify="right" if heading in {"index", "limit"} else "left")
    for name, one in sorted(
        findings.items(), key=lambda pair: -pair[1]["index"] / pair[1]["limit"]
    ):
        moved, before, now = one["moved"][0]
        table.add_row(
            Text(printable(name)),
            f"{one['index']:.3f}",
            f"{one['limit']:.3f}",
            "drifts" if one["index"] > one["limit"] else "",
            Text(printable(f"{moved}: {before:.1%} to {now:.1%}", _MAX_CHARACTERS)),
        )
    return table


def _canary(canary: dict[str, Any] | None) -> Iterator[RenderableType]:
    if canary is None:
        yield Text("No canary set: set canary_data in [canary_set].")
        return
    yield Text(
        printable(
            f"Canary set: {canary['items']} items every {canary['every_seconds']:g} s, asked of "
            f"{', '.join(canary['models'])}"
        )
    )
    for run in canary["runs"]:
        counts = {state: sum(one["state"] == state for one in run["replies"]) for state in _STATES}
        words = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
        score = "" if run["score"] is None else f"; {run['metric']} {run['score']:.1%}"
        yield Text(printable(f"{run['served']}, {_time(run['at'])}: {words}{score}"))
        for reply in run["replies"]:
            if reply["state"] in _SHOWN:
                yield _reply(reply)


def _reply(reply: dict[str, Any]) -> Text:
    was = f" (was: {reply['expected']})" if reply["expected"] else ""
    return Text(
        printable(
            f"  {reply['item']} {reply['state']}: {reply['answer']}{was}", 3 * _MAX_CHARACTERS
        )
    )


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
