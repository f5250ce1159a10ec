"""Runs commands in this process, which need not import everything again."""

from __future__ import annotations

from dataclasses import dataclass

from click.testing import CliRunner

from silkline.cli.main import silkline
from silkline.errors import SilklineError, exit_code


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    error: str


def invoked(*arguments: object) -> Ended:
    """Runs `silkline` with these arguments."""
    found = CliRunner().invoke(silkline, list(map(str, arguments)))
    if isinstance(found.exception, SilklineError):
        return Ended(exit_code(found.exception), found.stdout, found.exception.message)
    return Ended(found.exit_code, found.stdout, found.stderr)
