"""What a server that did not start said last, and whose business it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from silkline.errors import ConfigError, EnvironmentFault, SilklineError

MAX_CHARACTERS = 700
"""Of the last words."""

_PREFIXES = re.compile(
    r"""^(?:\([\w-]+[ ]pid=\d+\)[ ]?)*       # vLLM: (EngineCore pid=17)
    (?:(?:INFO|WARNING|ERROR)[ ]\d\d-\d\d[ ][\d:]+[ ]\[[^\]]*\][ ]?)?
    (?:\d+\.\d+\.\d+\.\d+[ ][A-Z][ ])?  # llama-server: 0.00.018.741 E""",
    re.VERBOSE,
)
_TELLING = re.compile(
    r"(Error|Exception)\b[^:]*:|\berror\b|\bfailed\b|couldn't|cannot", re.IGNORECASE
)
_PLACES = re.compile(r"^\s*(Traceback|File |raise |\^|During handling|The above)")
_OF_SETTINGS = re.compile(
    r"unrecognized arguments|invalid argument|invalid choice|argument -|unknown model arch"
    r"|are not supported for now|max.{0,9}model.{0,9}len|expected one argument"
    r"|Model architectures|unknown projector",
    re.IGNORECASE,
)


def last_words(lines: Sequence[str]) -> str:
    """The lines that say why, without what stands before each; empty where there are none."""
    plain = [_PREFIXES.sub("", line).strip() for line in lines]
    plain = [line for line in plain if line and not _PLACES.match(line)]
    telling = list(dict.fromkeys(line for line in plain if _TELLING.search(line)))
    chosen = dict.fromkeys([*telling[:1], *telling[-2:]])  # the cause, and what came of it
    return " | ".join(chosen or plain[-3:])[:MAX_CHARACTERS]


def start_failure(program: str, ending: str, lines: Sequence[str]) -> SilklineError:
    """The error for a server that ended, or was ended, before it served.

    Args:
        program: What it is called.
        ending: What became of it, as in "ended with exit code 1".
        lines: What it logged.
    """
    words = last_words(lines)
    said = f"It said: {words}" if words else "It said nothing."
    message = f"{program} {ending} before it served. {said}"
    if _OF_SETTINGS.search(words):
        return ConfigError(message)
    return EnvironmentFault(message)
