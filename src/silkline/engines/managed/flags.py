"""The flags and the command of a server that a user gives: split, and held against what is set."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from silkline.errors import ConfigError, EnvironmentFault

CACHING = "use the engine option prefix_cache"
SAMPLING = "what a request does not say is as Silkline says it"
"""Why flags are refused, whichever server's they are."""


def split(option: str, text: str) -> list[str]:
    """The words of an option's value, as a shell would have them.

    Raises:
        ConfigError: A quote is not closed.
    """
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"The engine option {option} cannot be read: a quote in it is not closed."
        ) from error


def check_flags(flags: Sequence[str], refused: Mapping[str, str], *, abbreviated: bool) -> None:
    """Refuses flags that would take back what Silkline sets or promises.

    Args:
        flags: What the user gives.
        refused: Flags, and what to do instead of giving them.
        abbreviated: Whether the server takes the beginning of a long flag for the whole.

    Raises:
        ConfigError: One of them is given.
    """
    for word in flags:
        # vLLM takes a part of a JSON value as `--flag.part value`.
        name = word.partition("=")[0].partition(".")[0].replace("_", "-")
        for flag, instead in refused.items():
            begins = abbreviated and len(name) > len("--") and flag.startswith(name)
            if word.startswith("-") and (name == flag or begins):
                raise ConfigError(f"The engine option flags must not hold {word}: {instead}.")


def find_command(given: str, program: str, remedy: str) -> list[str]:
    """How a server's program is started.

    Args:
        given: The user's word, as in a shell; empty looks for the program.
        program: Its name, on the PATH or beside this Python.
        remedy: The command that installs it.

    Raises:
        ConfigError: The user's word cannot be read.
        EnvironmentFault: There is no such program.
    """
    if words := split("command", given):
        if shutil.which(words[0]) is None:
            raise EnvironmentFault(
                f"The engine option command names {words[0]}, which cannot be run on this machine."
            )
        return words
    beside = str(Path(sys.executable).parent)
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), beside]))
    if found is None:
        raise EnvironmentFault(
            f"The program {program} is not installed, or not on the PATH; the engine option "
            "command can say where it is.",
            remedy=remedy,
        )
    return [found]
