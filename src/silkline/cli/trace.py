"""`silkline trace`: show what happened to a request."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any
from urllib.parse import quote

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.cli.admin_api import admin_options
from silkline.cli.printing import print_result
from silkline.models.printable import printable
from silkline.ship.admin import call

_BAR_WIDTH = 40
_MAX_CHARACTERS = 500


@click.command()
@click.argument("request_id", metavar="ID")
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print the entry as JSON.")
def trace(request_id: str, url: str, key_env: str, as_json: bool) -> None:
    """Show what happened to the request ID: where its time went, and who answered it.

    ID is the header x-request-id of the response, or the id of the answer.
    """
    path = f"/admin/requests/{quote(request_id, safe='')}"
    entry = asyncio.run(call(url, key_env, path))
    if as_json:
        click.echo(json.dumps(entry, indent=2))
    else:
        print_result(described(entry))


def described(entry: dict[str, Any]) -> RenderableType:
    """Returns an entry of the request history for people: facts, timeline and attempts."""
    parts: list[RenderableType] = [_facts(entry), "", _timeline(entry)]
    if entry["attempts"]:
        parts += ["", _attempts(entry["attempts"])]
    return Group(*parts)


def _facts(entry: dict[str, Any]) -> Table:
    arrived = datetime.fromtimestamp(entry["at"]).astimezone()
    usage, asked = entry["usage"], entry["asked"]
    facts = {
        "request": entry["id"],
        "answer": entry["answer"],
        "arrived": arrived.isoformat(timespec="milliseconds"),
        "asked": f"{entry['method']} {entry['path']}",
        "status": str(entry["status"]),
        "error": ": ".join(filter(None, (entry["error"], entry["reason"]))),
        "tenant": entry["tenant"],
        "model": entry["model"],
        "cache": entry["cache"],
        "tokens": f"{usage['prompt_tokens']} prompt ({usage['image_tokens']} image, "
        f"{usage['cached_tokens']} cached), {usage['completion_tokens']} completion",
        "finish": ", ".join(entry["finish"]),
        "bytes": f"{entry['received_bytes']:,} received, {entry['sent_bytes']:,} sent",
    }
    if asked is not None:
        facts["question"] = (
            f"messages: {asked['messages']}, characters: {asked['characters']:,}, "
            f"images: {len(asked['images'])}, max_tokens: {asked['max_tokens']:,}"
        )
    budgets = entry["pixel_budgets"] or [0] * len(entry["images"])
    for image, budget in zip(entry["images"], budgets, strict=False):
        limit = f", budget {budget:,}" if budget else ""
        facts[f"image {image['digest'][:12]}"] = f"{image['original_pixels']:,} pixels{limit}"
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        if value:
            table.add_row(Text(name, style="dim"), Text(printable(value, _MAX_CHARACTERS)))
    return table


def _timeline(entry: dict[str, Any]) -> Table:
    stages = dict(entry["timeline"])
    stages["other"] = max(0.0, entry["seconds"] - sum(stages.values()))
    scale = max(entry["seconds"], *stages.values(), 1e-9)
    table = Table.grid(padding=(0, 2))
    for name, seconds in stages.items():
        bar = "█" * round(seconds / scale * _BAR_WIDTH)
        table.add_row(Text(printable(name, 40)), _milliseconds(seconds), Text(bar))
    table.add_row("total", _milliseconds(entry["seconds"]), "")
    return table


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    for name in ("attempt", "replica", "because", "waited", "took", "ended"):
        table.add_column(name)
    for number, attempt in enumerate(attempts, 1):
        took = attempt["seconds"]
        table.add_row(
            str(number),
            printable(attempt["replica"], 80),
            printable(attempt["reason"], 40),
            _milliseconds(attempt["waited_seconds"]),
            "" if took is None else _milliseconds(took),
            printable(attempt["error"] or "answered", 80),
        )
    return table


def _milliseconds(seconds: float) -> Text:
    return Text(f"{seconds * 1000:,.1f} ms", justify="right")
