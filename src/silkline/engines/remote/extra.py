"""Decides which request fields that Silkline does not know are sent to remote servers.

The owner of a server lists names to pass and to block. Whatever the lists say, four kinds of
fields need their exact name in the list: a server may fetch or call what a URL, a host or a path
names; credentials are none of its business; templates and processors run as code; and a priority
or a beam search takes the server's time from other clients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from silkline.config import RemoteSettings
from silkline.engines.remote.fields import RESERVED

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PLACES = (
    *("url", "urls", "uri", "uris", "href", "link", "endpoint", "endpoints", "host", "hosts"),
    *("hostname", "address", "addresses", "proxy", "webhook", "callback", "server", "servers"),
    *("mcp", "path", "paths", "dir", "directory", "transfer"),
)
_CREDENTIALS = (
    *("auth", "authorization", "authentication", "bearer", "cookie", "cookies", "credential"),
    *("credentials", "header", "headers", "jwt", "passphrase", "passwd", "password", "passwords"),
    *("pwd", "secret", "secrets"),
)
_CODE = ("template", "templates", "jinja")
_COSTS = ("priority", "usebeamsearch")
_GUARDED_WORDS = frozenset({*_PLACES, *_CREDENTIALS, *_CODE, *_COSTS})
_GUARDED_ENDS = frozenset({"key", "keys", "token"})
_GUARDED_TEXTS = ("apikey", "chattemplate", "logitprocessor", "logitsprocessor")

_IGNORED = re.compile(r"^[\x00-\x20\x7f-\xa0\u200b\ufeff]+|[\t\r\n]")
"""Characters that parsers of URLs remove."""

_URL = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:)?[/\\]{2}|(?:blob|data|file|ftp|gs|hf|https?|javascript|s3|unix|wss?):",
    re.IGNORECASE,
)


def passed_on(fields: Mapping[str, Any], remotes: Sequence[RemoteSettings]) -> frozenset[str]:
    """The names of the fields that may be sent, whichever of the remotes answers.

    Args:
        fields: Unknown fields of a request's body and their decoded JSON values.
        remotes: The settings of all remotes that may get the request; none of them means that no
            field is sent.
    """
    return frozenset(
        name
        for name, value in fields.items()
        if remotes and all(_passes(name, value, remote) for remote in remotes)
    )


def _passes(name: str, value: Any, remote: RemoteSettings) -> bool:
    if name in RESERVED or _is_listed(name, remote.block_fields):
        return False
    if name in remote.pass_fields:
        return True
    return _is_listed(name, remote.pass_fields) and not _is_guarded(name, value)


def _is_listed(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _is_guarded(name: str, value: Any) -> bool:
    return any(
        _is_guarded_name(text) if is_name else _is_url(text)
        for text, is_name in _texts({name: value})
    )


def _texts(value: Any) -> Iterator[tuple[str, bool]]:
    """All texts in a JSON value, and whether each is the name of a field."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item, False
        elif isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            yield from ((name, True) for name in item)
            pending += item.values()


def _is_guarded_name(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    return (
        not _GUARDED_WORDS.isdisjoint([*words, joined])
        or bool(words and words[-1] in _GUARDED_ENDS)
        or any(text in joined for text in _GUARDED_TEXTS)
    )


def _is_url(text: str) -> bool:
    return _URL.match(_IGNORED.sub("", text)) is not None
