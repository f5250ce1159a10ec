"""The interface between the managed engine and one kind of server."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from silkline.core import Feature
from silkline.engines.base import EngineOptions
from silkline.engines.managed.model import ServedModel
from silkline.engines.managed.options import ManagedOptions
from silkline.errors import ConfigError

_SETTINGS_PREFIX = "SILKLINE_"
_OPTIONS_BYTES = 3
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._/-]")


class Server(ABC):
    """A server program and the model that it serves; subclasses know the program's flags.

    Attributes:
        engine: The engine's registered name.
        options: The options that all engines share.
        own: The options of managed engines.
    """

    engine: ClassVar[str]

    def __init__(self, options: EngineOptions, own: ManagedOptions) -> None:
        """Takes the settings; subclasses check them."""
        self.options = options
        self.own = own

    @property
    @abstractmethod
    def model(self) -> ServedModel:
        """The model's metadata, read without the server."""

    @property
    @abstractmethod
    def features(self) -> frozenset[Feature]:
        """The optional features that the server supports with this model."""

    @abstractmethod
    def command(self, socket: Path) -> list[str]:
        """The command that starts the server on a unix socket; contains no secret."""

    @abstractmethod
    def variables(self, key: str) -> dict[str, str]:
        """The environment variables that the server needs; they include its API key."""

    def environment(self, key: str, inherited: Mapping[str, str]) -> dict[str, str]:
        """The server's whole environment: the worker's without Silkline's settings, and its own."""
        kept = {name: text for name, text in inherited.items() if self.inherits(name)}
        return {**kept, **self.variables(key)}

    def inherits(self, variable: str) -> bool:
        """Whether the server inherits this variable from the worker."""
        return not variable.startswith(_SETTINGS_PREFIX)

    @property
    def revision(self) -> str:
        """The model's revision, plus a hash of the options that may change its answers."""
        options = f"{self.own.flags}\0{self.own.file}"
        if not (self.own.flags or self.own.file):
            return self.model.revision
        digest = hashlib.blake2b(options.encode(), digest_size=_OPTIONS_BYTES)
        return f"{self.model.revision}+{digest.hexdigest()}"

    @property
    def served_name(self) -> str:
        """The model's name at the server: the public name in characters that any flag accepts."""
        return _NOT_IN_NAMES.sub("-", self.model.name).lstrip("-") or "model"


def model_folder(options: EngineOptions, engine: str) -> Path:
    """The model's folder, absolute.

    Raises:
        ConfigError: No model is given, or the folder does not exist.
    """
    if options.model is None:
        raise ConfigError(f"The {engine} engine needs a model: give a folder or a hub id.")
    folder = Path(os.path.abspath(options.model))  # noqa: PTH100 - keeps a hub's symbolic links
    if not folder.is_dir():
        raise ConfigError(
            f"There is no folder {options.model}. Give the folder of a model, or a hub id."
        )
    return folder
