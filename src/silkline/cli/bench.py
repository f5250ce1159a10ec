"""`silkline bench`: load on an endpoint, and how it bore it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop

from silkline.bench.drawn import SMALLEST, STEP
from silkline.bench.option_types import parse_burst, parse_seconds, parse_share
from silkline.bench.record import Run
from silkline.bench.results import FIGURES, PAGE, REQUESTS, figures_json, write_results
from silkline.bench.session import Step, is_loopback, run_bench
from silkline.bench.spec import Arrivals, Burst, Form, Limits, Spec, Target, Traffic
from silkline.bench.summary import Summary, compare, summarise
from silkline.bench.terminal import tables
from silkline.bench.wire import Warm
from silkline.cli.printing import print_result
from silkline.cli.progress import ProgressBar, progress_bar
from silkline.config import server_root
from silkline.errors import EXIT, ConfigError, EnvironmentFault
from silkline.models.user_paths import nearest_folder

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False)
_FOLDER = click.Path(exists=True, file_okay=False)
_COUNT = click.IntRange(min=1)
_DEFAULTS = Traffic()

_LOAD = (
    click.option(
        "--rate", default=10.0, type=click.FloatRange(min=0, min_open=True),
        help="Requests a second, on average, outside of bursts.",
    ),
    click.option("--for", "seconds", default="30s", type=parse_seconds, metavar="TIME",
                 help="How long."),
    click.option("--burst", type=parse_burst, metavar="3x20s@60s",
                 help="Three times the rate, for 20 s, every 60 s."),
    click.option("--seed", default=1, help="Equal seeds send the same requests at equal times."),
    click.option("--warm", default=0, type=click.IntRange(min=0), metavar="N",
                 help="Ask for the N most popular pictures before the clock starts."),
)  # fmt: skip

_TRAFFIC = (
    click.option("--catalogue", default=_DEFAULTS.catalogue, type=_COUNT, metavar="N",
                 help="Pictures that there are."),
    click.option("--zipf", default=_DEFAULTS.zipf, type=click.FloatRange(min=0), metavar="S",
                 help="Exponent of their popularity; with 0 all are alike."),
    click.option("--new", default="0%", type=parse_share, metavar="SHARE",
                 help="Requests with a picture that was never sent before."),
    click.option("--near", default="0%", type=parse_share, metavar="SHARE",
                 help="Requests with a near-duplicate: a mark in the corner differs."),
    click.option("--pixels", default=_DEFAULTS.pixels, type=click.IntRange(min=SMALLEST),
                 metavar="N", help=f"Sides of the drawn pictures, a multiple of {STEP}."),
    click.option("--pictures", "folder", type=_FOLDER, metavar="FOLDER",
                 help="Your own pictures instead of drawn ones."),
    click.option("--requests", type=_FILE, metavar="FILE",
                 help='Your own requests: {"picture": PATH OR URL, "prompt": TEXT} on each line.'),
    click.option("--as", "form", default=_DEFAULTS.form.value,
                 type=click.Choice([form.value for form in Form]),
                 help="How a picture is sent; url serves them on loopback, see --origin-port."),
    click.option("--origin-port", default=0, type=click.IntRange(0, 65535), metavar="PORT",
                 help="Port that serves them, for silkline up --private-hosts 127.0.0.1:PORT."),
    click.option("--prompt", "prompts", multiple=True, default=_DEFAULTS.prompts,
                 help="What to ask; several go round the catalogue."),
    click.option("--max-tokens", default=_DEFAULTS.max_tokens, type=_COUNT,
                 help="Most tokens of an answer."),
    click.option("--stream", is_flag=True, help="Stream the answers."),
    click.option("--model", default="", help="Model to ask for; else the one that is served."),
)  # fmt: skip

_GENERATOR = (
    click.option("--slice", "slice_seconds", default="10s", type=parse_seconds, metavar="TIME",
                 help="With --against: how long each has its turn."),
    click.option("--connections", default=Limits().connections, type=_COUNT,
                 help="Most open connections; a request that waits for one is reported."),
    click.option("--timeout", default="120s", type=parse_seconds, metavar="TIME",
                 help="When a request is given up."),
    click.option("--processes", default=Limits().processes, type=_COUNT,
                 help="Processes that send."),
    click.option("--key-env", metavar="NAME", help="Variable with the target's API key."),
    click.option("--against-key-env", metavar="NAME", help="The same for the other target."),
    click.option("--yes-load-remote", is_flag=True,
                 help="Allow targets that are not on this machine. Load only what is yours."),
)  # fmt: skip

_RESULTS = (
    click.option("--slo", default="420ms", type=parse_seconds, metavar="TIME",
                 help="An answer within this time is good."),
    click.option("--min-goodput", default="0%", type=parse_share, metavar="SHARE",
                 help="End with exit code 1 when fewer of the first target's requests are good."),
    click.option("--out", default="bench-results", metavar="FOLDER",
                 type=click.Path(file_okay=False, path_type=Path),
                 help="Folder for report.html, summary.json and requests.jsonl."),
    click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
)  # fmt: skip


def _options(*groups: tuple[Callable[[F], F], ...]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return decorate


@click.command(context_settings={"show_default": True})
@click.argument("url")
@click.option("--against", metavar="URL", help="A second target, in turns with the first.")
@_options(_LOAD, _TRAFFIC, _GENERATOR, _RESULTS)
def bench(url: str, against: str | None, **options: Any) -> None:
    """Send load to the endpoint at URL and report how it bore it.

    Requests come as in life, by a Poisson process, and wait for nobody: latency counts from the
    time at which a request was due (docs/bench.md). The answers' times, errors and cache states go
    to a table, and with every request to the folder --out, as one HTML page too. URL is the address
    of the server or its base URL, up to /v1.

    The command ends with 1 when a target answered no request, or too few within --slo
    (--min-goodput).
    """
    spec = _spec(url, against, options)
    if not options["yes_load_remote"]:
        _refuse_remote(spec)
    _check_writable(options["out"])
    try:
        with progress_bar(quiet=options["as_json"]) as bar:
            running = run_bench(spec, _shown_on(bar), origin_port=options["origin_port"])
            run = uvloop.run(running)
    except KeyboardInterrupt:
        click.echo("silkline: stopped; nothing of this run was kept", err=True)
        sys.exit(EXIT.failed)
    if not run.records:
        raise ConfigError("No request fell into this time. Take a longer one or a higher rate.")
    _report(run, options)


def _spec(url: str, against: str | None, options: dict[str, Any]) -> Spec:
    urls = [(url, options["key_env"])]
    if against:
        urls.append((against, options["against_key_env"]))
    burst: Burst | None = options["burst"]
    return Spec(
        targets=tuple(
            Target(name, _root(address), _key_headers(variable))
            for name, (address, variable) in zip("AB", urls, strict=False)
        ),
        arrivals=Arrivals(options["rate"], options["seconds"], burst, options["seed"]),
        traffic=Traffic(
            catalogue=options["catalogue"],
            zipf=options["zipf"],
            new=options["new"],
            near=options["near"],
            pixels=options["pixels"],
            folder=options["folder"] or "",
            requests=options["requests"] or "",
            form=Form(options["form"]),
            prompts=tuple(options["prompts"]),
            max_tokens=options["max_tokens"],
            stream=options["stream"],
            model=options["model"],
        ),
        limits=Limits(options["connections"], options["timeout"], options["processes"]),
        slice_seconds=options["slice_seconds"],
        warm=options["warm"],
    )


def _root(address: str) -> str:
    try:
        return server_root(address)
    except ValueError as error:
        raise ConfigError(
            f"{address.rpartition('@')[2]!r} is no target: {error}. Write it like "
            "http://127.0.0.1:8000, and name the variable of a key by --key-env."
        ) from error


def _key_headers(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"The variable {variable} is not set. Put the API key into it.")
    return {"authorization": f"Bearer {key}"}


def _refuse_remote(spec: Spec) -> None:
    for target in spec.targets:
        if not is_loopback(target.url):
            raise ConfigError(
                f"{target.url} is not on this machine, and load can do harm. If it is yours to "
                "load, say so with --yes-load-remote."
            )


def _check_writable(folder: Path) -> None:
    """Refuses before any load is sent what `write_results` would refuse after it.

    The folder itself is made with the results: a target that does not answer leaves none.
    """
    there = nearest_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise EnvironmentFault(
            f"The results cannot be written into {folder}: {os.strerror(error.errno or 0)}. "
            "Choose another folder by --out."
        ) from error


def _shown_on(bar: ProgressBar) -> Callable[[Step], None]:
    """Shows each step of a run: its rate, its failures and its open requests."""
    ended = failed = 0

    def on_progress(step: Step) -> None:
        nonlocal ended, failed
        ended += step.progress.ended
        failed += step.progress.failed
        doing = "warming" if isinstance(step.command, Warm) else "sending to"
        rate = ended / step.done if step.done else 0.0
        detail = f"{rate:.0f}/s, {failed} failed, {step.progress.in_flight} in flight"
        bar.show(f"{doing} {step.target}", step.done, step.total, detail)

    return on_progress


def _report(run: Run, options: dict[str, Any]) -> None:
    """Writes the files, prints the tables, and ends with 1 when the gate or a target fails."""
    slo, folder = options["slo"], options["out"]
    summaries = [summarise(run, target, slo) for target in range(len(run.spec.targets))]
    comparison = compare(run, slo) if len(summaries) > 1 else None
    write_results(run, summaries, comparison, folder)
    if options["as_json"]:
        click.echo(figures_json(run, summaries, comparison))
    else:
        print_result(tables(summaries, comparison))
        click.echo(f"\n{folder / PAGE}, {FIGURES} and {REQUESTS} beside it")
    if silent := [summary for summary in summaries if not summary.served]:
        for summary in silent:
            click.echo(f"silkline: {_told_failures(summary)}", err=True)
        sys.exit(EXIT.failed)
    goodput = summaries[0].goodput
    if goodput < options["min_goodput"]:
        wanted = f"{options['min_goodput']:.2%}"
        click.echo(f"silkline: goodput {goodput:.2%} is below {wanted}", err=True)
        sys.exit(EXIT.failed)


def _told_failures(summary: Summary) -> str:
    """Why a target that answered no request did not, in one line."""
    first = summary.failures[0]
    status = f"status {first.status}, {first.code}" if first.status else first.code
    return (
        f"{summary.name} answered none of {summary.requests} requests; {first.count} ended with "
        f"{status}. Check the URL, --model and --key-env."
    )
