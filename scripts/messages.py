"""Lists every message of an error that a user or client can see: python -m scripts.messages.

For reviews: each message should say what came, what was expected, and what to do.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import silkline.errors
from silkline.errors import SilklineError

SOURCE = Path(silkline.errors.__file__).parent
ERRORS = frozenset(
    name
    for name, kind in vars(silkline.errors).items()
    if isinstance(kind, type) and issubclass(kind, SilklineError)
)


class Message(NamedTuple):
    """A message as the source has it.

    Attributes:
        where: File and line.
        error: The error's class.
        text: The words; `{}` stands for a value.
    """

    where: str
    error: str
    text: str


def messages(source: Path = SOURCE) -> Iterator[Message]:
    """All messages of the package, by file and line."""
    for path in sorted(source.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and _error(node.func) in ERRORS:
                text = _text(node.args[0])
                if text:
                    where = f"{path.relative_to(source)}:{node.lineno}"
                    yield Message(where, _error(node.func), text)


def _error(called: ast.expr) -> str:
    return called.id if isinstance(called, ast.Name) else ""


def _text(value: ast.expr) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part) or "{}" for part in value.values)
    return ""


def main() -> None:
    """Prints one message a line."""
    for message in messages():
        print(f"{message.where}  {message.error}: {message.text}")  # noqa: T201 - its purpose


if __name__ == "__main__":
    main()
