"""Errors for a server that did not start, built from the last lines of its log."""

from __future__ import annotations

import re
from collections.abc import Sequence

from silkline.errors import ConfigError, EnvironmentFault, SilklineError

MAX_CHARACTERS = 700
"""Maximum length of the log excerpt in an error."""

_PREFIXES = re.compile(
    r"""^(?:\([\w-]+[ ]pid=\d+\)[ ]?)*       # vLLM: (EngineCore pid=17)
    (?:(?:INFO|WARNING|ERROR)[ ]\d\d-\d\d[ ][\d:]+[ ]\[[^\]]*\][ ]?)?
    (?:\d+\.\d+\.\d+\.\d+[ ][A-Z][ ])?  # llama-server: 0.00.018.741 E""",
    re.VERBOSE,
)
_EXPLANATION = re.compile(
    r"(Error|Exception)\b[^:]*:|\berror\b|\bfailed\b|couldn't|cannot", re.IGNORECASE
)
_TRACEBACK_LINE = re.compile(r"^\s*(Traceback|File |raise |\^|During handling|The above)")
_SETTINGS_ERROR = re.compile(
    r"unrecognized arguments|invalid argument|invalid choice|argument -|unknown model arch"
    r"|are not supported for now|max.{0,9}model.{0,9}len|expected one argument"
    r"|Model architectures|unknown projector",
    re.IGNORECASE,
)


def log_excerpt(lines: Sequence[str]) -> str:
    """The log lines that explain a failure, without their prefixes; empty if there are none."""
    plain = [_PREFIXES.sub("", line).strip() for line in lines]
    plain = [line for line in plain if line and not _TRACEBACK_LINE.match(line)]
    explanations = list(dict.fromkeys(line for line in plain if _EXPLANATION.search(line)))
    # The first is the cause, the last are its consequences.
    chosen = dict.fromkeys([*explanations[:1], *explanations[-2:]])
    return " | ".join(chosen or plain[-3:])[:MAX_CHARACTERS]


def start_failure(program: str, ending: str, lines: Sequence[str]) -> SilklineError:
    """The error for a server that exited, or was stopped, before it was ready.

    `ConfigError` if its log blames a flag or the model, else `EnvironmentFault`.

    Args:
        program: The server's name.
        ending: How it ended, as in "ended with exit code 1".
        lines: Its log.
    """
    excerpt = log_excerpt(lines)
    log = f"Its log ends with: {excerpt}" if excerpt else "It logged nothing."
    message = f"{program} {ending} before it was ready. {log}"
    if _SETTINGS_ERROR.search(excerpt):
        return ConfigError(message)
    return EnvironmentFault(message)
