"""What `silkline render` can write: a target and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from silkline.config import Settings

Files = Mapping[str, str]
"""Texts by path, which is relative to the target's folder and uses slashes."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target of `silkline render`.

    Attributes:
        name: Its name, and that of its folder in the output.
        about: What it is, in a few words.
        render: Returns its files. The same settings give the same bytes: nothing depends on the
            time, the machine or the order of a set. Raises `EnvironmentFault` if a library is not
            installed.
    """

    name: str
    about: str
    render: Callable[[Settings], Files]
