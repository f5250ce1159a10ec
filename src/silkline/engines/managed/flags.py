"""Parses and checks the flags and the command that a user sets for a server."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from silkline.errors import ConfigError, EnvironmentFault

CACHING = "use the engine option prefix_cache"
SAMPLING = "Silkline sets the sampling defaults"
"""Reasons for refusing flags that every server shares."""


def split(option: str, text: str) -> list[str]:
    """Splits an option's value into words, as a shell does.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"The engine option {option} cannot be parsed: a quote in it is not closed. Close it."
        ) from error


def check_flags(flags: Sequence[str], refused: Mapping[str, str], *, abbreviated: bool) -> None:
    """Refuses flags that would override what Silkline sets or guarantees.

    Args:
        flags: The user's flags.
        refused: Refused flags; for each, why it is refused or what to use instead.
        abbreviated: Whether the server accepts a prefix of a long flag.

    Raises:
        ConfigError: A refused flag is given.
    """
    for word in flags:
        # vLLM accepts a field of a JSON value as `--flag.field value`.
        name = word.partition("=")[0].partition(".")[0].replace("_", "-")
        for flag, instead in refused.items():
            is_prefix = abbreviated and len(name) > len("--") and flag.startswith(name)
            if word.startswith("-") and (name == flag or is_prefix):
                raise ConfigError(f"The engine option flags must not contain {word}: {instead}.")


def find_command(command: str, program: str, remedy: str) -> list[str]:
    """The words of the command that starts a server's program.

    Args:
        command: The engine option `command`, in shell syntax; empty searches for the program.
        program: The program's name, searched for on the PATH and beside this Python.
        remedy: The command that installs the program.

    Raises:
        ConfigError: The option cannot be parsed.
        EnvironmentFault: The program does not exist.
    """
    if words := split("command", command):
        if shutil.which(words[0]) is None:
            raise EnvironmentFault(
                f"The engine option command names {words[0]}, which is not an executable on this "
                "machine. Give the path of the server's program."
            )
        return words
    beside = str(Path(sys.executable).parent)
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), beside]))
    if found is None:
        raise EnvironmentFault(
            f"The program {program} is not installed, or not on the PATH. Install it, or set the "
            "engine option command to its path.",
            remedy=remedy,
        )
    return [found]
