"""`silkline bench`: load-test an endpoint."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop
from click.core import ParameterSource

from silkline.bench.drawn import SMALLEST, STEP
from silkline.bench.mlperf import MIN_SECONDS, Scenario
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
        help="Average requests per second outside bursts.",
    ),
    click.option("--clients", default=0, type=click.IntRange(min=0), metavar="N",
                 help="Instead of --rate: N clients, each of which waits for its answer before it "
                      "sends the next request."),
    click.option("--for", "seconds", default="30s", type=parse_seconds, metavar="TIME",
                 help="Duration of the load."),
    click.option("--burst", type=parse_burst, metavar="3x20s@60s",
                 help="Bursts, here of three times the rate, for 20 s, every 60 s."),
    click.option("--seed", default=1, help="The same seed sends the same requests, equally timed."),
    click.option("--warm", default=0, type=click.IntRange(min=0), metavar="N",
                 help="Request the N most popular images before the measurement starts."),
)  # fmt: skip

_TRAFFIC = (
    click.option("--catalogue", default=_DEFAULTS.catalogue, type=_COUNT, metavar="N",
                 help="Number of distinct images."),
    click.option("--zipf", default=_DEFAULTS.zipf, type=click.FloatRange(min=0), metavar="S",
                 help="Zipf exponent of their popularity; 0 makes all equally popular."),
    click.option("--new", default="0%", type=parse_share, metavar="SHARE",
                 help="Share of requests with an image that was never sent before."),
    click.option("--near", default="0%", type=parse_share, metavar="SHARE",
                 help="Share of requests with a near duplicate: a mark in the corner differs."),
    click.option("--pixels", default=_DEFAULTS.pixels, type=click.IntRange(min=SMALLEST),
                 metavar="N", help=f"Width and height of generated images, a multiple of {STEP}."),
    click.option("--pictures", "folder", type=_FOLDER, metavar="FOLDER",
                 help="Folder of your own images, instead of generated ones."),
    click.option("--requests", type=_FILE, metavar="FILE",
                 help='Your own requests, {"picture": PATH OR URL, "prompt": TEXT} per line.'),
    click.option("--as", "form", default=_DEFAULTS.form.value,
                 type=click.Choice([form.value for form in Form]),
                 help="How images are sent; url serves them on loopback, see --origin-port."),
    click.option("--origin-port", default=0, type=click.IntRange(0, 65535), metavar="PORT",
                 help="Port that serves the images with --as url; allow it on the server with "
                      "silkline up --private-hosts 127.0.0.1:PORT."),
    click.option("--prompt", "prompts", multiple=True, default=_DEFAULTS.prompts,
                 help="Prompt of the requests; several take turns over the catalogue."),
    click.option("--max-tokens", default=_DEFAULTS.max_tokens, type=_COUNT,
                 help="Maximum tokens of an answer."),
    click.option("--stream", is_flag=True, help="Stream the answers."),
    click.option("--model", default="", help="Model to request; by default, the one served."),
)  # fmt: skip

_MLPERF = (
    click.option("--mlperf", metavar="SET",
                 help="MLPerf's scenarios and score on a data set of categories: a JSONL, CSV or "
                      "Parquet file, a folder, or held-out (docs/mlperf.md). --for is 10 minutes."),
    click.option("--scenario", "scenarios", multiple=True, default=[one.value for one in Scenario],
                 type=click.Choice([one.value for one in Scenario]),
                 help="With --mlperf: the scenarios beside offline."),
    click.option("--reference", default="", metavar="SUBJECT",
                 help="With --mlperf: the model or URL whose score must be kept to 99%."),
)  # fmt: skip

_GENERATOR = (
    click.option("--slice", "slice_seconds", default="10s", type=parse_seconds, metavar="TIME",
                 help="With --against: length of each target's turn."),
    click.option("--connections", default=Limits().connections, type=_COUNT,
                 help="Maximum open connections; requests that had to wait are reported."),
    click.option("--timeout", default="120s", type=parse_seconds, metavar="TIME",
                 help="Timeout of a request."),
    click.option("--processes", default=Limits().processes, type=_COUNT,
                 help="Processes that send requests."),
    click.option("--key-env", metavar="NAME",
                 help="Environment variable with the target's API key."),
    click.option("--against-key-env", metavar="NAME", help="The same for the --against target."),
    click.option("--yes-load-remote", is_flag=True,
                 help="Allow remote targets. Only load servers that are yours to load."),
)  # fmt: skip

_RESULTS = (
    click.option("--slo", default="420ms", type=parse_seconds, metavar="TIME",
                 help="Latency target: answers within this time count as goodput."),
    click.option("--min-goodput", default="0%", type=parse_share, metavar="SHARE",
                 help="Exit with 1 if the first target's goodput is lower."),
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
@click.option("--against", metavar="URL", help="A second target, loaded in turns with the first.")
@_options(_LOAD, _TRAFFIC, _MLPERF, _GENERATOR, _RESULTS)
def bench(url: str, against: str | None, **options: Any) -> None:
    """Load-test the endpoint at URL.

    Requests arrive by a Poisson process, whether or not earlier ones were answered. Latency counts
    from the time at which a request was due (docs/bench.md). Prints a table of latencies, errors
    and cache states; writes them with every request, and as an HTML page, to the folder --out. URL
    is the server's address or its base URL, which ends with /v1.

    Exits with 1 if a target answered no request, or its goodput is below --min-goodput.
    """
    spec = _spec(url, against, options)
    if not options["yes_load_remote"]:
        _refuse_remote(spec)
    _check_writable(options["out"])
    try:
        with progress_bar(quiet=options["as_json"]) as bar:
            if options["mlperf"]:
                _run_mlperf(spec, options, bar)
                return
            running = run_bench(spec, _shown_on(bar), origin_port=options["origin_port"])
            run = uvloop.run(running)
    except KeyboardInterrupt:
        click.echo("silkline: stopped; no results were saved", err=True)
        sys.exit(EXIT.failed)
    if not run.records:
        raise ConfigError(
            "No request was due within the duration. Use a longer --for or a higher --rate."
        )
    _report(run, options)


def _run_mlperf(spec: Spec, options: dict[str, Any], bar: ProgressBar) -> None:
    from silkline.cli.mlperf import run_mlperf  # noqa: PLC0415 - imports the whole service

    if len(spec.targets) > 1:
        raise click.UsageError("--mlperf takes one URL; name the other as --reference.")
    given = click.get_current_context().get_parameter_source("seconds")
    if given is ParameterSource.DEFAULT:
        options["seconds"] = MIN_SECONDS
    run_mlperf(spec, options, bar, _shown_on(bar))


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
        arrivals=Arrivals(
            options["rate"], options["seconds"], burst, options["seed"], options["clients"]
        ),
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
            f"{address.rpartition('@')[2]!r} is not a valid target: {error}. Write it like "
            "http://127.0.0.1:8000, and pass an API key with --key-env."
        ) from error


def _key_headers(variable: str | None) -> dict[str, str]:
    if variable is None:
        return {}
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"The variable {variable} is not set. Set it to the API key.")
    return {"authorization": f"Bearer {key}"}


def _refuse_remote(spec: Spec) -> None:
    for target in spec.targets:
        if not is_loopback(target.url):
            raise ConfigError(
                f"{target.url} is not on this machine, and load can disrupt a server. If it is "
                "yours to load, pass --yes-load-remote."
            )


def _check_writable(folder: Path) -> None:
    """Checks, before any load is sent, that `write_results` can write into the folder.

    Does not create the folder: if a target does not answer, none is left behind.
    """
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(folder)):
            pass
    except OSError as error:
        raise EnvironmentFault(
            f"The results cannot be written into {folder}: {os.strerror(error.errno or 0)}. "
            "Choose another folder with --out."
        ) from error


def _shown_on(bar: ProgressBar) -> Callable[[Step], None]:
    """Returns a callback that shows a run's rate, failures and requests in flight."""
    ended = failed = 0

    def on_progress(step: Step) -> None:
        nonlocal ended, failed
        ended += step.progress.ended
        failed += step.progress.failed
        activity = "warming" if isinstance(step.command, Warm) else "sending to"
        rate = ended / step.done if step.done else 0.0
        detail = f"{rate:.0f}/s, {failed} failed, {step.progress.in_flight} in flight"
        bar.show(f"{activity} {step.target}", step.done, step.total, detail)

    return on_progress


def _report(run: Run, options: dict[str, Any]) -> None:
    """Writes the files, prints the tables; exits with 1 if a target or --min-goodput fails."""
    slo, folder = options["slo"], options["out"]
    summaries = [summarise(run, target, slo) for target in range(len(run.spec.targets))]
    comparison = compare(run, slo) if len(summaries) > 1 else None
    write_results(run, summaries, comparison, folder)
    if options["as_json"]:
        click.echo(figures_json(run, summaries, comparison))
    else:
        print_result(tables(summaries, comparison))
        click.echo(f"\nWrote {folder / PAGE}, {FIGURES} and {REQUESTS}")
    if silent := [summary for summary in summaries if not summary.served]:
        for summary in silent:
            click.echo(f"silkline: {_failure_message(summary)}", err=True)
        sys.exit(EXIT.failed)
    goodput = summaries[0].goodput
    if goodput < options["min_goodput"]:
        minimum = f"{options['min_goodput']:.2%}"
        click.echo(f"silkline: goodput {goodput:.2%} is below {minimum}", err=True)
        sys.exit(EXIT.failed)


def _failure_message(summary: Summary) -> str:
    """Says in one line why a target answered no request."""
    first = summary.failures[0]
    status = f"status {first.status}, {first.code}" if first.status else first.code
    return (
        f"{summary.name} answered none of {summary.requests} requests; {first.count} ended with "
        f"{status}. Check the URL, --model and --key-env."
    )
