"""What the engine has to know of a server, whichever it is."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from silkline.engines.base import EngineOptions
from silkline.engines.managed.model import ServedModel
from silkline.engines.managed.options import ManagedOptions
from silkline.errors import ConfigError

_OWN_VARIABLES = "SILKLINE_"
_OPTIONS_BYTES = 3
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._/-]")


class Server(ABC):
    """One server program, ready to be started on one model.

    Attributes:
        engine: The engine's registered name.
        options: What every engine is told.
        own: What only managed engines are told.
    """

    engine: ClassVar[str]

    def __init__(self, options: EngineOptions, own: ManagedOptions) -> None:
        """Takes the settings; subclasses check them."""
        self.options = options
        self.own = own

    @property
    @abstractmethod
    def model(self) -> ServedModel:
        """What is known of the model without the server."""

    @abstractmethod
    def command(self, socket: Path) -> list[str]:
        """The words that start the server, which listens on the socket; they hold no secret."""

    @abstractmethod
    def variables(self, key: str) -> dict[str, str]:
        """The environment variables that the server needs, its API key among them."""

    def environment(self, key: str, inherited: Mapping[str, str]) -> dict[str, str]:
        """The server's whole environment: Silkline's own settings are none of its business."""
        kept = {name: text for name, text in inherited.items() if self.inherits(name)}
        return {**kept, **self.variables(key)}

    def inherits(self, variable: str) -> bool:
        """Whether the server gets this variable of the worker's."""
        return not variable.startswith(_OWN_VARIABLES)

    @property
    def revision(self) -> str:
        """The model's revision, and a word for the options that may change its answers."""
        told = f"{self.own.flags}\0{self.own.file}"
        if not (self.own.flags or self.own.file):
            return self.model.revision
        digest = hashlib.blake2b(told.encode(), digest_size=_OPTIONS_BYTES)
        return f"{self.model.revision}+{digest.hexdigest()}"

    @property
    def served_name(self) -> str:
        """What the server calls the model: the public name, of characters that any flag takes."""
        return _NOT_IN_NAMES.sub("-", self.model.name).lstrip("-") or "model"


def model_folder(options: EngineOptions, engine: str) -> Path:
    """The model's folder, absolute.

    Raises:
        ConfigError: None is given, or it is not there.
    """
    if options.model is None:
        raise ConfigError(f"The {engine} engine needs a model: give a folder or a hub id.")
    folder = Path(os.path.abspath(options.model))  # noqa: PTH100 - a hub's links stay as they are
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {options.model} with a model.")
    return folder
