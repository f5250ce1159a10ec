"""The commands on the pages about shipping are commands that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from silkline.cli.main import silkline

DOCS = Path(__file__).parents[2] / "docs"


def commands(page: str) -> Iterator[list[str]]:
    """The words of each `$ silkline ...`, continued lines joined, pipes cut."""
    text = (DOCS / page).read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"^\$ (silkline .+)$", text, re.MULTILINE):
        yield shlex.split(line.split(" | ")[0])[1:]


@pytest.mark.parametrize("page", ["ship.md", "first-hour.md", "first-hour.zh-CN.md"])
def test_each_command_and_option_is_known(page: str) -> None:
    found = list(commands(page))
    assert len(found) >= 2
    for words in found:
        command: click.Command | None = silkline
        names = list(words)
        while isinstance(command, click.Group):
            known = command.get_command(click.Context(command), names[0])
            command = known or command.get_command(click.Context(command), "start")
            names = names[1:] if known else names
        assert command is not None, words
        options = {text for parameter in command.params for text in parameter.opts}
        assert all(word in options for word in names if word.startswith("--")), words


def test_the_first_hour_shows_the_same_in_both_languages() -> None:
    english, chinese = (
        re.findall(r"^```.*?^```", (DOCS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)
        for page in ("first-hour.md", "first-hour.zh-CN.md")
    )
    assert english == chinese
