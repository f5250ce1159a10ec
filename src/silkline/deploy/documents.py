"""Writes documents: YAML from typed objects, and text from templates.

Both are byte-stable: keys stay in the order of declaration.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from silkline.errors import EnvironmentFault


class Document(msgspec.Struct, omit_defaults=True, frozen=True):
    """Base of the typed objects; a field with its default value is left out."""


def to_yaml(document: Document, made_by: str) -> str:
    """Returns a document as YAML, below a comment that names the command that made it.

    Raises:
        EnvironmentFault: PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise EnvironmentFault(
            "YAML files need PyYAML, which is not installed.",
            remedy="pip install 'silkline[render]'",
        ) from error

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as blocks."""

    def text(dumper: yaml.SafeDumper, value: str) -> Any:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    body = yaml.dump(
        msgspec.to_builtins(document),
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=1_000_000,
    )
    return f"# Written by `{made_by}`; change the settings and run it again.\n{body}"


def from_template(package: str, name: str, **values: object) -> str:
    """Returns a template of a package as text, with nothing escaped.

    Args:
        package: Dotted name of the package that holds it.
        name: Its file name.
        values: What it shows; a value that is missing raises `jinja2.UndefinedError`.
    """
    return _environment(package).get_template(name).render(**values)


@cache
def _environment(package: str) -> Environment:
    return Environment(
        autoescape=False,  # noqa: S701 - configuration files, not HTML
        undefined=StrictUndefined,
        loader=PackageLoader(package, ""),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
