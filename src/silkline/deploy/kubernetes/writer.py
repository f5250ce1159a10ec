"""Writes objects as YAML: as plain manifests, or as templates of a Helm chart.

The two differ only in what they write for a `Value`, a condition and a digest; all else is one
path. Nothing depends on the order of a set or on the time, so the same objects give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from silkline.deploy.kubernetes.nodes import Condition, Digest, Each, Given, Text, Value, Why

WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*(:[A-Za-z0-9_./-]+)*")
_OTHER_THAN_TEXT = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


class Form(Protocol):
    """What differs between a manifest and a template."""

    def value(self, value: Value[Any]) -> Any:
        """What stands for a value: data to write, or `Inline`."""

    def inside(self, value: Value[Any]) -> str:
        """What stands for a value inside a text."""

    def literal(self, text: str) -> str:
        """A text that must arrive as it is."""

    def given(self, condition: Condition, lines: list[str]) -> list[str]:
        """Lines that are there only while a condition is true."""

    def each(self, each: Each, text: str) -> str:
        """A text for each number; `{}` stands for the number."""

    def digest(self, digest: Digest) -> Any:
        """What stands for a digest."""


class Inline(str):
    """YAML that is written as it is."""

    __slots__ = ()


class Manifest:
    """Plain YAML, with the defaults."""

    def value(self, value: Value[Any]) -> Any:
        """The default."""
        return value.default

    def inside(self, value: Value[Any]) -> str:
        """The default, a number as Helm writes it."""
        default = value.default
        return f"{default:g}" if isinstance(default, float) else str(default)

    def literal(self, text: str) -> str:
        """The text."""
        return text

    def given(self, condition: Condition, lines: list[str]) -> list[str]:
        """The lines, or none."""
        return lines if condition.holds else []

    def each(self, each: Each, text: str) -> str:
        """The text as often as the default says."""
        return "".join(text.replace("{}", str(number)) for number in range(each.count.default))

    def digest(self, digest: Digest) -> Any:
        """The digest."""
        return hashlib.sha256(joined(digest.text, self).encode()).hexdigest()


class Template:
    """A template of a chart: JSON is YAML, so `toJson` writes a value of any type."""

    def value(self, value: Value[Any]) -> Any:
        """An expression that gives it as JSON."""
        return Inline(f"{{{{ toJson {value.expression} }}}}")

    def inside(self, value: Value[Any]) -> str:
        """An expression that gives its text."""
        return f"{{{{ {value.expression} }}}}"

    def literal(self, text: str) -> str:
        """The text, with braces that Helm does not read."""
        return text.replace("{{", '{{ "{{" }}')

    def given(self, condition: Condition, lines: list[str]) -> list[str]:
        """The lines between `if` and `end`."""
        return [f"{{{{- if {condition.expression} }}}}", *lines, "{{- end }}"]

    def each(self, each: Each, text: str) -> str:
        """The text between `range` and `end`."""
        number = text.replace("{}", "{{ $number }}")
        over = f"until (int {each.count.expression})"
        return f"{{{{ range $number := {over} }}}}{number}{{{{ end }}}}"

    def digest(self, digest: Digest) -> Any:
        """The digest of the rendered template."""
        file = f'(print $.Template.BasePath "/{digest.name}")'
        return Inline(f"{{{{ include {file} . | sha256sum }}}}")


def write(what: Any, form: Form) -> str:
    """Returns an object, or another mapping, as YAML."""
    return "\n".join(_block(what, form)) + "\n"


def joined(text: Text, form: Form) -> str:
    """Returns a text with its parts as the form has them."""
    return "".join(_part(part, form) for part in text.parts)


def entries(what: Any) -> Iterator[tuple[str, Any]]:
    """The keys and values of a mapping, or of an object without the fields that have a default."""
    if isinstance(what, Mapping):
        yield from what.items()
        return
    for field in msgspec.structs.fields(what):
        value = getattr(what, field.name)
        if field.required or value != _default(field):
            yield field.encode_name, value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _part(part: Any, form: Form) -> str:
    if isinstance(part, Value):
        return form.inside(part)
    if isinstance(part, Each):
        return form.each(part, joined(part.text, form))
    return form.literal(part)


def _block(what: Any, form: Form) -> list[str]:
    """The lines of a mapping or a list that is not empty."""
    lines: list[str] = []
    if isinstance(what, Sequence):
        for item in what:
            lines += _entry("-", item, form)
    else:
        for key, item in entries(what):
            lines += _entry(f"{_scalar(key, form)}:", item, form)
    return lines


def _entry(head: str, item: Any, form: Form) -> list[str]:
    """The lines of an entry of a mapping (`head` is `key:`) or a list (`-`)."""
    if isinstance(item, Given):
        return form.given(item.condition, _entry(head, item.then, form))
    if isinstance(item, Why):
        return [*_comment(item.comment), *_entry(head, item.what, form)]
    if isinstance(item, Value):
        item = form.value(item)
    elif isinstance(item, Digest):
        item = form.digest(item)
    if isinstance(item, Mapping | list | tuple | msgspec.Struct):
        return _entry_of_block(head, item, form)
    return _entry_of_scalar(head, item, form)


def _entry_of_block(head: str, item: Any, form: Form) -> list[str]:
    block = _block(item, form)
    if not block:
        return [f"{head} {'[]' if isinstance(item, Sequence) else '{}'}"]
    if head == "-" and not block[0].startswith(("#", "{{")):
        return [f"- {block[0]}", *_indented(block[1:])]
    return [head, *_indented(block)]


def _entry_of_scalar(head: str, item: Any, form: Form) -> list[str]:
    if isinstance(item, Text):
        text = joined(item, form)
        return _lines_of_text(head, text) if "\n" in text else [f"{head} {_quoted(text)}"]
    if isinstance(item, str) and "\n" in item:
        return _lines_of_text(head, form.literal(item))
    return [f"{head} {_scalar(item, form)}"]


def _lines_of_text(head: str, text: str) -> list[str]:
    """A text of several lines as a block."""
    mark = "|" if text.endswith("\n") else "|-"
    return [f"{head} {mark}", *_indented(text.rstrip("\n").split("\n"))]


def _scalar(item: Any, form: Form) -> str:
    if isinstance(item, Inline):
        return item
    if not isinstance(item, str):
        return json.dumps(item)
    if _PLAIN.fullmatch(item) and item.lower() not in _OTHER_THAN_TEXT:
        return item
    return form.literal(json.dumps(item, ensure_ascii=False))


def _quoted(text: str) -> str:
    """A text of one line with expressions in it, which single quotes leave alone."""
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_THAN_TEXT:
        return text
    return "'" + text.replace("'", "''") + "'"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, WIDTH)]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" if line else line for line in lines]
