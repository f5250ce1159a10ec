"""The `silkline` command."""

from __future__ import annotations

import sys

import click

from silkline import __version__
from silkline.cli.bench import bench
from silkline.cli.describe import describe
from silkline.cli.doctor import doctor
from silkline.cli.key import key
from silkline.cli.up import up
from silkline.errors import SilklineError, exit_code


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="silkline")
def silkline() -> None:
    """Put a vision-language model behind an API, with evidence that it still answers right.

    Exit codes: 0 done, 1 failed, 2 usage, 3 gate refused, 4 environment.
    """


silkline.add_command(up)
silkline.add_command(describe)
silkline.add_command(doctor)
silkline.add_command(bench)
silkline.add_command(key)


def main() -> None:
    """Runs the command line and ends the process with the documented exit code."""
    try:
        silkline(standalone_mode=True)
    except SilklineError as error:
        click.echo(f"silkline: {error.message}", err=True)
        sys.exit(exit_code(error))
