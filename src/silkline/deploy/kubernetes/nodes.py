"""What an object may hold besides plain data: values of the chart, conditions and comments.

The functions return a node under the type of what it stands for, so mypy checks the fields of an
object as if it held plain data. Only the writer sees the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")

RELEASE = "Release.Name"
"""The path of the deployment's name, which Helm's user gives and no value holds."""


@dataclass(frozen=True)
class Value(Generic[T]):
    """A value of the chart, whose default comes from the settings.

    Attributes:
        path: Where it is in the chart's values, with dots: `engine.resources`.
        default: What a plain manifest has.
        about: What it is, in a sentence; a comment in the chart's values.
        schema: What the schema says besides the type, such as `minimum`.
    """

    path: str
    default: T
    about: str
    schema: Mapping[str, Any] = field(default_factory=dict)

    @property
    def node(self) -> T:
        """This value, for a field of an object."""
        return cast("T", self)

    @property
    def expression(self) -> str:
        """What stands for it in a template."""
        return f"$.{self.path}" if self.path == RELEASE else f"$.Values.{self.path}"


@dataclass(frozen=True)
class Condition:
    """Whether a value is set (not empty, zero or false), or equals a text; or the opposite."""

    value: Value[Any]
    equals: str | None = None
    negated: bool = False

    @property
    def holds(self) -> bool:
        """Whether it is true of the default."""
        default = self.value.default
        holds = bool(default) if self.equals is None else default == self.equals
        return holds is not self.negated

    @property
    def expression(self) -> str:
        """The condition as a template has it."""
        path = self.value.expression
        positive = path if self.equals is None else f'eq {path} "{self.equals}"'
        return f"not ({positive})" if self.negated else positive


@dataclass(frozen=True)
class Given:
    """An entry that is there only while a condition is true."""

    condition: Condition
    then: Any


@dataclass(frozen=True)
class Why:
    """An entry below a comment."""

    comment: str
    what: Any


@dataclass(frozen=True)
class Each:
    """A text for each number from 0, as often as a value says; `{}` stands for the number."""

    count: Value[int]
    text: Text


@dataclass(frozen=True)
class Text:
    """A text with values and repetitions in it."""

    parts: tuple[str | Value[Any] | Each, ...]


@dataclass(frozen=True)
class Digest:
    """The SHA-256 digest of the rendered file `name`, whose content is `text`."""

    name: str
    text: Text


def text(*parts: str | Value[Any] | Each) -> str:
    """Returns a text of parts, for a field of an object."""
    return cast("str", Text(parts))


def given(condition: Condition, then: T) -> T:
    """Returns an entry of a mapping or a list that is there only while a condition is true."""
    return cast("T", Given(condition, then))


def why(comment: str, what: T) -> T:
    """Returns an entry of a mapping or a list below a comment that says why it is so."""
    return cast("T", Why(comment, what))


def digest(name: str, of: str) -> str:
    """Returns the digest of a text that is rendered in the file `name`."""
    return cast("str", Digest(name, as_text(of)))


def as_text(what: str) -> Text:
    """The parts of a text of `text`, or of a plain one."""
    return what if isinstance(what, Text) else Text((what,))
