"""One word for each thing: the glossary of CONTRIBUTING.md, held over names and prose."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FORBIDDEN_NAMES = {
    r"(^|_)(most|least)(_|$)(?!common)": "max, min, maximum, minimum",
    r"(^|_)pictures?(_|$)": "image",
    r"(^|_)pieces?(_|$)": "chunk",
    r"mourn|condemn|aboard|vain|end_of_hope|^standing$|^Standing$": "what happens",
    r"(^|_)watch$": "on_progress, on_notice, on_change",
}
"""Patterns of identifiers, and what to write instead."""

ALLOWED_NAMES = {"most_common"}

FORBIDDEN_PROSE = {
    r"how (it|they|an? \w+|the \w+) gets? on\b": "status",
    r"[Tt]wice is (as|the same as) once|[Cc]losing twice": "idempotent",
    r"\bin vain\b": "can no longer finish in time",
    r"\b(far|near) (one|engine|side|server|Silkline|replica)s?\b": "remote, local",
    r"\blets? (itself|themselves) be left\b|\blet itself be\b": "drain",
    r"\bof late\b": "recently",
    r"\bpiece by piece\b|\bpieces? of (text|an answer|a prompt|prompts|a body)\b": "chunk",
    r"\bnone of ours\b|\bone of ours\b": "created by Silkline",
    r"\bnobody waits for\b|\bwho waits for\b": "a caller, a waiter",
    r"\bgoes? without harm\b|\bgive up on what\b": "say what happens",
    r"\b[Ii]s told (of|how|that|what)\b|\b[Ww]ho is told\b|\bare told of\b": "called with",
    r"\bthe (longer|oftener), the (longer|oftener)\b|\boftener\b": "more often",
    r"\b[Mm]ade a mistake\b": "internal error",
    r"\bput out\b": "evicted, dropped",
    r"\bfor eyes\b": "human-readable",
}
"""Patterns of docstrings, comments, messages and docs, and what to write instead."""


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).is_file()]


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """The names that a file defines: functions, classes, parameters, variables, fields."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Comments and texts of a module; the lines of a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), start=1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in {tokenize.COMMENT, tokenize.STRING}:
            yield token.start[0], " ".join(token.string.split())


def test_names_keep_to_the_glossary() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {name} (say: {instead})"
        for path in tracked("src/*.py")
        for line, name in names_of(path)
        for pattern, instead in FORBIDDEN_NAMES.items()
        if name not in ALLOWED_NAMES and re.search(pattern, name, re.IGNORECASE)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("patterns", [("src/*.py",), ("docs/*.md", "README.md")])
def test_prose_keeps_to_the_glossary(patterns: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} {found[0]!r} (say: {instead})"
        for path in tracked(*patterns)
        for line, text in prose_of(path)
        for pattern, instead in FORBIDDEN_PROSE.items()
        if (found := re.search(pattern, text))
    ]
    assert not wrong, "\n".join(wrong)
