"""`silkline ship`: take a model from its name to a promoted canary."""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop

from silkline.bench.option_types import parse_seconds
from silkline.cli.admin_api import admin_options
from silkline.cli.data_options import data_options
from silkline.cli.evaluate import continued_from
from silkline.cli.gate_options import gate_options
from silkline.cli.printing import print_notice, print_result
from silkline.cli.progress import progress_bar
from silkline.cli.settings_options import settings_options
from silkline.cli.ship_plan import plan_of
from silkline.config import LogSettings
from silkline.errors import EXIT, ConfigError
from silkline.observe.logs import configure_logging
from silkline.ship.bundles import Bundles
from silkline.ship.journal import Journal
from silkline.ship.machine import State
from silkline.ship.plan import (
    BUNDLES,
    JOURNAL,
    ShipPlan,
    To,
)
from silkline.ship.ships import (
    Status,
    abort,
    alone,
    find,
    journal_of,
    shipped_before,
    statuses,
    would_do,
)
from silkline.ship.ships import ship as run_ship
from silkline.ship.stages import NAMES
from silkline.ship.terminal import history_lines, shown_lines, status_lines, step_lines

_STORE = "silkline-ship"
_BUDGET = 600.0
_START = "start"


class _Ship(click.Group):
    """Takes what is no subcommand as the model to ship."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_help = not args or args[0] in ctx.help_option_names
        if not wants_help and args[0] not in self.commands:
            args = [_START, *args]
        return super().parse_args(ctx, args)


_store_option = click.option(
    "--store",
    default=_STORE,
    show_default=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the journal, of what stages make, and of the bundles.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.group(cls=_Ship, subcommand_metavar="MODEL [OPTIONS] | COMMAND [ARGS]...")
def ship() -> None:
    """Ship MODEL: plan, optimise, evaluate, gate, bundle, render, deploy, canary, promote.

    `silkline ship start --help` shows the options of `silkline ship MODEL`. Every stage is in a
    journal: after a failure or `kill -9` the same command, or `silkline ship resume`, continues.
    """


@ship.command(_START)
@click.argument("model")
@click.option("--slo", multiple=True, metavar="NAME=VALUE", help="Such as p99=420ms or p50=80ms.")
@click.option("--traffic", default="", help="Requests to plan for, such as 12M/day or 140/s.")
@click.option(
    "--to",
    default=To.LOCAL.value,
    show_default=True,
    type=click.Choice([each.value for each in To]),
    help="Where it goes: local is a server at --url, which is started here if none answers.",
)
@click.option("--apply", "names", multiple=True, metavar="NAME",
              help="Apply this optimisation instead of searching; may be repeated.")  # fmt: skip
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Ship this bundle, built elsewhere, instead of searching.")  # fmt: skip
@click.option("--budget", default=f"{_BUDGET:g}s", type=parse_seconds, metavar="TIME",
              help="How long a search may take. [default: 10m]")  # fmt: skip
@click.option("--as", "as_name", default="", metavar="NAME",
              help="Name of the served model that is replaced.")  # fmt: skip
@click.option("--canary", multiple=True, metavar="NAME=VALUE",
              help="A setting of its experiment, such as ramp=[0.05,0.5] or latency_margin=0.2; "
              "may be repeated (docs/experiments.md).")  # fmt: skip
@click.option("--canary-requests", default=20_000, show_default=True, type=click.IntRange(min=1),
              help="Requests after which an undecided canary is rolled back.")  # fmt: skip
@click.option("--bundles-at", type=click.Path(path_type=Path), metavar="FOLDER",
              help="Where the server sees the bundles of the store, if elsewhere than "
              "here.")  # fmt: skip
@click.option("--until", type=click.Choice(NAMES), help="The last stage to run.")
@click.option("--dry-run", is_flag=True, help="Do nothing; say what would be done and how long.")
@click.option("--again", is_flag=True, help="Ship once more what was shipped before.")
@_store_option
@admin_options
@gate_options
@data_options
@click.option("--images", default=128, show_default=True, type=click.IntRange(min=8),
              help="Number of calibration images.")  # fmt: skip
@_json_option
@click.option("--engine", metavar="NAME", help="Engine that serves the model; chosen if not set.")
@settings_options("limits", "fetch", "decode")
def start(**options: Any) -> None:
    """Ship MODEL, or continue where the same command was stopped.

    The fastest bundle that keeps the quality is searched for and judged on items that were not used
    for picking, as by silkline optimize. It is loaded beside MODEL on the server, gets a share of
    the requests, and replaces MODEL if the evidence allows it, also after a restart; else it is
    removed. Exits with 3 if the gate or the canary refuses it.
    """
    _start(options)


@ship.command()
@click.argument("id_", metavar="[ID]", default="")
@click.option("--until", type=click.Choice(NAMES), help="The last stage to run.")
@_store_option
@_json_option
def resume(id_: str, until: str | None, store: Path, *, as_json: bool) -> None:
    """Continue the ship ID, by default the last one."""
    with journal_of(store) as journal:
        found = find(journal, id_).ship
    known = dict(found.arguments)
    for name in ("bundle", "config", "bundles_at"):
        known[name] = None if known[name] is None else Path(known[name])
    changed = {"store": store, "until": until, "as_json": as_json, "dry_run": False}
    _start(known | changed, resumed=found.id)


@ship.command("status")
@click.argument("id_", metavar="[ID]", default="")
@_store_option
@_json_option
def status(id_: str, store: Path, *, as_json: bool) -> None:
    """Show the stages of the ship ID, by default the last one."""
    with journal_of(store) as journal:
        _print(find(journal, id_), as_json=as_json)


@ship.command()
@_store_option
@_json_option
def history(store: Path, *, as_json: bool) -> None:
    """List all ships of the store."""
    with journal_of(store) as journal:
        found = statuses(journal)
    if as_json:
        click.echo(msgspec.json.encode([_as_json(each) for each in found]))
    else:
        print_result(history_lines(found))


@ship.command("abort")
@click.argument("id_", metavar="[ID]", default="")
@_store_option
@click.option("--key-env", default="SILKLINE_ADMIN_KEY", show_default=True, metavar="NAME")
def abort_ship(id_: str, store: Path, key_env: str) -> None:
    """End the ship ID, by default the last one; the server is left as it was before."""
    with alone(store), journal_of(store) as journal:
        found = find(journal, id_)
        uvloop.run(abort(journal, found, key_env, getpass.getuser()))
        _print(find(journal, found.ship.id), as_json=False)


@ship.command()
@click.argument("digest")
@_store_option
@_json_option
def show(digest: str, store: Path, *, as_json: bool) -> None:
    """Show what made and judged a bundle: data, command, versions and verdicts.

    DIGEST is the start of its digest, its revision, or name@revision, as the response header
    x-silkline-model has it.
    """
    bundles = Bundles(store / BUNDLES)
    for bundle in bundles.find(digest):
        statements = bundles.statements(bundle)
        if as_json:
            click.echo(json.dumps({"label": bundle.label, "ships": statements}, indent=1))
        else:
            print_result(shown_lines(bundle, statements))


def _start(options: dict[str, Any], resumed: str = "") -> None:
    """Ships; exits with 3 if it was refused or rolled back."""
    configure_logging(LogSettings(log_level="warning"))
    store, until, as_json = options["store"], options["until"] or "", options["as_json"]
    if options["dry_run"]:
        with journal_of(store) as journal:
            plan = _counted(options, journal)
            _print_steps(plan, would_do(plan, journal), as_json=as_json)
        return
    with alone(store), journal_of(store, create=True) as journal:
        plan = _counted(options, journal)
        if resumed:
            _check_same(find(journal, resumed), plan)
        with continued_from(store / JOURNAL), progress_bar(quiet=as_json) as bar:
            found = uvloop.run(run_ship(plan, journal, bar.show, print_notice, until))
    _print(found, as_json=as_json)
    if found.state in {State.REFUSED, State.ROLLED_BACK, State.ABORTED}:
        sys.exit(EXIT.gate_refused)


def _counted(options: dict[str, Any], journal: Journal) -> ShipPlan:
    """The plan that the options describe; with --again one that was not shipped yet."""
    plan = plan_of(options)
    if options["again"] is not True:
        return plan
    return plan_of(options | {"again": shipped_before(plan.identity, journal)})


def _print_steps(plan: ShipPlan, steps: list[Any], *, as_json: bool) -> None:
    """Prints what would be done."""
    if as_json:
        click.echo(msgspec.json.encode({"ship": plan.id, "steps": steps}))
    else:
        print_result(step_lines(steps))


def _check_same(found: Status, plan: ShipPlan) -> None:
    """Raises `ConfigError` if what is shipped is no longer the same."""
    if plan.id != found.ship.id:
        before, now = found.ship.identity, plan.identity
        changed = sorted(name for name in now if now[name] != before.get(name))
        raise ConfigError(
            f"The ship {found.ship.id} cannot be resumed: since it began, "
            f"{' and '.join(changed)} changed. Ship it anew."
        )


def _print(found: Status, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(_as_json(found)))
    else:
        print_result(status_lines(found))


def _as_json(found: Status) -> dict[str, Any]:
    return {"ship": found.ship, "state": found.state, "events": found.events}
