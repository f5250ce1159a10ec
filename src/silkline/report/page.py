"""Renders a report: one HTML page with everything in it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

import msgspec
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from silkline.report import numbers
from silkline.report.svg import interval

_KIT = "silkline.report"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(
    package: str,
    *,
    title: str,
    command: str,
    figures: bool = False,
    template: str = "page.html.jinja",
    **values: object,
) -> str:
    """Renders a template of a package.

    Values are text: markup in them is escaped. Only `markupsafe.Markup` is taken as it is, and only
    `svg` makes it.

    Args:
        package: Dotted name of the package that holds the template and its `page.css`.
        title: Of the browser's tab.
        command: The command that made the report.
        figures: Whether the page has the script that shows values under the pointer. It is the only
            script that the page's Content-Security-Policy lets run.
        template: File name of the template.
        values: What the template shows.

    Raises:
        jinja2.TemplateError: The template is wrong, or asks for a value that is not given.
    """
    policy, script = _POLICY, Markup()
    if figures:
        script = _script()
        # the URL-safe alphabet has no "//": the page holds nothing that looks like an address
        digest = base64.urlsafe_b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    found = _environment(package).get_template(template)
    return found.render(title=title, command=command, policy=policy, script=script, **values)


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=ChoiceLoader([PackageLoader(package, ""), PackageLoader(_KIT, "")]),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    written = (numbers.change, numbers.p_value, numbers.score, numbers.seconds, numbers.span)
    environment.filters |= {one.__name__: one for one in written}
    environment.globals["interval"] = interval
    environment.filters |= {"data": _data, "indented": _indented, "thinned": _thinned}
    return environment


@cache
def _script() -> Markup:
    return Markup(files(_KIT).joinpath("figures.js").read_text("utf-8"))  # noqa: S704 - our own file


def _data(value: object) -> Markup:
    """JSON for a `script` element: nothing in it can end the element."""
    encoded = msgspec.json.encode(value).decode().replace("<", "\\u003c")
    return Markup(encoded)  # noqa: S704 - JSON without "<" cannot end the element


def _indented(value: object) -> str:
    """JSON for readers."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def _thinned(count: int, limit: int) -> range:
    """At most `limit` of the numbers below `count`, evenly."""
    return range(0, count, max(1, -(-count // limit)))
