"""`silkline render`: write the configuration of what runs beside a server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from silkline.config import settings_from
from silkline.deploy.catalogue import TARGETS
from silkline.deploy.output import State, compare, write
from silkline.errors import EXIT

_LIST = "\n".join(f"  {target.name:13}{target.about}" for target in TARGETS.values())


@click.command(epilog=f"\b\nTargets:\n{_LIST}")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...", type=click.Choice(TARGETS))
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files; each target has a folder of its own in it.",
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a file is not the same.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Settings file; by default silkline.toml in the working folder, if it exists.",
)
def render(
    targets: tuple[str, ...],
    output: Path,
    config: Path | None,
    *,
    check: bool,
    diff: bool,
    as_json: bool,
) -> None:
    """Write the configuration of Prometheus and others, as the settings describe the server.

    The same settings give the same bytes, so the files can be kept in version control and checked.
    """
    settings = settings_from(config, {})
    files = [
        file
        for name in dict.fromkeys(targets)
        for file in compare(output / name, TARGETS[name].render(settings))
    ]
    if not check and not diff:
        for file in files:
            write(file)
    if as_json:
        found = [{"path": str(file.path), "state": file.state.value} for file in files]
        click.echo(json.dumps({"files": found}, indent=2))
    elif diff:
        click.echo("".join(file.difference() for file in files), nl=False)
    else:
        for file in files:
            click.echo(f"{_word(file.state, check=check)} {file.path}")
    if check and any(file.state is not State.SAME for file in files):
        sys.exit(EXIT.failed)


def _word(state: State, *, check: bool) -> str:
    if check:
        return state.value
    return "unchanged" if state is State.SAME else "wrote"
