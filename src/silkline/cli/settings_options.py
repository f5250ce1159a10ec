"""Turns the declared settings into command-line options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import click

from silkline.config import RaySettings, field_info, section_of_field

F = TypeVar("F", bound=Callable[..., Any])

_METAVARS: dict[Any, str] = {tuple: "TEXT,...", dict: "NAME=VALUE,..."}
"""Types whose options are text that `load_settings` parses."""


class SectionedCommand(click.Command):
    """A command whose help lists the settings under the sections of `silkline.toml`."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one list of options for each section, the command's own options first."""
        sections = section_of_field()
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                section = sections.get(parameter.name or "")
                groups.setdefault(f"[{section}]" if section else "Options", []).append(record)
        for title in sorted(groups, key=lambda title: title != "Options"):
            with formatter.section(title):
                formatter.write_dl(groups[title])


def settings_options(*sections: str) -> Callable[[F], F]:
    """Adds `--config` and one option for each setting of the named sections."""

    def decorate(command: F) -> F:
        fields = [field for field, section in section_of_field().items() if section in sections]
        for field in reversed(fields):
            command = _option(field)(command)
        return click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Settings file; by default silkline.toml in the working folder, if it exists.",
        )(command)

    return decorate


def ray_options(command: F) -> F:
    """Adds the options of where workers run."""
    for field in reversed(RaySettings.model_fields):
        command = _option(field)(command)
    return command


def one_model(argument: str, flag: str | None) -> str:
    """Returns the model, which may be an argument or `--model`.

    Raises:
        click.UsageError: Both are present and differ.
    """
    if flag is not None and flag != argument:
        raise click.UsageError(f"MODEL is {argument}, but --model is {flag}; use only one of them.")
    return argument


def _option(field: str) -> Callable[[F], F]:
    info = field_info(field)
    kind = info.annotation
    shape = get_origin(kind)
    option_type = str if shape in _METAVARS else kind
    default = info.get_default(call_default_factory=True)
    shown = "" if default in ((), {}, "") else f" [default: {default}]"
    return click.option(
        "--" + field.replace("_", "-"),
        field,
        type=click.Choice(get_args(kind)) if shape is Literal else option_type,
        metavar=_METAVARS.get(shape),
        multiple=shape is tuple,
        help=f"{info.description}{shown}",
    )
