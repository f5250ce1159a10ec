"""`silkline experiment`: shows experiments, and takes the steps that a person decides."""

from __future__ import annotations

import asyncio
import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from silkline.cli.admin_api import admin_options
from silkline.cli.printing import print_result
from silkline.config import settings_from
from silkline.errors import EXIT, ConfigError, EnvironmentFault
from silkline.experiments import expectation
from silkline.experiments.recorded import Server, compare
from silkline.experiments.replay import replay as replayed
from silkline.experiments.report import page
from silkline.models.printable import printable
from silkline.ship.admin import call, fetch

_PATH = "/admin/experiments"
_ANSWER_SECONDS = 300.0
_DAY_SECONDS = 86_400
_SERVING = {
    "split": "both models",
    "paused": "the model, paused",
    "model": "the model",
    "candidate": "the candidate",
}


@click.group()
def experiment() -> None:
    """Show the experiments of a running server; promote, roll back or pause a candidate.

    Experiments are declared in [experiments.NAME] of silkline.toml; see docs/experiments.md.
    """


@experiment.command()
@click.argument("name", required=False)
@admin_options
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def status(name: str | None, url: str, key_env: str, as_json: bool) -> None:
    """Show all experiments, or the evidence and the decisions of the one called NAME."""
    path = _PATH if name is None else f"{_PATH}/{quote(name, safe='')}"
    found = asyncio.run(call(url, key_env, path))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif name is None:
        print_result(_listed(found["experiments"]))
    else:
        print_result(_described(found))


@experiment.command()
@click.argument("name")
@admin_options
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, such as report.html.",
)  # fmt: skip
def report(name: str, url: str, key_env: str, output: Path) -> None:
    """Write the report of NAME: one HTML page with intervals, decisions and their evidence."""
    found = asyncio.run(call(url, key_env, f"{_PATH}/{quote(name, safe='')}"))
    try:
        output.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(
            f"{output} cannot be written: {error.strerror}. Choose another --output."
        ) from error
    print_result(Text(f"Wrote {output}."))


@experiment.command()
@click.argument("name")
@click.argument("values", metavar="KEY=VALUE...", nargs=-1)
@click.option("--model", required=True, help="The model that clients ask for, by its name.")
@click.option("--candidate", required=True, help="The model that may replace it, by its name.")
@admin_options
def create(
    name: str, values: tuple[str, ...], model: str, candidate: str, url: str, key_env: str
) -> None:
    """Start the experiment NAME on a running server, until it is removed or the server stops.

    KEY=VALUE are further keys of [experiments.NAME], with values as in JSON, such as
    ramp=[0.1,0.5] or unit=request.
    """
    body = {"model": model, "candidate": candidate, **dict(map(_pair, values))}
    path = f"{_PATH}/{quote(name, safe='')}"
    print_result(_described(asyncio.run(call(url, key_env, path, body, method="PUT"))))


@experiment.command()
@click.argument("name")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="Settings file to read."
)
@click.option(
    "--per-day", type=click.FloatRange(min=0, min_open=True),
    help="Requests a day for the model, for the number of days.",
)  # fmt: skip
def expect(name: str, config: Path | None, per_day: float | None) -> None:
    """Tell how many requests NAME of the settings file needs, before it is started."""
    declared = settings_from(config, {}).experiments
    if name not in declared:
        known = ", ".join(declared) or "none"
        raise ConfigError(f"The settings have no experiment {name}. They have: {known}.")
    rate = None if per_day is None else per_day / _DAY_SECONDS
    found = expectation.expect(declared[name], rate=rate)
    table = Table(box=None, pad_edge=False)
    for heading in ("requirement", "requests", "of a single look", "deviation assumed"):
        table.add_column(heading, justify="left" if heading == "requirement" else "right")
    for requirement, need in found.needs.items():
        counts = (need.requests, need.single_look)
        deviation = "-" if need.deviation is None else f"{need.deviation:g}"
        table.add_row(requirement, *("-" if n is None else f"{n:,}" for n in counts), deviation)
    print_result(Group(Text(found.told), "", table))


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.BadParameter(f"{text} is no KEY=VALUE", param_hint="KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _add_step(step: str, about: str) -> None:
    @experiment.command(step, help=about)
    @click.argument("name")
    @admin_options
    def take(name: str, url: str, key_env: str) -> None:
        path = f"{_PATH}/{quote(name, safe='')}"
        print_result(_described(asyncio.run(call(url, key_env, path, {"step": step}))))


_add_step("promote", "Let the candidate of NAME answer all requests, also after a restart.")
_add_step("rollback", "Let the model of NAME answer all requests, also after a restart.")
_add_step("pause", "Let the model of NAME answer all requests until it is resumed.")
_add_step("resume", "Let both models of NAME answer again, as before the pause.")
_add_step("restart", "Let both models of NAME answer again, from the first share on.")


@experiment.command()
@click.argument("name")
@click.option(
    "--journal",
    required=True,
    type=click.Path(path_type=Path),
    help="The file of the setting experiment_file, or a copy.",
)
def replay(name: str, journal: Path) -> None:
    """Judge all decisions of NAME again, from the journal alone; exit 1 if one does not follow."""
    found = replayed(journal, name)
    table = Table(box=None, pad_edge=False)
    for heading in ("decided", "by", "answered by", "share", "evidence", "verdict"):
        table.add_column(heading)
    words = {True: "the same", False: "differs", None: "-"}
    for one in found:
        at = datetime.fromtimestamp(one.decision.at).astimezone()
        table.add_row(
            at.isoformat(timespec="seconds"),
            Text(printable(one.decision.by)),
            _SERVING[one.decision.serving.value],
            f"{100 * one.decision.share:g}%",
            words[one.same_evidence],
            words[one.same_verdict],
        )
    print_result(table)
    if not all(one.is_right for one in found):
        raise SystemExit(EXIT.failed)


@experiment.command("replay-traffic")
@click.argument("candidate")
@click.option("--since", default="7d", show_default=True, help="From when on: 2h, 7d or a time.")
@click.option("--max", "maximum", default=200, show_default=True, type=click.IntRange(1))
@admin_options
def replay_traffic(candidate: str, since: str, maximum: int, url: str, key_env: str) -> None:
    """Send recorded requests to the model CANDIDATE, and compare with what was served.

    Only requests of tenants whose content is kept (history_content) are there to be sent.
    """

    async def answer(body: dict[str, Any]) -> str:
        reply = await call(url, key_env, "/v1/chat/completions", body, seconds=_ANSWER_SECONDS)
        return str(reply["choices"][0]["message"]["content"] or "")

    server = Server(
        get=lambda path: call(url, key_env, path),
        file=lambda path: fetch(url, key_env, path),
        answer=answer,
    )
    found = asyncio.run(compare(server, candidate, since, maximum))
    counts = (
        f"{found.compared} answers compared, {found.failed} not answered, "
        f"{found.incomplete} recorded incompletely"
    )
    lines = [counts]
    if found.agreement is not None:
        low, high = found.interval
        lines.append(f"agreement: {found.agreement:.3f} ({low:.3f} to {high:.3f})")
    lines += [f"differs: {name} ({value:.2f})" for name, value in found.different.items()]
    print_result(Text(printable("\n".join(lines))))


def _listed(experiments: list[dict[str, Any]]) -> RenderableType:
    if not experiments:
        return Text("The settings declare no experiments.")
    table = Table(box=None, pad_edge=False)
    for heading in ("experiment", "model", "candidate", "answered by", "share", "next"):
        table.add_column(heading)
    for one in experiments:
        table.add_row(
            *(Text(printable(one[key])) for key in ("name", "model", "candidate")),
            _SERVING[one["serving"]],
            f"{100 * one['share']:g}%",
            Text(printable(one["reason"])),
        )
    return table


def _described(one: dict[str, Any]) -> RenderableType:
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_row("experiment", Text(printable(one["name"])))
    head.add_row("compares", Text(printable(f"{one['candidate']} with {one['model']}")))
    head.add_row("answered by", f"{_SERVING[one['serving']]}, share {100 * one['share']:g}%")
    head.add_row("next", Text(printable(one["reason"])))
    head.add_row("expected", Text(printable(one["expectation"]["told"])))
    return Group(head, "", _arms(one["evidence"]), "", _evidence(one["evidence"]), "", _steps(one))


def _arms(evidence: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("arm")
    for heading in ("requests", "failed", "feedback", "mean reward"):
        table.add_column(heading, justify="right")
    for name, arm in evidence["arms"].items():
        reward = f"{arm['mean_reward']:.3f}" if arm["rewards"] else "-"
        table.add_row(
            name, f"{arm['requests']:,}", f"{arm['failures']:,}", f"{arm['rewards']:,}", reward
        )
    return table


def _evidence(evidence: dict[str, Any]) -> RenderableType:
    lines = []
    if (found := evidence.get("log_latency_difference")) is not None:
        ratio, low, high = (math.exp(found[key]) for key in ("estimate", "low", "high"))
        lines.append(f"latency: {ratio:.3f} times the control's ({low:.3f} to {high:.3f})")
    if (found := evidence.get("gain")) is not None:
        lines.append(
            f"reward: {found['estimate']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
        )
    return Text("\n".join(lines) or "Too few requests for intervals.")


def _steps(one: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("decided", "by", "answered by", "share", "why"):
        table.add_column(heading)
    for step in one["decisions"]:
        at = datetime.fromtimestamp(step["at"]).astimezone()
        table.add_row(
            at.isoformat(timespec="seconds"),
            Text(printable(step["by"])),
            _SERVING[step["serving"]],
            f"{100 * step['share']:g}%",
            Text(printable(step["reason"])),
        )
    return table
